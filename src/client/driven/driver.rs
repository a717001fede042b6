//! The driver: it reads and writes on a connection. All but the request of a call that is alone goes through it.

use super::shared::Shared;
use crate::async_io::AsyncIo;
use crate::client::channel::{Failure, GOODBYE_SEARCH_MAX, Pauses, SLICES, deliver_all, why_ended};
use crate::client::lead::{Inbox as _, panicked};
use crate::error::CloseReason;
use crate::framing::{Framing, Inbound, ReadBuffers, SendQueue};
use bytes::Bytes;
use std::future::Future;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// How often the driver writes and reads in one poll. With more to do it lets other tasks of its thread run. Each round
/// moves up to 64 KiB each way, so that a poll takes some milliseconds for the smallest messages, and far less for others.
const ROUNDS: usize = 8;

/// The writes of one round: the sockets of some systems take no more than 8 KiB at once.
const WRITES: usize = 8;

/// How long a driver without handles goes on to send what was to be sent, to a server that does not read.
const LINGER: Duration = Duration::from_secs(1);

/// How long after a failed write the driver waits for what the server had sent before it closed. A pipe's read may complete
/// after the write has failed; a socket has all at once, and ends.
const SEARCH: Duration = Duration::from_secs(1);

/// Owns a connection. It is woken by its stream, its timer, and by whoever begins or ends a call.
pub(crate) struct Driver<T: AsyncIo> {
    shared: Arc<Shared>,
    /// `None` once the connection has ended.
    io: Option<T>,
    inbound: Inbound,
    /// The server's preface has arrived.
    has_begun: bool,
    buffers: ReadBuffers,
    /// Decoded messages before their delivery; empty between reads.
    messages: Vec<Bytes>,
    pauses: Pauses,
    /// What is being sent.
    queue: SendQueue<'static>,
    /// The position in the stream at which it begins.
    sent: u64,
    /// None of them stays in the stream.
    is_flushed: bool,
    /// A write has failed, and nothing more is sent. What the server has sent before is still read: perhaps it says why.
    unwritable: Option<io::Error>,
    /// How much has been read since.
    searched: usize,
    /// When no more is read for that.
    searched_until: Option<Instant>,
    /// When this side stops sending, once there is no handle any more.
    lingers_until: Option<Instant>,
}

/// What a round has done.
enum Round {
    /// There may be more to do.
    Worked,
    /// There is nothing to do until the driver is woken.
    Idle,
}

impl<T: AsyncIo> Driver<T> {
    pub(super) fn new(shared: Arc<Shared>, framing: &dyn Framing, io: T) -> Driver<T> {
        Driver {
            shared,
            io: Some(io),
            inbound: Inbound::new(framing),
            has_begun: false,
            buffers: ReadBuffers::default(),
            messages: Vec::new(),
            pauses: Pauses::new(),
            queue: SendQueue::default(),
            sent: 0,
            is_flushed: true,
            unwritable: None,
            searched: 0,
            searched_until: None,
            lingers_until: None,
        }
    }

    /// Does what can be done now, once.
    fn round(&mut self, context: &mut Context<'_>) -> Result<Round, CloseReason> {
        if let Some(reason) = self.shared.pending.closed() {
            return Err(reason);
        }
        let (now, is_released) = (T::now(), self.shared.is_released());
        let deadline = self.shared.pending.tick(now);
        let has_written = self.write(context)?;
        if self.unwritable.is_some() {
            self.searched_until.get_or_insert(now + SEARCH);
        }
        let has_read = self.read(context, now)?;
        // Most reads take all there is, and lead to nothing to send. Another read finds that out, without another round.
        let may_be_more = has_read && (self.shared.has_unsent() || self.read(context, now)?);
        if is_released && self.has_lingered(now) {
            return Err(CloseReason::Local);
        }
        if has_written || may_be_more {
            return Ok(Round::Worked);
        }
        // What was read may have brought deadlines.
        let deadline = if has_read { self.shared.pending.tick(now) } else { deadline };
        if has_read && self.shared.pending.has_more() {
            return Ok(Round::Worked);
        }
        let next = deadline.into_iter().chain(self.lingers_until).chain(self.searched_until).min();
        let io = self.io.as_mut();
        let slept = io.zip(next).map(|(io, until)| io.poll_sleep(context, until));
        Ok(match slept {
            Some(Poll::Ready(())) => Round::Worked,
            _ => {
                self.shared.alarm.sleeps(next);
                Round::Idle
            }
        })
    }

    /// Without handles: whether all has been sent, or the time for it is over.
    fn has_lingered(&mut self, now: Instant) -> bool {
        let until = *self.lingers_until.get_or_insert(now + LINGER);
        let is_sent = self.queue.is_empty() && self.is_flushed && !self.shared.has_unsent();
        is_sent || self.unwritable.is_some() || until <= now
    }

