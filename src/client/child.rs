//! The handle of a child process that a client has started, and the client's stream to it.

use super::inner::Inner;
use crate::backends::Waitable;
use crate::client_stream::ClientStream;
use crate::clock;
use crate::error::CloseReason;
use crate::peer::Peer;
use bytes::BytesMut;
use std::fmt;
use std::io::{self, ErrorKind, IoSlice};
use std::process::{Child, ChildStderr, ChildStdout, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

/// How long the end of a connection waits for the end of the child: a process closes its files a little before it has
/// ended. A child that has closed its connection and goes on delays the error by this.
const ENDING: Duration = Duration::from_millis(500);

/// The pauses between two looks whether a child has ended: short at first, as most end soon.
const PAUSES: (Duration, Duration) = (Duration::from_micros(200), Duration::from_millis(20));

/// A child process that serves one client; [`Client::spawn`](crate::Client::spawn) returns it and has an example.
///
/// Dropping it ends the child and leaves nothing: it closes the connection, for all clones of the client, gives the child
/// [`Limits::child_end`](crate::Limits::child_end) to end by itself, then kills it, and waits for its end. So keep it as
/// long as the child is needed, and drop it last if dropping must not block.
pub struct ChildProcess {
    child: Arc<Shared>,
    client: Weak<Inner>,
    grace: Duration,
    id: u32,
}

/// The child, shared with the stream; `None` once it has been released.
pub(super) struct Shared(Mutex<Option<Child>>);

impl Shared {
    pub fn new(child: Child) -> Arc<Shared> {
        Arc::new(Shared(Mutex::new(Some(child))))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Child>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_wait(&self) -> io::Result<Option<ExitStatus>> {
        self.lock().as_mut().map_or(Ok(None), Child::try_wait)
    }

    fn is_released(&self) -> bool {
        self.lock().is_none()
    }

    /// Waits for the end, until `deadline` at the latest. Nothing is held while it waits: others may kill it.
    fn wait(&self, deadline: Option<Instant>) -> io::Result<Option<ExitStatus>> {
        let (mut pause, longest) = PAUSES;
        loop {
            let status = self.try_wait()?;
            let now = clock::now();
            if status.is_some() || deadline.is_some_and(|at| at <= now) {
                return Ok(status);
            }
            let left = deadline.map_or(longest, |at| at - now);
            thread::sleep(pause.min(left));
            pause = (pause * 2).min(longest);
        }
    }
}

impl ChildProcess {
    pub(super) fn new(child: Arc<Shared>, client: &Arc<Inner>, grace: Duration) -> ChildProcess {
        let id = child.lock().as_ref().map_or(0, Child::id);
        ChildProcess { child, client: Arc::downgrade(client), grace, id }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// What the child prints, if the command has asked for it (`Stdio::piped`). Once.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.lock().as_mut()?.stdout.take()
    }

    /// What the child prints to its standard error, if the command has asked for it. Once.
    pub fn take_stderr(&mut self) -> Option<ChildStderr> {
        self.child.lock().as_mut()?.stderr.take()
    }

    /// Kills the child, and does not wait for its end. Does nothing if it has ended.
    ///
    /// # Errors
    /// As [`std::process::Child::kill`].
    pub fn kill(&mut self) -> io::Result<()> {
        match self.child.lock().as_mut() {
            // One that has been waited for by the application, in another way, has no number of its own any more.
            Some(child) => match child.try_wait() {
                Ok(None) => child.kill(),
                _ => Ok(()),
            },
            None => Ok(()),
        }
    }

    /// The exit status, if the child has ended.
    ///
    /// # Errors
    /// As [`std::process::Child::try_wait`].
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Waits until the child has ended. The connection stays open: a child that serves ends when the client has been closed
    /// or dropped.
    ///
    /// ```no_run
    /// # let (client, mut child) = msgpipe::Client::spawn(&mut std::process::Command::new("plugin"))?;
    /// drop(client); // the plugin's `serve` returns
    /// println!("{}", child.wait()?);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`std::process::Child::wait`].
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = self.child.wait(None)? {
                return Ok(status);
            }
        }
    }

    /// As [`wait`](ChildProcess::wait), at most for `limit`. `None`: the child still runs.
    ///
    /// # Errors
    /// As [`std::process::Child::wait`].
    pub fn wait_within(&mut self, limit: Duration) -> io::Result<Option<ExitStatus>> {
        self.child.wait(clock::now().checked_add(limit))
    }

    /// Gives the child away: it is neither ended nor waited for any more. The connection goes on, without the exit status
    /// in its errors.
    pub fn into_inner(self) -> Child {
        // Only this takes it, and consumes the handle.
        self.child.lock().take().expect("the child is here until it is given away")
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        if self.child.is_released() {
            return;
        }
        if let Some(client) = self.client.upgrade() {
            client.close(CloseReason::Local);
        }
        let until = clock::now() + self.grace;
        if let Ok(None) = self.child.wait(Some(until)) {
            // It fails only if the child has just ended.
            let _ = self.kill();
            let _ = self.child.wait(Some(clock::now() + ENDING.max(self.grace)));
        }
    }
}

impl fmt::Debug for ChildProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildProcess").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A client's stream to its child. Its errors say that the child has ended, and how.
pub(super) struct ChildStream {
    pub stream: Box<dyn ClientStream>,
    pub child: Arc<Shared>,
    pub peer: Peer,
    /// This side has closed it: nothing is to be explained.
    pub is_closed: AtomicBool,
}

impl ClientStream for ChildStream {
    fn read(&self, buffer: &mut BytesMut, deadline: Option<Instant>) -> io::Result<usize> {
        self.stream.read(buffer, deadline)
    }

    fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.stream.write(slices)
    }

    fn is_sent(&self) -> bool {
        self.stream.is_sent()
    }

    fn wait_writable(&self, or_readable: bool, deadline: Option<Instant>) -> io::Result<()> {
        self.stream.wait_writable(or_readable, deadline)
    }

    fn wake(&self) {
        self.stream.wake();
    }

    fn waitable(&self) -> io::Result<Option<Waitable>> {
        self.stream.waitable()
    }

    fn set_alert(&self, is_set: bool) {
        self.stream.set_alert(is_set);
    }

    fn watch_writable(&self, watched: bool) {
        self.stream.watch_writable(watched);
    }

    fn shutdown(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        self.stream.shutdown();
    }

    /// The child has ended, or does so until `deadline`: its streams are closed a moment before.
    fn why_ended(&self, kind: ErrorKind, deadline: Option<Instant>) -> Option<io::Error> {
        if self.is_closed.load(Ordering::SeqCst) || self.child.is_released() {
            return None;
        }
        let most = clock::now() + ENDING;
        let status =
            self.child.wait(Some(deadline.map_or(most, |it| it.min(most)))).ok().flatten()?;
        let id = self.peer.pid.unwrap_or_default();
        Some(io::Error::new(kind, format!("the child process {id} has ended ({status})")))
    }

    fn peer(&self) -> &Peer {
        &self.peer
    }
}
