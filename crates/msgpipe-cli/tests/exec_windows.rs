//! A server that runs a command for each request, on Windows.
#![cfg(windows)]

mod common;

use common::{Running, name, run, succeeds};
use std::process::Command;

#[test]
fn a_command_replies_with_what_it_prints() {
    let name = name("exec");
    let _server = Running::start(&["serve", &name, "--exec", "cmd", "/c", "echo hello"]);
    assert_eq!(succeeds(&["call", &name]), "hello\r\n");
    // It need not read what was asked.
    let long = vec![b'x'; 1 << 20];
    let (status, said, errors) = run(&["call", &name, "-"], &long);
    assert_eq!((status, said.as_str()), (0, "hello\r\n"), "{errors}");
}

#[test]
fn a_command_that_fails_is_an_error_with_its_status() {
    let name = name("fails");
    let _server = Running::start(&["serve", &name, "--exec", "cmd", "/c", "exit 3"]);
    let (status, said, errors) = run(&["call", &name], b"");
    assert_eq!((status, said.as_str()), (1, ""));
    assert!(errors.contains("exit code: 3"), "{errors}");
}

/// Run as a command: starts a process that holds its output open as long as the server named after `--skip` is there.
#[test]
fn leaves_a_process_behind() {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--skip").skip(1);
    if let Some(server) = arguments.next() {
        println!("said before");
        Command::new(env!("CARGO_BIN_EXE_msgpipe")).args(["listen", &server]).spawn().unwrap();
        std::process::exit(0);
    }
}

/// The reply comes a second after its end, although another process may still write to it.
#[test]
fn what_a_command_leaves_behind_does_not_hold_its_reply_back() {
    let name = name("leaves");
    let here = std::env::current_exe().unwrap();
    let here = here.to_str().unwrap();
    let role = ["--exact", "leaves_a_process_behind", "--nocapture", "--skip", &name];
    let arguments = [&["serve", &name, "--exec", here][..], &role].concat();
    let server = Running::start(&arguments);
    let (status, said, errors) = run(&["call", &name, "-t", "60s"], b"");
    assert_eq!(status, 0, "{errors}");
    assert!(said.contains("said before"), "{said}");
    // And the server stops, with which the process ends.
    server.stop();
}
