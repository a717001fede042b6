//! Descriptors and memory: what happens when there are none left, and that none are lost.
//!
//! Each role runs in a separate process, whose limits and figures no other test affects.

use crate::common::{PATIENCE, next, unique_name};
use msgpipe::framing::OsMessage;
use msgpipe::{
    Client, ClientOptions, CloseReason, Event, LocalServer, MessageClient, MessageServer, Server,
    ServerOptions,
};
use rustix::process::{Resource, Rlimit, setrlimit};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

/// The part to play, and the name to play it at.
const PART: &str = "MSGPIPE_TEST_DESCRIPTORS";
const NAME: &str = "MSGPIPE_TEST_NAME";

/// The prefix of each line of the other process.
const SAYS: &str = "the process says: ";

/// How many descriptors a server has that shall run out of them.
const FEW: u64 = 64;

/// Clients that come at once: more than there are descriptors for, and fewer than twice as many as
/// there are left for clients, so that the rest fits once the first have gone.
const CLIENTS: usize = FEW as usize + 8;

/// Several times as long as a server waits before it tries again to take a client in.
const SEVERAL_TRIES: Duration = Duration::from_millis(300);

fn say(words: &str) {
    println!("{SAYS}{words}");
}

#[test]
fn a_process_plays_its_role() {
    let name = std::env::var(NAME).unwrap_or_default();
    match std::env::var(PART).as_deref() {
        Ok("messages") => {
            let mut server = LocalServer::bind(name.as_str()).unwrap();
            with_few_descriptors();
            serve_messages(&mut server);
        }
        Ok("calls") => {
            let server = Server::bind(name.as_str()).unwrap();
            let server = server.on_accept_failure(|error| say(&format!("failed: {error}")));
            with_few_descriptors();
            server.serve(|request| request.body()).unwrap();
        }
        Ok("cycles of streams") => many_cycles(ServerOptions::new(), ClientOptions::new()),
        Ok("cycles of the system's messages") => many_cycles(
            ServerOptions::new().framing(OsMessage::new(4096)),
            ClientOptions::new().framing(OsMessage::new(4096)),
        ),
        Ok(part) => panic!("no part {part:?}"),
        // Not a part: that it can be played, and that the limit is what the server then has.
        Err(_) => {
            let process = Process::start("messages");
            assert_eq!(process.says(), "serves");
            let limits = format!("/proc/{}/limits", process.child.id());
            let limits = std::fs::read_to_string(limits).unwrap();
            let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
            assert_eq!(files.split_whitespace().nth(3), Some("64"));
        }
    }
}

fn with_few_descriptors() {
    setrlimit(Resource::Nofile, Rlimit { current: Some(FEW), maximum: Some(FEW) }).unwrap();
    say("serves");
}

fn serve_messages(server: &mut LocalServer) {
    loop {
        // For as long as it takes: it is killed.
        match server.poll(None).unwrap() {
            Some(Event::Connected(_)) => say("connected"),
            Some(Event::Message(id, message)) => server.send(id, message).unwrap(),
            Some(Event::AcceptFailed(error)) => say(&format!("failed: {error}")),
            Some(Event::Closed(_, CloseReason::PeerClosed)) => say("closed"),
            event => say(&format!("{event:?}")),
        }
    }
}

/// Another process. Dropping it kills it.
struct Process {
    child: Child,
    name: String,
    said: Receiver<String>,
}

