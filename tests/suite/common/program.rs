//! Child processes that a test starts, reads and ends.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// A deadline that only a failing test reaches.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running program. It is killed when dropped, or if it hangs.
pub struct Program {
    name: &'static str,
    child: Child,
    lines: Receiver<String>,
    errors: Option<JoinHandle<String>>,
}

/// How a program has ended.
#[derive(Debug)]
pub struct Ended {
    pub status: Option<i32>,
    pub lines: Vec<String>,
    pub errors: String,
}

impl Program {
    /// Starts a program; `name` is for error texts.
    #[track_caller]
    pub fn spawn(name: &'static str, mut command: Command) -> Program {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Under Wine starting a process sometimes fails: ERROR_INTERNAL_ERROR.
        let is_lost = |error: &std::io::Error| cfg!(windows) && error.raw_os_error() == Some(1359);
        let mut started = command.spawn();
        for _ in 0..3 {
            if started.as_ref().is_err_and(is_lost) {
                started = command.spawn();
            }
        }
        let mut child = started.unwrap_or_else(|error| panic!("{name}: {error}"));
        let (said, lines) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| said.send(line))
        });
        let mut errors = child.stderr.take().unwrap();
        let errors = thread::spawn(move || {
            let mut text = String::new();
            // Print the output before the error.
            let _ = errors.read_to_string(&mut text);
            text
        });
        Program { name, child, lines, errors: Some(errors) }
    }

    /// The next line of its output.
    #[track_caller]
    pub fn line(&mut self) -> String {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => panic!("{} hangs", self.name),
            Err(RecvTimeoutError::Disconnected) => panic!("{} said no more", self.name),
        }
    }

    /// Closes its input, and waits for its end.
    #[track_caller]
    pub fn end(mut self) -> Ended {
        drop(self.child.stdin.take());
        let mut lines = Vec::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => lines.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("{} hangs behind {lines:?}", self.name),
            }
        }
        let status = self.child.wait().unwrap().code();
        let errors = self.errors.take().map(JoinHandle::join).unwrap().unwrap();
        Ended { status, lines, errors }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // This fails only if the process has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
