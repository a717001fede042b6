//! Running the command.
#![allow(dead_code, reason = "each test file uses its part")]

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;
use std::time::Duration;

/// How long a test waits before it fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A name that no other test has.
pub fn name(what: &str) -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("msgpipe-cli.{what}.{}.{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A directory for this test alone.
pub fn scratch(what: &str) -> PathBuf {
    let directory = std::env::temp_dir().join(name(what));
    std::fs::create_dir(&directory).unwrap();
    directory
}

pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_msgpipe"));
    command.args(arguments);
    command
}

/// Runs it to its end: status, output, errors.
pub fn run(arguments: &[&str], input: &[u8]) -> (i32, String, String) {
    let mut command = command(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // It may not want to read.
    let _ = child.stdin.take().unwrap().write_all(input);
    finished(child)
}

/// Runs a command without input to its end.
pub fn output(command: &mut Command) -> (i32, String, String) {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    finished(command.spawn().unwrap())
}

fn finished(child: Child) -> (i32, String, String) {
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

/// What it prints when all goes well.
#[track_caller]
pub fn succeeds(arguments: &[&str]) -> String {
    let (status, output, errors) = run(arguments, b"");
    assert_eq!(status, 0, "{arguments:?}: {output}{errors}");
    output
}

/// A command that goes on. Killed at the end of the test.
pub struct Running {
    child: Child,
    all: Receiver<String>,
}

impl Running {
    /// Starts a server, and returns once it listens.
    pub fn start(arguments: &[&str]) -> Running {
        let mut child = spawn(arguments);
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let errors = || {
            let mut errors = String::new();
            child.stderr.as_mut().unwrap().read_to_string(&mut errors).unwrap();
            errors
        };
        let mut errors = errors;
        assert!(line.starts_with("listening at "), "{line}{}", errors());
        Running { all: rest(output), child }
    }

    /// Starts it.
    pub fn spawn(arguments: &[&str]) -> Running {
        let mut child = spawn(arguments);
        Running { all: rest(child.stdout.take().unwrap()), child }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed, once it has ended.
    pub fn finished(&self) -> Option<String> {
        match self.all.try_recv() {
            Ok(all) => Some(all),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => panic!("its output was taken before"),
        }
    }

    /// What it prints to its end.
    pub fn all(self) -> String {
        self.all.recv_timeout(PATIENCE).expect("it ends")
    }

    /// Ends it, as a user does where that can be sent, and waits for its end.
    pub fn stop(mut self) {
        #[cfg(unix)]
        {
            use rustix::process::{Pid, Signal, kill_process};
            let pid = Pid::from_raw(self.child.id() as i32).unwrap();
            kill_process(pid, Signal::INT).unwrap();
            assert!(self.child.wait().unwrap().success(), "Ctrl-C ends it in order");
        }
        #[cfg(windows)]
        {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(arguments: &[&str]) -> Child {
    let mut command = command(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

fn rest(mut output: impl Read + Send + 'static) -> Receiver<String> {
    let (give, all) = mpsc::channel();
    thread::spawn(move || {
        let mut text = String::new();
        let _ = output.read_to_string(&mut text);
        give.send(text)
    });
    all
}