impl Process {
    fn start(part: &str) -> Process {
        let name = unique_name();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "descriptors::a_process_plays_its_role", "--nocapture"])
            .env(PART, part)
            .env(NAME, &name)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let (tell, said) = channel();
        thread::spawn(move || {
            let said = lines.filter_map(|line| Some(line.split_once(SAYS)?.1.to_owned()));
            said.map_while(|words| tell.send(words).ok()).for_each(drop);
        });
        Process { child, name, said }
    }

    #[track_caller]
    fn says(&self) -> String {
        self.said.recv_timeout(PATIENCE).expect("it says nothing")
    }

    /// Its output so far.
    fn has_said(&self) -> Vec<String> {
        self.said.try_iter().collect()
    }

    /// Waits for its report that it ran out of descriptors; returns how many clients it accepted before.
    #[track_caller]
    fn runs_out(&self) -> usize {
        let mut taken_in = 0;
        loop {
            match self.says().as_str() {
                "connected" => taken_in += 1,
                "closed" => {}
                failed => {
                    assert!(failed.starts_with("failed: "), "{failed}");
                    assert!(failed.contains("Too many open files"), "{failed}");
                    return taken_in;
                }
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Sends each a message and waits until all have their own back.
fn all_are_served(clients: &[MessageClient], round: usize) {
    let words = |at: usize| format!("client {at}, round {round}");
    clients.iter().enumerate().for_each(|(at, client)| client.send(words(at)).unwrap());
    for (at, client) in clients.iter().enumerate() {
        assert_eq!(client.receive(Some(PATIENCE)).unwrap(), words(at));
    }
}

#[test]
fn a_server_without_descriptors_serves_those_it_has_and_recovers_by_itself() {
    let process = Process::start("messages");
    assert_eq!(process.says(), "serves");
    let connect = || MessageClient::connect(process.name.as_str()).unwrap();
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| connect()).collect();
    let taken_in = process.runs_out();
    assert!((CLIENTS / 2..CLIENTS).contains(&taken_in), "{taken_in} of {CLIENTS}");

    // Connected clients are served while accepting fails; the failure is reported only once.
    let (started, mut round) = (Instant::now(), 0);
    while started.elapsed() < SEVERAL_TRIES {
        all_are_served(&clients[..taken_in], round);
        round += 1;
    }
    assert_eq!(process.has_said(), [""; 0], "it was told twice, or somebody was let in");

    // Waiting clients are accepted as soon as there is room, with the bytes they sent long before.
    let waiting = clients.split_off(taken_in);
    waiting.iter().for_each(|client| client.send("sent while waiting").unwrap());
    drop(clients);
    for client in &waiting {
        assert_eq!(client.receive(Some(PATIENCE)).unwrap(), "sent while waiting");
    }
    // As the others leave one by one, it may run out again in between.
    let says = std::iter::repeat_with(|| process.says()).filter(|said| !said.starts_with("failed"));
    let mut said: Vec<String> = says.take(taken_in + waiting.len()).collect();
    said.sort();
    let (closed, connected) = said.split_at(taken_in);
    assert!(closed.iter().all(|said| said == "closed"), "{said:?}");
    assert!(connected.iter().all(|said| said == "connected"), "{said:?}");

    // An accept has succeeded in between: another failure is reported again.
    let more: Vec<_> = (0..CLIENTS).map(|_| connect()).collect();
    let room = process.runs_out();
    assert_eq!(waiting.len() + room, taken_in);
    all_are_served(&waiting, round);
    all_are_served(&more[..room], round);
}

#[test]
fn a_server_of_calls_reports_an_accept_failure_to_its_hook() {
    let process = Process::start("calls");
    assert_eq!(process.says(), "serves");
    let clients: Vec<_> =
        (0..CLIENTS).map(|_| Client::connect(process.name.as_str()).unwrap()).collect();
    // The requests of all are sent, also of those that wait.
    let start = |client: &Client| client.with_timeout(PATIENCE).start("hello").unwrap();
    let mut calls: Vec<_> = clients.iter().map(start).collect();
    assert_eq!(process.runs_out(), 0);
    let waiting = calls.split_off(CLIENTS / 2);
    // Half of them are in, by the order in which they came.
    calls.into_iter().for_each(|call| assert_eq!(call.wait().unwrap(), "hello"));
    let mut clients = clients;
    drop(clients.drain(..CLIENTS / 2));
    waiting.into_iter().for_each(|call| assert_eq!(call.wait().unwrap(), "hello"));
    assert_eq!(process.has_said(), [""; 0], "it was told twice");
}

/// Cycles before the first figures are taken: what is made once has been made by then.
const FIRST: usize = 1_000;
const CYCLES: usize = 10_000;

/// The allowed difference in memory. A leak of a hundred bytes in each cycle would be 900 KiB.
const MOST_KIB: usize = 512;

/// The descriptors of this process and its memory in KiB.
fn figures() -> (usize, usize) {
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap().count();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    (descriptors, line.split_whitespace().nth(1).unwrap().parse().unwrap())
}

/// Connects, is answered, and closes, again and again; both ends are in this process.
fn many_cycles(server: ServerOptions, client: ClientOptions) {
    let name = unique_name();
    let mut server = server.bind_messages(name.as_str()).unwrap();
    let (tell, gone) = channel();
    thread::spawn(move || {
        loop {
            match next(&mut server) {
                Event::Message(id, message) => server.send(id, message).unwrap(),
                Event::Closed(_, reason) => tell.send(reason).unwrap(),
                _ => {}
            }
        }
    });
    let mut before = None;
    for cycle in 0..CYCLES {
        if cycle == FIRST {
            before = Some(figures());
        }
        let client = client.connect_messages(name.as_str()).unwrap();
        client.send("hello").unwrap();
        assert_eq!(client.receive(Some(PATIENCE)).unwrap(), "hello");
        drop(client);
        assert!(matches!(gone.recv().unwrap(), CloseReason::PeerClosed));
    }
    let (descriptors, memory) = before.unwrap();
    let (descriptors_now, memory_now) = figures();
    assert_eq!(descriptors_now, descriptors, "descriptors were lost");
    assert!(
        memory_now <= memory + MOST_KIB,
        "{memory} KiB became {memory_now} in {} cycles",
        CYCLES - FIRST
    );
    say(&format!("{descriptors} descriptors before and after; {memory} KiB, then {memory_now}"));
}

#[track_caller]
fn nothing_is_lost(part: &str) {
    let process = Process::start(part);
    let said = process.said.recv_timeout(PATIENCE);
    println!("{part}: {}", said.expect("it failed"));
}

#[test]
fn ten_thousand_sequential_clients_leak_nothing() {
    nothing_is_lost("cycles of streams");
}

#[test]
fn ten_thousand_sequential_clients_of_os_messages_leak_nothing() {
    nothing_is_lost("cycles of the system's messages");
}