    /// Writes what there is, while the system takes it. Returns whether there is or may be more to do.
    fn write(&mut self, context: &mut Context<'_>) -> Result<bool, CloseReason> {
        let Some(io) = self.io.as_mut().filter(|_| self.unwritable.is_none()) else {
            return Ok(false);
        };
        let mut has_worked = false;
        if self.queue.is_empty() {
            let taken = self.shared.take_unsent(&mut self.queue);
            (self.queue, self.sent) = (taken.queue, taken.from);
            // There may be room for others now.
            has_worked = !self.queue.is_empty();
        }
        for _ in 0..WRITES {
            if self.queue.is_empty() {
                break;
            }
            let mut slices = [IoSlice::new(&[]); SLICES];
            let filled = self.queue.slices(&mut slices);
            let len: usize = slices[..filled].iter().map(|slice| slice.len()).sum();
            if !self.shared.given.offer(self.sent + len as u64) {
                // Somebody has been told that this is not sent.
                return Err(self.shared.pending.closed().unwrap_or(CloseReason::Local));
            }
            let written = io.poll_write(context, &slices[..filled]);
            let taken = match &written {
                Poll::Ready(Ok(taken)) => *taken,
                _ => 0,
            };
            self.sent += taken as u64;
            self.shared.given.taken(self.sent);
            self.queue.advance(taken);
            has_worked |= taken > 0;
            match written {
                Poll::Pending => break,
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(Ok(0)) => self.unwritable = Some(ErrorKind::WriteZero.into()),
                Poll::Ready(Err(error)) if error.kind() == ErrorKind::Interrupted => {
                    // Nothing would wake this task for it.
                    has_worked = true;
                }
                Poll::Ready(Err(error)) => self.unwritable = Some(error),
            }
            if self.unwritable.is_some() {
                break;
            }
        }
        if self.queue.is_empty() && self.unwritable.is_none() {
            match io.poll_flush(context) {
                Poll::Pending => self.is_flushed = false,
                Poll::Ready(Ok(())) => self.is_flushed = true,
                Poll::Ready(Err(error)) if error.kind() == ErrorKind::Interrupted => {
                    (self.is_flushed, has_worked) = (false, true);
                }
                Poll::Ready(Err(error)) => self.unwritable = Some(error),
            }
        }
        Ok(has_worked)
    }

    /// Reads once, and delivers the messages that are whole. Returns whether there may be more.
    fn read(&mut self, context: &mut Context<'_>, now: Instant) -> Result<bool, CloseReason> {
        let Some(io) = &mut self.io else {
            return Ok(false);
        };
        let pending = &self.shared.pending;
        let mut input = self.inbound.read_buffer(&mut self.buffers);
        let outcome = match io.poll_read(context, &mut input) {
            Poll::Pending => Ok(None),
            Poll::Ready(Ok(0)) => Err(CloseReason::PeerClosed),
            Poll::Ready(Ok(read)) => {
                let (inbound, messages) = (&mut self.inbound, &mut self.messages);
                let delivered = deliver_all(inbound, &mut input, messages, pending);
                delivered.map(|()| Some(read)).map_err(|failure| match failure {
                    Failure::Closed(reason) => reason,
                    _ => CloseReason::Local,
                })
            }
            Poll::Ready(Err(error)) if error.kind() == ErrorKind::Interrupted => Ok(Some(0)),
            Poll::Ready(Err(error)) => Err(error.into()),
        };
        self.inbound.put_back(input, &mut self.buffers);
        if !self.has_begun && self.inbound.has_begun() {
            self.has_begun = true;
            self.shared.set_largest(self.inbound.peer_limit());
        }
        let read =
            outcome.map_err(|reason| why_ended(reason, &self.inbound, self.pauses.last()))?;
        let count = read.unwrap_or(0);
        if count > 0 {
            self.pauses.ends();
        }
        self.searched += if self.unwritable.is_some() { count } else { 0 };
        let is_late = read.is_none() && self.searched_until.is_some_and(|at| at <= now);
        let is_searched = is_late || self.searched >= GOODBYE_SEARCH_MAX;
        if let Some(error) = self.unwritable.take_if(|_| is_searched) {
            return Err(error.into());
        }
        Ok(read.is_some())
    }

    /// The connection ends: says so to the calls, and to the server if that can be done at once.
    fn end(&mut self, context: Option<&mut Context<'_>>, reason: CloseReason) -> CloseReason {
        let reason = self.shared.end(reason);
        let goodbye = self.shared.last_words(&reason);
        let is_whole = self.queue.is_empty() && self.unwritable.is_none();
        if let (Some(mut io), Some(context)) = (self.io.take(), context) {
            if let Some(goodbye) = goodbye.filter(|_| is_whole) {
                let mut slices = [IoSlice::new(&[]); SLICES];
                let filled = goodbye.slices(&mut slices);
                // An error is ignored: the connection ends in any case.
                let _ = io.poll_write(context, &slices[..filled]);
            }
            io.end(context);
        }
        self.queue = SendQueue::default();
        self.inbound.discard();
        self.shared.end_looking();
        reason
    }
}

impl<T: AsyncIo> Future for Driver<T> {
    type Output = CloseReason;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<CloseReason> {
        self.shared.begin_looking(context.waker());
        for _ in 0..ROUNDS {
            match self.round(context) {
                Ok(Round::Worked) => {}
                Ok(Round::Idle) => return Poll::Pending,
                Err(reason) => return Poll::Ready(self.end(Some(context), reason)),
            }
        }
        // There is more, and others have waited.
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<T: AsyncIo> Drop for Driver<T> {
    fn drop(&mut self) {
        if self.io.is_some() {
            let reason = match std::thread::panicking() {
                true => panicked(),
                false => io::Error::other(
                    "the driver of this connection was dropped, with its task or its runtime",
                )
                .into(),
            };
            self.end(None, reason);
        }
    }
}
