//! A server in a process of its own, which is killed with much in flight.

use super::common::{
    ENDLESS, HOLD, PARTS_BACK, PATIENCE, limits, on_each, serve, unique_name, within,
};
use msgpipe::tokio::Client;
use msgpipe::{ClientOptions, Error, Limits, Progress, Server};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

const NAME: &str = "MSGPIPE_TOKIO_TEST_SERVES";
const READY: &str = "ready to be killed";

/// The calls and the streams in flight when it is killed.
const CALLS: usize = 1000;
const STREAMS: usize = 50;

fn many() -> Limits {
    limits().with_in_flight(2 * (CALLS + STREAMS))
}

/// This test program, as a server.
#[test]
fn a_process_plays_its_role() {
    if let Ok(name) = std::env::var(NAME) {
        let server = Server::bind_with(name.as_str(), many()).unwrap();
        println!("{READY}");
        serve(server, tokio::sync::mpsc::unbounded_channel().0);
    }
}

fn server(name: &str) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tokio_cases::processes::a_process_plays_its_role", "--nocapture"])
        .env(NAME, name)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.as_mut().unwrap());
    assert!(output.lines().map_while(Result::ok).any(|line| line.contains(READY)));
    child
}

#[test]
fn a_server_that_is_killed_ends_all_that_is_in_flight() {
    on_each(|| async {
        let name = unique_name();
        let mut child = server(&name);
        let options = ClientOptions::new().limits(many());
        let client = Client::connect_with(name.as_str(), &options).await.unwrap();
        client.call("works").await.unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..CALLS {
            let call = client.with_method(HOLD).start("held").await.unwrap();
            tasks.spawn(async move { call.await.unwrap_err() });
        }
        for _ in 0..STREAMS {
            let mut parts = client.with_method(ENDLESS).stream("").await.unwrap();
            tasks.spawn(async move {
                loop {
                    match parts.next().await {
                        Some(Err(error)) => return error,
                        part => drop(part.expect("it has no end")),
                    }
                }
            });
            let (mut says, hears) = client.with_method(PARTS_BACK).duplex().unwrap();
            tasks.spawn(async move {
                let _unread = hears;
                loop {
                    if let Err(error) = says.send(vec![1; 10_000]).await {
                        return error;
                    }
                }
            });
        }
        for _ in 0..10 {
            client.call("goes on").await.unwrap();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let killed = Instant::now();
        let mut ended = 0;
        while let Some(error) = within(tasks.join_next()).await {
            let error = error.unwrap();
            assert!(matches!(&error, Error::Closed { progress: Progress::Unknown, .. }), "{error}");
            ended += 1;
        }
        assert_eq!(ended, CALLS + 2 * STREAMS);
        assert!(killed.elapsed() < PATIENCE / 2, "{:?}", killed.elapsed());
        assert!(client.call("late").await.unwrap_err().is_not_begun());
    });
}
