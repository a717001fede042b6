//! A running command, where pipes cannot be polled: threads write its input and read its output.

use super::exec::{ERRORS_KEPT, PAUSES, REST};
use std::io::{self, Read, Write};
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

/// The most threads that wait for what commands have left behind: each is a pipe that a process holds open after its
/// command's end, until it ends too. A server that starts such processes one after the other would have no end of them.
const LEFT_MAX: usize = 64;

static LEFT: Mutex<Vec<JoinHandle<()>>> = Mutex::new(Vec::new());

/// The system has no groups that are killed as a whole.
pub fn prepare(_: &mut Command) {}

/// A command, for the thread that waits and for the one that kills.
#[derive(Clone)]
pub struct Running(Arc<Mutex<Child>>);

/// What it has printed.
pub struct Printed {
    pub status: ExitStatus,
    pub reply: io::Result<Vec<u8>>,
    pub errors: Vec<u8>,
}

/// What a thread has read, up to now and at the end.
struct Reading {
    bytes: Arc<Mutex<Vec<u8>>>,
    is_over: Receiver<io::Result<()>>,
}

impl Running {
    pub fn new(child: Child) -> Running {
        Running(Arc::new(Mutex::new(child)))
    }

    fn lock(&self) -> MutexGuard<'_, Child> {
        lock(&self.0)
    }

    /// Kills it, but not what it has started. Does nothing if it has ended.
    pub fn kill(&self) {
        let _ = self.lock().kill();
    }

    /// Gives it its input, and waits for its end and for what it prints: `REST` after its end for what others hold open.
    pub fn finish(&self, body: &[u8], limit: usize) -> io::Result<Printed> {
        let left = {
            let mut left = lock(&LEFT);
            left.retain(|thread| !thread.is_finished());
            left.len()
        };
        if left >= LEFT_MAX {
            self.kill();
            let text =
                format!("{left} pipes are held open by processes that commands have left behind");
            return Err(io::Error::other(text));
        }
        let (stdin, stdout, stderr) = {
            let mut child = self.lock();
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        };
        let body = body.to_vec();
        // It need not read what was asked.
        let writing = thread::spawn(move || drop(stdin.map(|mut stdin| stdin.write_all(&body))));
        let killed = self.clone();
        let keep_reply = move |bytes: &mut Vec<u8>| match bytes.len() > limit {
            true => {
                killed.kill();
                Err(io::Error::other(format!("it prints more than {limit} bytes")))
            }
            false => Ok(()),
        };
        let keep_end = |bytes: &mut Vec<u8>| {
            let over = bytes.len().saturating_sub(ERRORS_KEPT);
            bytes.drain(..over);
            Ok(())
        };
        let (reply, replying) = Reading::begin(stdout, keep_reply);
        let (errors, complaining) = Reading::begin(stderr, keep_end);
        let status = self.wait();
        let until = Instant::now() + REST;
        let (reply, errors) = (reply.end(until), errors.end(until));
        let threads = [writing, replying, complaining];
        lock(&LEFT).extend(threads.into_iter().filter(|thread| !thread.is_finished()));
        Ok(Printed { status: status?, reply, errors: errors.unwrap_or_default() })
    }

    fn wait(&self) -> io::Result<ExitStatus> {
        let (mut pause, longest) = PAUSES;
        // Nothing is held while it waits: it may be killed.
        loop {
            if let Some(status) = self.lock().try_wait()? {
                return Ok(status);
            }
            thread::sleep(pause);
            pause = (pause * 2).min(longest);
        }
    }
}

impl Reading {
    /// Reads on a thread to the end, or until `keep` refuses more.
    fn begin(
        pipe: Option<impl Read + Send + 'static>,
        keep: impl Fn(&mut Vec<u8>) -> io::Result<()> + Send + 'static,
    ) -> (Reading, JoinHandle<()>) {
        let (bytes, (over, is_over)) = (Arc::<Mutex<Vec<u8>>>::default(), mpsc::channel());
        let kept = bytes.clone();
        let read = move || -> io::Result<()> {
            let (mut pipe, mut buffer) = (pipe, [0; 4096]);
            while let Some(pipe) = &mut pipe {
                let read = pipe.read(&mut buffer)?;
                if read == 0 {
                    break;
                }
                let mut kept = lock(&kept);
                kept.extend_from_slice(&buffer[..read]);
                keep(&mut kept)?;
            }
            Ok(())
        };
        let thread = thread::spawn(move || drop(over.send(read())));
        (Reading { bytes, is_over }, thread)
    }

    /// What was read to the end, or until then.
    fn end(self, until: Instant) -> io::Result<Vec<u8>> {
        let left = until.saturating_duration_since(Instant::now());
        if let Ok(read) = self.is_over.recv_timeout(left) {
            read?;
        }
        Ok(std::mem::take(&mut *lock(&self.bytes)))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
