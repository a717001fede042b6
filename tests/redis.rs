//! `examples/redis`, with the bytes that clients of RESP send.
#![cfg(unix)]

#[path = "suite/common/program.rs"]
mod program;

use program::Program;
use std::io::{Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

fn example() -> Command {
    // `cargo test` builds the examples beside the tests.
    let test = std::env::current_exe().unwrap();
    let example = test.ancestors().nth(2).unwrap().join("examples/redis");
    assert!(example.exists(), "run `cargo build --example redis` first");
    Command::new(example)
}

/// The example, in a directory of its own.
struct Served {
    _server: Program,
    directory: PathBuf,
}

impl Served {
    fn new(name: &str) -> Served {
        let directory = std::env::temp_dir().join(format!("msgpipe.{name}.{}", std::process::id()));
        std::fs::DirBuilder::new().mode(0o700).create(&directory).unwrap();
        let mut command = example();
        command.arg(directory.join("socket"));
        let mut server = Program::spawn("redis", command);
        let line = server.line();
        assert!(line.starts_with("listening at "), "{line}");
        Served { _server: server, directory }
    }

    fn connect(&self) -> UnixStream {
        let client = UnixStream::connect(self.directory.join("socket")).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        client
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// A command as clients write it.
fn command(words: &[&str]) -> String {
    let strings = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len()));
    format!("*{}\r\n{}", words.len(), strings.collect::<String>())
}

#[track_caller]
fn expect(client: &mut UnixStream, reply: &str) {
    let mut read = vec![0; reply.len()];
    client.read_exact(&mut read).unwrap();
    assert_eq!(String::from_utf8_lossy(&read), reply);
}

#[test]
fn commands_are_answered_in_their_order_however_they_are_cut() {
    let served = Served::new("commands");
    let asked = [
        command(&["PING"]),
        command(&["get", "a key"]),
        command(&["SET", "a key", "line\r\nline"]),
        command(&["GET", "a key"]),
        command(&["CONFIG", "GET", "save", "more"]),
    ]
    .concat();
    let replies = "+PONG\r\n$-1\r\n+OK\r\n$10\r\nline\r\nline\r\n-ERR";
    let mut whole = served.connect();
    whole.write_all(asked.as_bytes()).unwrap();
    expect(&mut whole, replies);
    let mut bytes = served.connect();
    asked.bytes().for_each(|byte| bytes.write_all(&[byte]).unwrap());
    expect(&mut bytes, &replies.replace("$-1\r\n", "$10\r\nline\r\nline\r\n"));
}

#[test]
fn what_is_no_command_ends_its_connection_and_no_other() {
    let served = Served::new("wrong");
    let mut other = served.connect();
    let wrong = [
        "hello\r\n",
        "*1\r\n+PING\r\n",
        "*99999\r\n",
        "*1\r\n$12345678901\r\n",
        "*\r\n",
        // Without a whole line end: after a header, and after a string.
        "*1\r$4\r\nPING\r\n",
        "*1\r\n$4\rPING\r\n",
        "*1\r\n$4\r\nPINGS\r\n",
        "*1\r\n$4\r\nPING\r\r",
        "*1\r\n$3\r\nPING\r\n",
    ];
    for wrong in wrong {
        let mut client = served.connect();
        client.write_all(wrong.as_bytes()).unwrap();
        assert_eq!(client.read(&mut [0; 8]).unwrap(), 0, "{wrong:?}");
        other.write_all(command(&["PING"]).as_bytes()).unwrap();
        expect(&mut other, "+PONG\r\n");
    }
}

#[test]
fn without_a_path_it_says_what_it_takes() {
    let ended = Program::spawn("redis", example()).end();
    assert_eq!((ended.status, ended.lines.len()), (Some(1), 0), "{ended:?}");
    assert!(ended.errors.contains("PATH_OF_THE_SOCKET"), "{ended:?}");
}
