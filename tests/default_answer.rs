//! `examples/default_answer.rs`, with clients that know nothing of this crate: on Windows a C program, on
//! Linux plain calls of the system.
#![cfg(any(windows, target_os = "linux"))]

#[cfg(windows)]
#[path = "suite/common/foreign.rs"]
mod foreign;
#[path = "suite/common/program.rs"]
mod program;

use program::Program;
use std::process::Command;

const ANSWER: &str = "Default answer from server";

/// The example, of so many instances.
fn example(instances: &str) -> Command {
    // `cargo test` builds the examples next to the tests.
    let test = std::env::current_exe().unwrap();
    let target = test.ancestors().nth(2).unwrap();
    let example =
        target.join("examples/default_answer").with_extension(std::env::consts::EXE_EXTENSION);
    assert!(
        example.exists(),
        "no {}: for this test alone, run `cargo build --example default_answer` first",
        example.display()
    );
    let mut command = Command::new(example);
    command.args(["--instances", instances]);
    command
}

/// Starts it; returns also where it listens.
#[track_caller]
fn start(command: Command) -> (Program, String) {
    let mut server = Program::spawn("default_answer", command);
    let line = server.line();
    let place = line.strip_prefix("listening at ").unwrap_or_else(|| panic!("{line}")).to_owned();
    (server, place)
}

/// The requests that it has printed, in any order.
#[track_caller]
fn has_heard(server: &mut Program, requests: &[String]) {
    let mut heard: Vec<String> = requests.iter().map(|_| server.line()).collect();
    heard.iter_mut().for_each(|line| *line = line.split_once(": ").unwrap().1.to_owned());
    heard.sort();
    assert_eq!(heard, requests);
}

#[test]
fn an_invalid_number_of_instances_is_refused() {
    for arguments in [&["--instances"][..], &["--instances", "many"], &["--instances", "-1"]] {
        let mut command = example("4");
        command.args(arguments);
        let ended = Program::spawn("default_answer", command).end();
        assert_eq!((ended.status, ended.lines.len()), (Some(1), 0), "{ended:?}");
        assert!(ended.errors.starts_with("default_answer: "), "{ended:?}");
    }
}

#[cfg(windows)]
mod pipes {
    use super::*;

    fn endpoint(test: &str) -> String {
        format!(r"\\.\pipe\msgpipe.default.{}.{test}", std::process::id())
    }

    #[test]
    fn the_default_pipe_is_the_classic_one() {
        let (mut server, pipe) = start(example("unlimited"));
        assert_eq!(pipe, r"\\.\pipe\mynamedpipe");
        for text in ["", "Default message from client.", "gr\u{fc}\u{df}e, \u{4e16}\u{754c}"] {
            let said = Program::start("text_client", [&pipe, text]).end().succeeded();
            assert_eq!(said, [ANSWER]);
            has_heard(&mut server, &[text.to_owned()]);
        }
    }

    /// Clients that have their answer and stay.
    fn holding(pipe: &str, requests: &[String]) -> Vec<Program> {
        let start = |text| Program::start("text_client", [pipe, text, "--hold"]);
        let mut clients: Vec<Program> = requests.iter().map(|text| start(text)).collect();
        for client in &mut clients {
            assert_eq!([client.line(), client.line()], [ANSWER, "held"]);
        }
        clients
    }

    #[test]
    fn many_clients_are_served_at_once() {
        let mut command = example("unlimited");
        command.arg(endpoint("many"));
        let (mut server, pipe) = start(command);
        let requests: Vec<String> = (10..22).map(|number| format!("client {number}")).collect();
        let clients = holding(&pipe, &requests);
        has_heard(&mut server, &requests);
        clients.into_iter().for_each(|client| drop(client.end().succeeded()));
    }

