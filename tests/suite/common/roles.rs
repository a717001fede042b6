//! Processes that are killed: this test program starts itself again with a role.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;

/// The role to play, and the name to play it at.
pub const ROLE: &str = "MSGPIPE_TEST_ROLE";
pub const NAME: &str = "MSGPIPE_TEST_NAME";

/// The line of a role that is ready to be killed.
pub const READY: &str = "ready to be killed";

/// Starts a role in another process, and waits until it is ready.
pub fn start(role: &str, name: &str) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "processes::a_process_plays_its_role", "--nocapture"])
        .env(ROLE, role)
        .env(NAME, name)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.as_mut().unwrap());
    let ready = output.lines().map_while(Result::ok).any(|line| line.contains(READY));
    assert!(ready, "{role} ended before it was ready");
    child
}

pub fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Waits until it is killed: nothing is written to its input.
pub fn wait_to_be_killed() {
    println!("{READY}");
    loop {
        thread::park();
    }
}
