//! A server that runs a command for each request.
#![cfg(unix)]

mod common;

use common::{Running, name, run, succeeds};
use std::fs;
use std::time::{Duration, Instant};

#[test]
fn a_command_replies_with_what_it_prints() {
    let name = name("exec");
    let _server = Running::start(&["serve", &name, "--exec", "tr", "a-z", "A-Z"]);
    assert_eq!(succeeds(&["call", &name, "hello"]), "HELLO");
    // More than any buffer between them.
    let long = "x".repeat(1 << 20);
    let (status, said, _) = run(&["call", &name, "-"], long.as_bytes());
    assert_eq!(status, 0);
    assert!(said == long.to_uppercase(), "other bytes");
}

#[test]
fn a_command_that_fails_is_an_error_with_its_last_words() {
    let name = name("fails");
    let script = "echo ignored; echo what went wrong >&2; exit 3";
    let _server = Running::start(&["serve", &name, "--exec", "sh", "-c", script]);
    let (status, said, errors) = run(&["call", &name], b"");
    assert_eq!((status, said.as_str()), (1, ""));
    assert!(errors.contains("what went wrong") && errors.contains("exit status: 3"), "{errors}");
}

#[test]
fn a_command_knows_the_method_and_need_not_read() {
    let name = name("method");
    let _server = Running::start(&["serve", &name, "--exec", "sh", "-c", "echo $MSGPIPE_METHOD"]);
    let long = vec![b'x'; 1 << 20];
    let (status, said, errors) = run(&["call", &name, "-m", "0x10", "-"], &long);
    assert_eq!((status, said.as_str()), (0, "16\n"), "{errors}");
}

#[test]
fn a_command_that_is_not_there_is_an_error() {
    let name = name("absent");
    let _server = Running::start(&["serve", &name, "--exec", "msgpipe-no-such-command"]);
    let (status, _, errors) = run(&["call", &name], b"");
    assert_eq!(status, 1);
    assert!(errors.contains("msgpipe-no-such-command"), "{errors}");
}

#[test]
fn an_endless_reply_has_its_limit() {
    let name = name("endless");
    let arguments = ["serve", &name, "--message-limit", "100000", "--exec", "cat", "/dev/zero"];
    let _server = Running::start(&arguments);
    let (status, _, errors) = run(&["call", &name], b"");
    assert_eq!(status, 1, "{errors}");
}

/// With what it has started: the shell's child would go on otherwise.
#[test]
fn a_command_is_killed_when_nobody_waits_any_more() {
    let (name, directory) = (name("killed"), common::scratch("killed"));
    let pid = directory.join("pid");
    let script = format!("sleep 1000 & echo $! > {}; wait", pid.display());
    let _server = Running::start(&["serve", &name, "--exec", "sh", "-c", &script]);
    let (status, _, errors) = run(&["call", &name, "-t", "500ms"], b"");
    assert_eq!(status, 4, "{errors}");
    let pid = fs::read_to_string(pid).unwrap();
    let started = Instant::now();
    while is_running(pid.trim()) {
        assert!(started.elapsed() < Duration::from_secs(60), "it goes on");
        std::thread::yield_now();
    }
    fs::remove_dir_all(directory).unwrap();
}

fn is_running(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    // One that has ended, and that nobody has waited for, is a zombie.
    stat.is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or("").trim_start().starts_with('Z'))
}