    #[test]
    fn a_fixed_number_of_clients_is_served_and_the_next_one_waits() {
        let mut command = example("4");
        command.arg(endpoint("fixed"));
        let (mut server, pipe) = start(command);
        let requests: Vec<String> = (0..4).map(|number| format!("client {number}")).collect();
        let mut clients = holding(&pipe, &requests);
        has_heard(&mut server, &requests);
        let fifth = Program::start("text_client", [&pipe, "--timeout", "0"]).end();
        assert_eq!((fifth.status, fifth.lines.concat().as_str()), (Some(3), "busy"));
        let fifth = Program::start("text_client", [&pipe, "my turn"]);
        clients.pop().unwrap().end().succeeded();
        assert_eq!(fifth.end().succeeded(), [ANSWER]);
        has_heard(&mut server, &["my turn".to_owned()]);
        clients.into_iter().for_each(|client| drop(client.end().succeeded()));
    }
}

#[cfg(target_os = "linux")]
mod sockets {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::net::{
        AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketType, connect, recv, send,
        socket,
    };
    use std::os::fd::OwnedFd;
    use std::path::PathBuf;

    /// A directory that is removed when the test ends.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(test: &str) -> Scratch {
            let name = format!("msgpipe-default-{}-{test}", std::process::id());
            let path = std::env::temp_dir().join(name);
            std::fs::create_dir(&path).unwrap();
            Scratch(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    /// A client that has asked.
    fn ask(path: &str, text: &str) -> OwnedFd {
        let client = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
        connect(&client, &SocketAddrUnix::new(path).unwrap()).unwrap();
        let units = text.encode_utf16().chain([0]);
        let request: Vec<u8> = units.flat_map(u16::to_le_bytes).collect();
        assert_eq!(send(&client, &request, SendFlags::empty()).unwrap(), request.len());
        client
    }

    /// Whether an answer is there within so many milliseconds.
    fn waits(client: &OwnedFd, millis: i64) -> bool {
        let time = Timespec { tv_sec: millis / 1000, tv_nsec: millis % 1000 * 1_000_000 };
        poll(&mut [PollFd::new(client, PollFlags::IN)], Some(&time)).unwrap() == 1
    }

    /// It gets the answer with its terminating zero, and only that.
    #[track_caller]
    fn is_answered(client: &OwnedFd) {
        assert!(waits(client, 60_000), "no answer");
        let mut answer = [0; 1000];
        let (len, _) = recv(client, &mut answer[..], RecvFlags::empty()).unwrap();
        let expected: Vec<u8> =
            ANSWER.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
        assert_eq!(answer[..len], expected);
        assert!(!waits(client, 0), "a second answer");
    }

    #[test]
    fn without_a_name_it_prints_its_path() {
        let scratch = Scratch::new("place");
        let mut command = example("unlimited");
        command.env("XDG_RUNTIME_DIR", &scratch.0);
        let (mut server, path) = start(command);
        assert_eq!(path, scratch.0.join("msgpipe/mynamedpipe.sock").to_str().unwrap());
        for text in ["", "Default message from client.", "gr\u{fc}\u{df}e, \u{4e16}\u{754c}"] {
            is_answered(&ask(&path, text));
            has_heard(&mut server, &[text.to_owned()]);
        }
    }

    #[test]
    fn many_clients_are_served_at_once() {
        let scratch = Scratch::new("many");
        let mut command = example("unlimited");
        command.arg(scratch.0.join("socket"));
        let (mut server, path) = start(command);
        let requests: Vec<String> = (100..150).map(|number| format!("client {number}")).collect();
        let clients: Vec<OwnedFd> = requests.iter().map(|text| ask(&path, text)).collect();
        clients.iter().for_each(is_answered);
        has_heard(&mut server, &requests);
    }

    #[test]
    fn a_fixed_number_of_clients_is_served_and_the_next_one_waits() {
        let scratch = Scratch::new("fixed");
        let mut command = example("4");
        command.arg(scratch.0.join("socket"));
        let (mut server, path) = start(command);
        let requests: Vec<String> = (0..4).map(|number| format!("client {number}")).collect();
        let mut clients: Vec<OwnedFd> = requests.iter().map(|text| ask(&path, text)).collect();
        clients.iter().for_each(is_answered);
        has_heard(&mut server, &requests);
        let fifth = ask(&path, "my turn");
        assert!(!waits(&fifth, 100), "five at once");
        drop(clients.pop());
        is_answered(&fifth);
        has_heard(&mut server, &["my turn".to_owned()]);
    }
}
