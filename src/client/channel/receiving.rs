//! From the stream to whoever waits.

use super::{Channel, Failure, Receiver};
use crate::client::lead::{Inbox, Lead};
use crate::client_stream::ReadOutcome;
use crate::error::CloseReason;
use crate::framing::{Carrier, FramingError, Inbound};
use bytes::{Bytes, BytesMut};
use std::io::ErrorKind;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// From so long on it is said in the reason for an end how long this side had read nothing before.
const LONG_UNREAD: Duration = Duration::from_secs(1);

impl Channel {
    /// Reads once, waiting until `deadline`, and delivers the messages that are whole. Sends meanwhile
    /// what others have left. Only for the thread that has the right to read. May return without having
    /// read anything.
    pub fn receive(&self, lead: &Lead<'_>, deadline: Option<Instant>) -> Result<(), Failure> {
        match self.send_left_over() {
            Ok(false) => self.receive_until(lead, deadline).map(drop),
            Ok(true) => self.wait_and_read(lead, deadline),
            // Reading finds out why.
            Err(_) => {
                self.left_over.store(false, Ordering::SeqCst);
                self.receive_until(lead, deadline).map(drop)
            }
        }
    }

    /// Reads what is there.
    pub fn receive_now(&self, lead: &Lead<'_>) -> Result<usize, Failure> {
        self.receive_until(lead, Some(Instant::now()))
    }

    /// Reads once and returns how many bytes; none if the wait was interrupted.
    fn receive_until(&self, lead: &Lead<'_>, deadline: Option<Instant>) -> Result<usize, Failure> {
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
        if let Some(limit) = inbound.peer_limit() {
            self.limit.fetch_min(limit, Ordering::Relaxed);
        }
        if inbound.has_begun() && !self.begun.swap(true, Ordering::AcqRel) {
            self.tell_who_waits_for_reader();
        }
        if read > 0 {
            pauses.ends();
        }
        outcome.map_err(|failure| match failure {
            Failure::Closed(reason) => {
                let reason = why_ended(reason, inbound, pauses.last());
                // Before anybody else can read: what follows would be taken for the reason.
                lead.inbox.end(&reason);
                Failure::Closed(reason)
            }
            failure => failure,
        })
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
            ReadOutcome::End => Err(Failure::Closed(CloseReason::Finished)),
            ReadOutcome::TooLarge(size) => {
                let limit = self.takes;
                Err(Failure::Closed(FramingError::TooLarge { size, limit }.into()))
            }
        }
    }
}

/// When this side had read nothing for long.
pub(super) struct Pauses {
    /// When something was last read.
    read: Instant,
    /// The last long pause, and when it ended.
    long: Option<(Duration, Instant)>,
}

impl Pauses {
    pub fn new() -> Pauses {
        Pauses { read: Instant::now(), long: None }
    }

    /// Something has been read.
    fn ends(&mut self) {
        let now = Instant::now();
        let pause = now.saturating_duration_since(self.read);
        self.read = now;
        if pause >= LONG_UNREAD {
            self.long = Some((pause, now));
        }
    }

    /// The pause that has just been, or is: what had arrived before it ended may have been read since.
    fn last(&self) -> Duration {
        let just_now = self.long.filter(|(_, ended)| ended.elapsed() < LONG_UNREAD);
        just_now.map_or(Duration::ZERO, |(pause, _)| pause).max(self.read.elapsed())
    }
}

/// How many messages are handed over at once; one by one costs a lock each.
const AT_ONCE: usize = 64;

fn deliver_all(
    inbound: &mut Inbound,
    input: &mut BytesMut,
    messages: &mut Vec<Bytes>,
    inbox: &dyn Inbox,
) -> Result<(), Failure> {
    let broken = |text| Failure::Closed(CloseReason::Protocol(text));
    loop {
        let decoded = inbound.decode(input);
        let is_last = !matches!(decoded, Ok(Some(_)));
        if messages.len() >= AT_ONCE || is_last && !messages.is_empty() {
            inbox.deliver(messages).map_err(broken)?;
        }
        match decoded {
            Ok(Some(message)) => messages.push(message),
            Ok(None) => return Ok(()),
            Err(error) => return Err(Failure::Closed(error.into())),
        }
    }
}

/// The stream has ended: says whether it may end here, and whether this side may have been the cause,
/// by reading nothing for so long.
fn why_ended(reason: CloseReason, inbound: &Inbound, unread: Duration) -> CloseReason {
    match reason {
        CloseReason::Finished => match inbound.finish() {
            Ok(()) => CloseReason::Finished,
            Err(FramingError::CutOff { have }) if unread >= LONG_UNREAD => {
                CloseReason::CutOffUnread { have, unread }
            }
            Err(cut_off) => cut_off.into(),
        },
        reason => reason,
    }
}
