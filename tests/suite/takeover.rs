//! Two starters that race for the socket of a server that was killed: exactly one has it.

use crate::common::Scratch;
use msgpipe::{Endpoint, Error, LocalServer, MessageClient};
use std::io::{BufRead, BufReader, Lines, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const ROUNDS: usize = 200;

/// Runs this test program as a starting server, at the path in its environment.
const STARTER: &str = "MSGPIPE_TEST_STARTER";

/// The prefix of each line of a starting server.
const SAYS: &str = "the starter says: ";

/// The time until both have received the start time.
const HEAD_START: Duration = Duration::from_micros(500);

/// A process that tries to bind on command.
struct Starter {
    process: Child,
    orders: ChildStdin,
    said: Lines<BufReader<ChildStdout>>,
}

impl Starter {
    fn new(path: &Path) -> Starter {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "takeover::a_starting_server_waits_for_its_signal", "--nocapture"])
            .env(STARTER, path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let orders = process.stdin.take().unwrap();
        let said = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut starter = Starter { process, orders, said };
        assert_eq!(starter.says(), "ready");
        starter
    }

    fn start_at(&mut self, at: Duration) {
        writeln!(self.orders, "{}", at.as_nanos()).unwrap();
    }

    fn says(&mut self) -> String {
        let mut said = self.said.by_ref().map_while(Result::ok);
        let line = said.find_map(|line| Some(line.split_once(SAYS)?.1.to_owned()));
        line.expect("the starter has ended")
    }
}

impl Drop for Starter {
    /// SIGKILL: it cannot clean up.
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn bind(path: &Path) -> Result<LocalServer, Error> {
    LocalServer::bind(Endpoint::path(path)?)
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

#[test]
fn a_starting_server_waits_for_its_signal() {
    let Some(path) = std::env::var_os(STARTER) else {
        // Not a starter: that one which is told to start does, and leaves its file when it is killed.
        let scratch = Scratch::new();
        let path = scratch.path("socket");
        let mut starter = Starter::new(&path);
        starter.start_at(now());
        assert_eq!(starter.says(), "it serves");
        drop(starter);
        return assert!(is_stale(&path));
    };
    println!("{SAYS}ready");
    let mut servers = Vec::new();
    for order in std::io::stdin().lines().map_while(Result::ok) {
        let at: u128 = order.parse().unwrap();
        // Both start at the same moment, however long each took to receive the command.
        while now().as_nanos() < at {
            std::hint::spin_loop();
        }
        match bind(path.as_ref()) {
            Ok(server) => {
                servers.push(server);
                println!("{SAYS}it serves");
            }
            Err(Error::AlreadyServed { .. }) => println!("{SAYS}already served"),
            Err(error) => println!("{SAYS}{error:?}"),
        }
    }
}

/// Whether there is a socket at which nobody listens.
fn is_stale(path: &Path) -> bool {
    let refused = UnixStream::connect(path).map(drop).map_err(|error| error.kind());
    std::fs::symlink_metadata(path).unwrap().file_type().is_socket()
        && refused == Err(std::io::ErrorKind::ConnectionRefused)
}

#[test]
fn of_two_that_start_at_once_over_a_killed_server_one_serves() {
    let scratch = Scratch::new();
    let path = scratch.path("socket");
    let endpoint = Endpoint::path(&path).unwrap();
    let mut first = Starter::new(&path);
    first.start_at(now());
    assert_eq!(first.says(), "it serves");
    drop(first);
    let mut starters = [Starter::new(&path), Starter::new(&path)];
    let mut won = [0, 0];
    for round in 0..ROUNDS {
        assert!(is_stale(&path), "round {round}: nothing was left to be taken over");
        let at = now() + HEAD_START;
        // Each gets the command first in every other round.
        let (one, other) = (round % 2, 1 - round % 2);
        starters[one].start_at(at);
        starters[other].start_at(at);
        let said = [0, 1].map(|which| starters[which].says());
        let winner = match [said[0].as_str(), said[1].as_str()] {
            ["it serves", "already served"] => 0,
            ["already served", "it serves"] => 1,
            _ => panic!("round {round}: {said:?}"),
        };
        won[winner] += 1;
        // Clients reach the one that reports success.
        let client = MessageClient::connect(&endpoint).unwrap();
        assert_eq!(client.server().pid, Some(starters[winner].process.id()), "round {round}");
        starters[winner] = Starter::new(&path); // the winner is dropped, and so killed
    }
    println!("{ROUNDS} rounds, won by the one and by the other: {won:?}");
}
