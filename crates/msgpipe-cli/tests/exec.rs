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

/// How many threads and descriptors a process has.
#[cfg(target_os = "linux")]
fn held(pid: u32) -> (usize, usize) {
    let count = |what| fs::read_dir(format!("/proc/{pid}/{what}")).unwrap().count();
    (count("task"), count("fd"))
}

/// The command ends, and what it has started holds its output, its errors or its input open.
#[cfg(target_os = "linux")]
#[test]
fn what_a_command_leaves_behind_holds_nothing_of_the_server() {
    let (name, directory) = (name("left"), common::scratch("left"));
    let pid = directory.join("pid");
    // The request says which of them it holds.
    let script = format!(
        "read what; echo reply; case $what in output) exec 2>&-;; errors) exec >&-;; esac; \
         sleep 1000 & echo $! > {}",
        pid.display()
    );
    let server = Running::start(&["serve", &name, "--exec", "sh", "-c", &script]);
    let call = |body: &str| {
        let started = Instant::now();
        let (status, said, errors) = run(&["call", &name, "-"], body.as_bytes());
        assert_eq!((status, said.as_str()), (0, "reply\n"), "{errors}");
        assert!(started.elapsed() < Duration::from_secs(9), "it waits for what is left behind");
        let pid = fs::read_to_string(&pid).unwrap();
        let started = Instant::now();
        while is_running(pid.trim()) {
            assert!(started.elapsed() < Duration::from_secs(60), "it goes on");
            std::thread::yield_now();
        }
    };
    call("output\n");
    let before = held(server.id());
    call("errors\n");
    call("both\n");
    // More than a pipe holds, which nobody reads.
    call(&format!("output\n{}", "x".repeat(1 << 20)));
    let started = Instant::now();
    while held(server.id()) > before {
        let now = held(server.id());
        assert!(started.elapsed() < Duration::from_secs(60), "{before:?}, {now:?}");
        std::thread::yield_now();
    }
    fs::remove_dir_all(directory).unwrap();
}

/// A process that is killed at the end of the test.
#[cfg(target_os = "linux")]
struct Killed(String);

#[cfg(target_os = "linux")]
impl Killed {
    /// The one whose number a file has.
    fn of(file: &std::path::Path) -> Killed {
        Killed(fs::read_to_string(file).unwrap().trim().to_owned())
    }
}

#[cfg(target_os = "linux")]
impl Drop for Killed {
    fn drop(&mut self) {
        use rustix::process::{Pid, Signal, kill_process};
        let pid = self.0.parse().ok().and_then(Pid::from_raw);
        let _ = pid.map(|pid| kill_process(pid, Signal::KILL));
    }
}

/// It is in no group of the command's: it goes on, without a hold on the server.
#[cfg(target_os = "linux")]
#[test]
fn what_leaves_the_commands_group_goes_on_alone() {
    let (name, directory) = (name("away"), common::scratch("away"));
    let pid = directory.join("pid");
    let script = format!(
        "echo reply; setsid sh -c 'echo $$ > {0}; exec sleep 1000' & until test -s {0}; do :; done",
        pid.display()
    );
    let server = Running::start(&["serve", &name, "--exec", "sh", "-c", &script]);
    assert_eq!(succeeds(&["call", &name]), "reply\n");
    let before = held(server.id());
    let first = Killed::of(&pid);
    fs::remove_file(&pid).unwrap();
    assert_eq!(succeeds(&["call", &name]), "reply\n");
    let second = Killed::of(&pid);
    assert!(is_running(&first.0) && is_running(&second.0));
    let started = Instant::now();
    while held(server.id()) > before {
        assert!(started.elapsed() < Duration::from_secs(60), "{:?}", held(server.id()));
        std::thread::yield_now();
    }
    fs::remove_dir_all(directory).unwrap();
}

/// One that writes and writes has its limit too, whoever it is.
#[test]
fn an_endless_writer_that_is_left_behind_has_its_limit() {
    let name = name("writer");
    let arguments = ["serve", &name, "--message-limit", "100000"];
    let arguments = [&arguments[..], &["--exec", "sh", "-c", "cat /dev/zero &"]].concat();
    let _server = Running::start(&arguments);
    let (status, _, errors) = run(&["call", &name], b"");
    assert_eq!(status, 1, "{errors}");
    assert!(errors.contains("prints more than 100000 bytes"), "{errors}");
}

fn is_running(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    // One that has ended, and that nobody has waited for, is a zombie.
    stat.is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or("").trim_start().starts_with('Z'))
}
