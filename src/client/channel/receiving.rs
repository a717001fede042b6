//! Reading: from the stream to the inbox.

use super::{Channel, Failure, Receiver};
use crate::client::lead::{Inbox, Lead};
use crate::client_stream::ReadOutcome;
use crate::clock;
use crate::error::CloseReason;
use crate::framing::{Carrier, FramingError, Inbound};
use bytes::{Bytes, BytesMut};
use std::io::ErrorKind;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// A pause of this length without a read is mentioned in the reason for the end of the connection.
const LONG_UNREAD: Duration = Duration::from_secs(1);

impl Channel {
    /// Reads once, waiting until `deadline`, and delivers the complete messages. Meanwhile sends what other
    /// threads have left. Only for the thread that has the lead. May return without having read anything.
    pub fn receive(&self, lead: &Lead<'_>, deadline: Option<Instant>) -> Result<(), Failure> {
        self.receive_unless(lead, deadline, || false)
    }

    /// As [`receive`](Channel::receive), but does not wait if what it has sent is what this thread waits for.
    pub fn receive_unless(
        &self,
        lead: &Lead<'_>,
        deadline: Option<Instant>,
        is_met: impl Fn() -> bool,
    ) -> Result<(), Failure> {
        match self.send_unsent(lead.inbox, None) {
            Ok(_) if is_met() => Ok(()),
            Ok(false) => self.receive_until(lead, deadline, deadline).map(drop),
            Ok(true) => self.wait_and_read(lead, deadline),
            // The read returns the reason.
            Err(_) => {
                self.has_unsent.store(false, Ordering::SeqCst);
                self.receive_until(lead, deadline, deadline).map(drop)
            }
        }
    }

    /// Reads arrived bytes without waiting. If the stream has ended, waits until `deadline` at most to learn why.
    pub fn receive_now(
        &self,
        lead: &Lead<'_>,
        deadline: Option<Instant>,
    ) -> Result<usize, Failure> {
        self.receive_until(lead, Some(clock::now()), deadline)
    }

    /// Reads once and returns the number of bytes; 0 if the wait was interrupted. Waits until `deadline` for bytes, and
    /// until `why_until` for why the stream has ended.
    fn receive_until(
        &self,
        lead: &Lead<'_>,
        deadline: Option<Instant>,
        why_until: Option<Instant>,
    ) -> Result<usize, Failure> {
        let mut receiver = self.inbound.lock().unwrap_or_else(PoisonError::into_inner);
        let Receiver { inbound, buffers, messages, pauses } = &mut *receiver;
        let mut input = inbound.read_buffer(buffers);
        let before = input.len();
        let outcome = self.read(&mut input, deadline);
        let read = input.len() - before;
        let outcome = match outcome {
            Ok(()) => deliver_all(inbound, &mut input, messages, lead.inbox).map(|()| read),
            Err(Failure::Closed(CloseReason::Broken(error)))
                if error.kind() == ErrorKind::Interrupted =>
            {
                Ok(0)
            }
            Err(failure) => Err(failure),
        };
        inbound.put_back(input, buffers);
        if inbound.has_begun() && !self.begun.load(Ordering::Acquire) {
            if let Some(limit) = inbound.peer_limit() {
                self.limit.fetch_min(limit, Ordering::Relaxed);
            }
            lead.inbox.set_largest(self.limit());
            self.begun.store(true, Ordering::Release);
        }
        if read > 0 && *self.reader_waiters.lock().unwrap_or_else(PoisonError::into_inner) > 0 {
            self.reader_changed.notify_all();
        }
        if read > 0 {
            if !lead.is_dispatch {
                // Its own loop does not see what this thread has read.
                self.alert();
            }
            pauses.ends();
            if lead.inbox.has_more() {
                self.has_unsent.store(true, Ordering::SeqCst);
            }
        }
        outcome.map_err(|failure| match failure {
            Failure::Closed(reason) => {
                let reason = self.explained(reason, why_until);
                let reason = why_ended(reason, inbound, pauses.last());
                // Before another thread can read: it would report a later error as the reason.
                lead.inbox.end(&reason);
                Failure::Closed(reason)
            }
            failure => failure,
        })
    }

    /// The reason for the end with what the transport knows of it.
    pub(super) fn explained(&self, reason: CloseReason, deadline: Option<Instant>) -> CloseReason {
        let kind = match &reason {
            CloseReason::PeerClosed => ErrorKind::UnexpectedEof,
            CloseReason::Broken(error) => error.kind(),
            _ => return reason,
        };
        self.stream.why_ended(kind, deadline).map_or(reason, CloseReason::from)
    }

    /// Reads some bytes, or one message.
    fn read(&self, input: &mut BytesMut, deadline: Option<Instant>) -> Result<(), Failure> {
        let read = match self.carrier {
            Carrier::Stream => self.stream.read(input, deadline).map(ReadOutcome::of_bytes),
            Carrier::Messages => {
                self.stream.read_message(input, self.takes, deadline).map(ReadOutcome::from)
            }
        };
        match read? {
            ReadOutcome::Some => Ok(()),
            ReadOutcome::End => Err(Failure::Closed(CloseReason::PeerClosed)),
            ReadOutcome::TooLarge(size) => {
                let limit = self.takes;
                Err(Failure::Closed(FramingError::TooLarge { size, limit }.into()))
            }
        }
    }
}

/// Long pauses in which this side did not read.
pub struct Pauses {
    /// The time of the last read.
    read: Instant,
    /// The last long pause, and when it ended.
    long: Option<(Duration, Instant)>,
}

impl Pauses {
    pub fn new() -> Pauses {
        Pauses { read: clock::now(), long: None }
    }

    /// A read has ended a pause.
    pub fn ends(&mut self) {
        let now = clock::now();
        let pause = now.saturating_duration_since(self.read);
        self.read = now;
        if pause >= LONG_UNREAD {
            self.long = Some((pause, now));
        }
    }

    /// The current pause, or one that ended just now: bytes from before its end may have been read since.
    pub fn last(&self) -> Duration {
        let just_now = self.long.filter(|(_, ended)| clock::since(*ended) < LONG_UNREAD);
        just_now.map_or(Duration::ZERO, |(pause, _)| pause).max(clock::since(self.read))
    }
}

/// The most messages of one delivery; each delivery takes a lock.
const AT_ONCE: usize = 64;

pub fn deliver_all(
    inbound: &mut Inbound,
    input: &mut BytesMut,
    messages: &mut Vec<Bytes>,
    inbox: &dyn Inbox,
) -> Result<(), Failure> {
    loop {
        let decoded = inbound.decode(input);
        let is_last = !matches!(decoded, Ok(Some(_)));
        if messages.len() >= AT_ONCE || is_last && !messages.is_empty() {
            inbox.deliver(messages).map_err(Failure::Closed)?;
        }
        match decoded {
            Ok(Some(message)) => messages.push(message),
            Ok(None) => return Ok(()),
            Err(error) => return Err(Failure::Closed(error.into())),
        }
    }
}

/// The reason for the end of the stream: whether it may end here, and whether this side may be the cause
/// because it has not read.
pub fn why_ended(reason: CloseReason, inbound: &Inbound, unread: Duration) -> CloseReason {
    match reason {
        CloseReason::PeerClosed => match inbound.finish() {
            Ok(()) => CloseReason::PeerClosed,
            Err(FramingError::CutOff { have }) if unread >= LONG_UNREAD => {
                CloseReason::CutOffUnread { have, unread }
            }
            Err(cut_off) => cut_off.into(),
        },
        reason => reason,
    }
}
