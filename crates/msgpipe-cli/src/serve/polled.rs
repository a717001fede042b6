//! A running command, on Unix: one thread writes its input, reads its output, and waits for its end.

use super::exec::{ERRORS_KEPT, PAUSES, REST};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::ioctl_fionbio;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How much is read at once: as much as a pipe holds.
const PIECE: usize = 64 * 1024;

/// In a group of its own, so that all of it can be killed, and so that Ctrl-C is the server's.
pub fn prepare(command: &mut Command) {
    command.process_group(0);
}

/// A command, for the thread that waits and for the one that kills.
#[derive(Clone)]
pub struct Running(Arc<Mutex<Ending>>);

struct Ending {
    child: Child,
    /// Its end was taken from the system, which may give its number to another process.
    is_reaped: bool,
}

/// What it has printed.
pub struct Printed {
    pub status: ExitStatus,
    pub reply: io::Result<Vec<u8>>,
    pub errors: Vec<u8>,
}

/// The pipes to the command that are open.
struct Pipes<'b> {
    input: Option<ChildStdin>,
    /// What has not been written yet.
    body: &'b [u8],
    output: Option<ChildStdout>,
    reply: Vec<u8>,
    limit: usize,
    errors: Option<ChildStderr>,
    last_errors: Vec<u8>,
}

impl Running {
    pub fn new(child: Child) -> Running {
        Running(Arc::new(Mutex::new(Ending { child, is_reaped: false })))
    }

    fn lock(&self) -> MutexGuard<'_, Ending> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Kills it, with what it has started in its group, also when it has ended itself. Does nothing once that is over.
    pub fn kill(&self) {
        let mut ending = self.lock();
        // Until it is reaped the number is its own, and so is that of its group.
        if let Some(group) = ending.pid().filter(|_| !ending.is_reaped) {
            // It fails only if all have ended.
            let _ = kill_process_group(group, Signal::KILL);
            // It may have gone to another group.
            let _ = ending.child.kill();
        }
    }

    /// Gives it its input, and waits for its end and for what it prints: `REST` after its end for what others hold open.
    /// Nothing of it is left then in this process.
    pub fn finish(&self, body: &[u8], limit: usize) -> io::Result<Printed> {
        let pipes = self.pipes(body, limit);
        let finished = pipes.and_then(|mut pipes| self.wait(&mut pipes).map(|()| pipes.said()));
        if finished.is_err() {
            self.kill();
        }
        // Its pipes are closed, so that one with the rights of another user, which was not killed, ends by them.
        let status = self.reap();
        let (mut pipes, status) = (finished?, status?);
        let reply = std::mem::take(&mut pipes.reply);
        let reply = match reply.len() > limit {
            true => Err(io::Error::other(format!("it prints more than {limit} bytes"))),
            false => Ok(reply),
        };
        Ok(Printed { status, reply, errors: std::mem::take(&mut pipes.last_errors) })
    }

    /// Waits for its end. Who kills it meanwhile does not wait for that.
    fn reap(&self) -> io::Result<ExitStatus> {
        let (mut pause, longest) = PAUSES;
        loop {
            let mut ending = self.lock();
            if ending.has_ended()? {
                let status = ending.child.wait();
                ending.is_reaped = true;
                return status;
            }
            drop(ending);
            std::thread::sleep(pause);
            pause = (pause * 2).min(longest);
        }
    }

