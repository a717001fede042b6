//! The command in a pseudo-terminal: what only people see.
#![cfg(target_os = "linux")]

mod common;

use common::{Running, command, name};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::process::Command;
use std::thread;

/// Runs it with a terminal for its output and errors: what the terminal gets.
fn on_a_terminal(command: &mut Command) -> String {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let path = ptsname(&terminal, Vec::new()).unwrap().into_string().unwrap();
    let open = || OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let mut child = command.stdin(open()).stdout(open()).stderr(open()).spawn().unwrap();
    // Its ends here are closed, so that reading ends with the command.
    command.stdin(std::process::Stdio::null());
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let reading = thread::spawn(move || {
        let (mut file, mut all) = (File::from(terminal), Vec::new());
        // At the end it fails: the other side is closed.
        let _ = file.read_to_end(&mut all);
        String::from_utf8_lossy(&all).into_owned()
    });
    assert!(child.wait().unwrap().success());
    reading.join().unwrap()
}

#[test]
fn replies_cannot_control_the_terminal() {
    let name = name("terminal");
    let _server = Running::start(&["serve", &name, "--echo"]);
    let evil = "\x1b[2J\x1b]0;title\x07 text";
    let said = on_a_terminal(&mut command(&["call", &name, evil]));
    assert!(!said.contains('\x1b') && said.contains("\\u{1b}[2J"), "{said:?}");
    let said = on_a_terminal(&mut command(&["call", &name, evil, "--raw"]));
    assert!(said.contains("\x1b[2J"), "{said:?}");
    // A pipe gets the bytes.
    assert_eq!(common::succeeds(&["call", &name, evil]), evil);
}

#[test]
fn colours_are_for_terminals_and_can_be_switched_off() {
    let name = name("colours");
    let _server = Running::start(&["serve", &name, "--echo"]);
    for (no_color, has_colours) in [(None, true), (Some("1"), false), (Some(""), true)] {
        let mut tap = command(&["tap", &name, "-c", "6"]);
        tap.env_remove("NO_COLOR");
        if let Some(value) = no_color {
            tap.env("NO_COLOR", value);
        }
        let tap = thread::spawn(move || on_a_terminal(&mut tap));
        while !tap.is_finished() {
            common::succeeds(&["call", &name, "seen"]);
        }
        let said = tap.join().unwrap();
        assert_eq!(said.contains("\x1b[3"), has_colours, "{no_color:?}: {said:?}");
    }
}
