//! From a thread's message to the stream, whoever sends its end.

use super::{Channel, Failure, SLICES, Sender};
use crate::body::Body;
use crate::client::lead::{Inbox, Lead, panicked};
use crate::error::CloseReason;
use crate::framing::SendQueue;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

/// A message over this size is not sent before it is known what the peer takes: it would cost the
/// connection. Smaller ones go at once; every peer takes them (`docs/PROTOCOL.md`, section 5).
const FIRST_AT_ONCE: usize = 256;

/// How much of what the peer has sent is read to find out why it takes nothing more. Its goodbye, if it
/// said one, stands behind what the system held for this side.
pub(super) const LOOK_FOR_GOODBYE: usize = 1 << 20;

impl Channel {
    /// Sends messages, each a head and a body, in one piece as far as that goes. While the peer
    /// takes nothing, what it sends is read: it may be waiting for just that. All of them are queued or
    /// none; `queued` is told where in the stream each ends.
    ///
    /// At the deadline what is left of the last message is kept, copied if it was borrowed. Whoever sends
    /// or reads next sends it on, so that the stream stays whole.
    pub fn send<const N: usize>(
        &self,
        messages: &[([u8; N], Body<'_>)],
        deadline: Option<Instant>,
        inbox: &dyn Inbox,
        queued: impl FnMut(usize, u64),
    ) -> Result<(), Failure> {
        self.learn_limit(messages, deadline, inbox)?;
        let sent = self.send_in_turn(messages, deadline, inbox, queued);
        if self.left_over.load(Ordering::SeqCst) {
            // Whoever reads does not know of it yet, or has found the turn taken until just now.
            self.stream.wake();
        }
        sent
    }

    fn send_in_turn<const N: usize>(
        &self,
        messages: &[([u8; N], Body<'_>)],
        deadline: Option<Instant>,
        inbox: &dyn Inbox,
        mut queued: impl FnMut(usize, u64),
    ) -> Result<(), Failure> {
        let mut sender = self.outbound.take(deadline).ok_or(Failure::Unsent)?;
        let _on_panic = EndOnPanic { channel: self, inbox };
        let Sender { outbound, sent, memory } = &mut *sender;
        // What is left of the message before goes first.
        let flushed = self.flush(&mut outbound.queue, sent, deadline, inbox);
        flushed.map_err(Failure::before_sending)?;
        let mut queue = SendQueue::default();
        queue.lend(memory);
        for (at, (head, body)) in messages.iter().enumerate() {
            let limit = Some(self.limit());
            if let Err(problem) = outbound.encode_into(&mut queue, head, body.clone(), limit) {
                return Err(Failure::Refused(at, problem));
            }
            queued(at, *sent + queue.len() as u64);
        }
        let flushed = self.flush(&mut queue, sent, deadline, inbox);
        match queue.is_empty() {
            true => queue.take_back(memory),
            false => outbound.queue = queue.into_owned(),
        }
        flushed
    }

    /// Waits until it is known what the peer takes, if one of the messages is larger than what every
    /// peer takes.
    fn learn_limit<const N: usize>(
        &self,
        messages: &[([u8; N], Body<'_>)],
        deadline: Option<Instant>,
        inbox: &dyn Inbox,
    ) -> Result<(), Failure> {
        if self.begun.load(Ordering::Acquire) {
            return Ok(());
        }
        let fits = |(_, body): &([u8; N], Body<'_>)| N + body.len() <= FIRST_AT_ONCE;
        while !self.begun.load(Ordering::Acquire) && !messages.iter().all(fits) {
            match Lead::take(self, inbox) {
                Some(lead) => {
                    self.receive(&lead, deadline).map_err(Failure::before_sending)?;
                }
                None => self.wait_for_reader(deadline, inbox)?,
            }
        }
        Ok(())
    }

    /// Another thread reads: waits until it has read what the peer begins with, or its end, or stops.
    fn wait_for_reader(&self, deadline: Option<Instant>, inbox: &dyn Inbox) -> Result<(), Failure> {
        let mut waiting = self.wait_for_reader.lock().unwrap_or_else(PoisonError::into_inner);
        let unwritable = self.unwritable.load(Ordering::SeqCst);
        if self.begun.load(Ordering::Acquire) && !unwritable || inbox.ended().is_some() {
            return Ok(());
        }
        // It may have stopped before this thread was counted.
        if inbox.try_lead() {
            drop(waiting);
            drop(Lead::taken(self, inbox));
            return Ok(());
        }
        let left =
            deadline.map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            return Err(Failure::Unsent);
        }
        *waiting += 1;
        waiting = match self.reader_has_news.wait_timeout(waiting, left) {
            Ok((waiting, _)) => waiting,
            Err(poisoned) => poisoned.into_inner().0,
        };
        *waiting -= 1;
        Ok(())
    }

    /// The right to read is free: who else may have to read now looks again.
    pub fn lead_is_free(&self) {
        if self.sender_waits.load(Ordering::SeqCst) {
            self.stream.wake();
        }
        if !self.begun.load(Ordering::Acquire) || self.unwritable.load(Ordering::SeqCst) {
            self.tell_who_waits_for_reader();
        }
    }

    pub(super) fn tell_who_waits_for_reader(&self) {
        if *self.wait_for_reader.lock().unwrap_or_else(PoisonError::into_inner) > 0 {
            self.reader_has_news.notify_all();
        }
    }

    /// Sends all of the queue. At the deadline it is left to others.
    fn flush(
        &self,
        queue: &mut SendQueue<'_>,
        sent: &mut u64,
        deadline: Option<Instant>,
        inbox: &dyn Inbox,
    ) -> Result<(), Failure> {
        loop {
            match self.write(queue, sent) {
                Ok(true) => break,
                Ok(false) => {}
                Err(error) => return Err(self.why_unwritable(error, deadline, inbox)),
            }
            if let Err(failure) = self.wait(deadline, inbox) {
                if matches!(failure, Failure::Deadline) {
                    self.left_over.store(true, Ordering::SeqCst);
                }
                return Err(failure);
            }
        }
        if self.left_over.load(Ordering::SeqCst) {
            self.left_over.store(false, Ordering::SeqCst);
        }
        Ok(())
    }

    /// Writes what can be written now, and counts it in `sent`; says whether all has left.
    fn write(&self, queue: &mut SendQueue<'_>, sent: &mut u64) -> io::Result<bool> {
        while !queue.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let filled = queue.slices(&mut slices);
            let slices = &slices[..filled];
            let len: usize = slices.iter().map(|slice| slice.len()).sum();
            self.given.store(*sent + len as u64, Ordering::SeqCst);
            if self.sealed.load(Ordering::SeqCst) {
                return Err(ErrorKind::NotConnected.into());
            }
            let written = self.stream.write(slices);
            let taken = *written.as_ref().unwrap_or(&0);
            *sent += taken as u64;
            self.given.store(*sent, Ordering::SeqCst);
            queue.advance(taken);
            match written {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(self.stream.is_sent())
    }

    /// Sends what was left over, as far as that goes without waiting. Whether something still is.
    pub(super) fn send_left_over(&self) -> io::Result<bool> {
        if !self.left_over.load(Ordering::SeqCst) {
            return Ok(false);
        }
        // Who has the turn sends it.
        let Some(mut sender) = self.outbound.take(Some(Instant::now())) else {
            return Ok(false);
        };
        let Sender { outbound, sent, .. } = &mut *sender;
        let is_left = !self.write(&mut outbound.queue, sent)?;
        self.left_over.store(is_left, Ordering::SeqCst);
        Ok(is_left)
    }

    /// Waits until more can be sent, reading meanwhile unless another thread does. When that one stops,
    /// it wakes this one.
    fn wait(&self, deadline: Option<Instant>, inbox: &dyn Inbox) -> Result<(), Failure> {
        self.sender_waits.store(true, Ordering::SeqCst);
        let waited = match Lead::take(self, inbox) {
            Some(lead) => self.wait_and_read(&lead, deadline),
            None => self.stream.wait_writable(false, deadline).map_err(Failure::from),
        };
        self.sender_waits.store(false, Ordering::SeqCst);
        waited
    }

    /// Waits until more can be sent or something can be read, and reads that.
    pub(super) fn wait_and_read(
        &self,
        lead: &Lead<'_>,
        deadline: Option<Instant>,
    ) -> Result<(), Failure> {
        self.stream.wait_writable(true, deadline)?;
        match self.receive_now(lead) {
            Err(Failure::Deadline) => Ok(()),
            received => received.map(drop),
        }
    }

    /// A write has failed: the peer has closed, and may have said why before it did. Another thread that
    /// reads finds that; until it has, the connection does not end, as what has arrived would be lost.
    fn why_unwritable(
        &self,
        error: io::Error,
        deadline: Option<Instant>,
        inbox: &dyn Inbox,
    ) -> Failure {
        self.unwritable.store(true, Ordering::SeqCst);
        let mut read = 0;
        while read < LOOK_FOR_GOODBYE && deadline.is_none_or(|at| at > Instant::now()) {
            if let Some(reason) = inbox.ended() {
                return Failure::Closed(reason);
            }
            let Some(lead) = Lead::take(self, inbox) else {
                match self.wait_for_reader(deadline, inbox) {
                    Ok(()) => continue,
                    Err(_) => break,
                }
            };
            match self.receive_now(&lead) {
                Ok(bytes) => read += bytes,
                Err(Failure::Closed(reason)) => return Failure::Closed(reason),
                Err(_) => break,
            }
        }
        let reason = CloseReason::from(error);
        inbox.end(&reason);
        Failure::Closed(reason)
    }
}

/// Ends the connection if the framing panics while a message is being put into the queue.
struct EndOnPanic<'a> {
    channel: &'a Channel,
    inbox: &'a dyn Inbox,
}

impl Drop for EndOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.inbox.end(&panicked());
            self.channel.stream.shutdown();
        }
    }
}