    fn pipes<'b>(&self, body: &'b [u8], limit: usize) -> io::Result<Pipes<'b>> {
        let child = &mut self.lock().child;
        let (input, output, errors) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let all = [
            input.as_ref().map(AsFd::as_fd),
            output.as_ref().map(AsFd::as_fd),
            errors.as_ref().map(AsFd::as_fd),
        ];
        for pipe in all.into_iter().flatten() {
            ioctl_fionbio(pipe, true)?;
        }
        let (reply, last_errors) = (Vec::new(), Vec::new());
        Ok(Pipes { input, body, output, reply, limit, errors, last_errors })
    }

    fn wait(&self, pipes: &mut Pipes<'_>) -> io::Result<()> {
        let (mut pause, longest) = PAUSES;
        let mut until: Option<Instant> = None;
        let mut buffer = vec![0; PIECE];
        loop {
            pipes.transfer(&mut buffer)?;
            if pipes.reply.len() > pipes.limit {
                self.kill();
                return Ok(());
            }
            if until.is_none() && self.lock().has_ended()? {
                // What it has not read nobody will.
                pipes.input = None;
                until = Some(Instant::now() + REST);
                continue;
            }
            if let Some(until) = until {
                if pipes.is_done() {
                    return Ok(());
                }
                if Instant::now() >= until {
                    self.kill();
                    // What was written before.
                    return pipes.transfer(&mut buffer);
                }
            }
            pipes.poll(pause)?;
            pause = (pause * 2).min(longest);
        }
    }
}

impl Ending {
    fn pid(&self) -> Option<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
    }

    /// Whether it has ended. Leaves it to the system until it is waited for.
    fn has_ended(&mut self) -> io::Result<bool> {
        let Some(pid) = self.pid() else { return Ok(true) };
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        match waitid(WaitId::Pid(pid), options) {
            Ok(status) => Ok(status.is_some()),
            Err(rustix::io::Errno::INTR) => Ok(false),
            // It was reaped by the system, as whoever has started this process wanted (SIGCHLD is ignored).
            Err(rustix::io::Errno::CHILD) => {
                self.is_reaped = true;
                Ok(true)
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl Pipes<'_> {
    /// Closes them, and keeps what was said.
    fn said(mut self) -> Self {
        (self.input, self.output, self.errors) = (None, None, None);
        self
    }

    fn is_done(&self) -> bool {
        self.output.is_none() && self.errors.is_none()
    }

    /// Writes and reads what can be now.
    fn transfer(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        if let Some(input) = &mut self.input {
            // It need not read what was asked: an error is its end.
            let written = match self.body.is_empty() {
                true => Ok(0),
                false => input.write(self.body),
            };
            match written {
                Ok(0) => self.input = None,
                Ok(written) => self.body = &self.body[written..],
                Err(error) if is_later(&error) => {}
                Err(_) => self.input = None,
            }
        }
        let (reply, most) = (&mut self.reply, self.limit.saturating_add(1));
        let keep = |bytes: &[u8]| {
            let room = most.saturating_sub(reply.len());
            reply.extend_from_slice(&bytes[..bytes.len().min(room)]);
        };
        read(&mut self.output, buffer, keep)?;
        let last = &mut self.last_errors;
        read(&mut self.errors, buffer, |bytes| {
            last.extend_from_slice(bytes);
            let over = last.len().saturating_sub(ERRORS_KEPT);
            last.drain(..over);
        })
    }

    /// Waits until more can be transferred, at most for so long.
    fn poll(&self, pause: Duration) -> io::Result<()> {
        let mut all = Vec::with_capacity(3);
        let reads = PollFlags::IN;
        all.extend(self.input.as_ref().map(|it| PollFd::new(it, PollFlags::OUT)));
        all.extend(self.output.as_ref().map(|it| PollFd::new(it, reads)));
        all.extend(self.errors.as_ref().map(|it| PollFd::new(it, reads)));
        let pause = Timespec { tv_sec: 0, tv_nsec: i64::from(pause.subsec_nanos()) as _ };
        match poll(&mut all, Some(&pause)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Reads once. At the end the pipe is closed.
fn read<R: Read>(
    pipe: &mut Option<R>,
    buffer: &mut [u8],
    take: impl FnOnce(&[u8]),
) -> io::Result<()> {
    let Some(reader) = pipe else { return Ok(()) };
    match reader.read(buffer) {
        Ok(0) => *pipe = None,
        Ok(read) => take(&buffer[..read]),
        Err(error) if is_later(&error) => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

fn is_later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
