//! Sending: from a thread's message to the stream.

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

/// A message over this size waits for the peer's preface: one over the peer's limit would end the connection.
/// Every peer accepts smaller ones (`docs/PROTOCOL.md`, section 5).
const WITHOUT_PREFACE_MAX: usize = 256;

/// How many bytes are read after a failed write to find the peer's goodbye, which follows the bytes in the
/// system's buffer.
pub(super) const GOODBYE_SEARCH_MAX: usize = 1 << 20;

impl Channel {
    /// Sends messages, each a head and a body, in as few writes as possible. While the peer does not read, its
    /// bytes are read: it may be waiting for that. All messages are queued or none; `queued` gets the position
    /// in the stream at which each ends.
    ///
    /// At the deadline the unsent rest is kept, and copied if it was borrowed. The next thread that sends or
    /// reads sends it, so that the stream is not cut inside a message.
    pub fn send<const N: usize>(
        &self,
        messages: &[([u8; N], Body<'_>)],
        deadline: Option<Instant>,
        inbox: &dyn Inbox,
        queued: impl FnMut(usize, u64),
    ) -> Result<(), Failure> {
        self.learn_limit(messages, deadline, inbox)?;
        let sent = self.send_exclusively(messages, deadline, inbox, queued);
        if self.has_unsent.load(Ordering::SeqCst) {
            // The reading thread does not know of it yet, or found the lock held until now.
            self.stream.wake();
        }
        sent
    }

    fn send_exclusively<const N: usize>(
        &self,
        messages: &[([u8; N], Body<'_>)],
        deadline: Option<Instant>,
        inbox: &dyn Inbox,
        mut queued: impl FnMut(usize, u64),
    ) -> Result<(), Failure> {
        let mut sender = self.outbound.acquire(deadline).ok_or(Failure::Unsent)?;
        let _on_panic = EndOnPanic { channel: self, inbox };
        let Sender { outbound, sent, memory } = &mut *sender;
        // The rest of the previous message is sent first.
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

    /// Waits for the peer's limit, if one of the messages is larger than every peer accepts.
    fn learn_limit<const N: usize>(
        &self,
        messages: &[([u8; N], Body<'_>)],
        deadline: Option<Instant>,
        inbox: &dyn Inbox,
    ) -> Result<(), Failure> {
        if self.begun.load(Ordering::Acquire) {
            return Ok(());
        }
        let fits = |(_, body): &([u8; N], Body<'_>)| N + body.len() <= WITHOUT_PREFACE_MAX;
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

    /// Waits until the thread that reads has read the peer's preface or its end, or stops reading.
    fn wait_for_reader(&self, deadline: Option<Instant>, inbox: &dyn Inbox) -> Result<(), Failure> {
        let mut waiting = self.reader_waiters.lock().unwrap_or_else(PoisonError::into_inner);
        let unwritable = self.unwritable.load(Ordering::SeqCst);
        if self.begun.load(Ordering::Acquire) && !unwritable || inbox.ended().is_some() {
            return Ok(());
        }
        // The other thread may have stopped before this one was counted.
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
        waiting = match self.reader_changed.wait_timeout(waiting, left) {
            Ok((waiting, _)) => waiting,
            Err(poisoned) => poisoned.into_inner().0,
        };
        *waiting -= 1;
        Ok(())
    }

    /// The lead was released: wakes threads that may have to take it.
    pub fn lead_released(&self) {
        if self.sender_waits.load(Ordering::SeqCst) {
            self.stream.wake();
        }
        if !self.begun.load(Ordering::Acquire) || self.unwritable.load(Ordering::SeqCst) {
            self.notify_reader_waiters();
        }
    }

    pub(super) fn notify_reader_waiters(&self) {
        if *self.reader_waiters.lock().unwrap_or_else(PoisonError::into_inner) > 0 {
            self.reader_changed.notify_all();
        }
    }

    /// Sends the whole queue. At the deadline the rest is left to other threads.
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
                Err(error) => return Err(self.find_close_reason(error, deadline, inbox)),
            }
            if let Err(failure) = self.wait(deadline, inbox) {
                if matches!(failure, Failure::Deadline) {
                    self.has_unsent.store(true, Ordering::SeqCst);
                }
                return Err(failure);
            }
        }
        if self.has_unsent.load(Ordering::SeqCst) {
            self.has_unsent.store(false, Ordering::SeqCst);
        }
        Ok(())
    }

    /// Writes without waiting, and counts the bytes in `sent`. Returns whether everything has been sent.
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

    /// Sends the bytes that other threads have left, without waiting. Returns whether some are still unsent.
    pub(super) fn send_unsent(&self) -> io::Result<bool> {
        if !self.has_unsent.load(Ordering::SeqCst) {
            return Ok(false);
        }
        // The thread that holds the lock sends them.
        let Some(mut sender) = self.outbound.acquire(Some(Instant::now())) else {
            return Ok(false);
        };
        let Sender { outbound, sent, .. } = &mut *sender;
        let is_left = !self.write(&mut outbound.queue, sent)?;
        self.has_unsent.store(is_left, Ordering::SeqCst);
        Ok(is_left)
    }

    /// Waits until more can be sent. Reads meanwhile, unless another thread does; when that one stops, it wakes
    /// this one.
    fn wait(&self, deadline: Option<Instant>, inbox: &dyn Inbox) -> Result<(), Failure> {
        self.sender_waits.store(true, Ordering::SeqCst);
        let waited = match Lead::take(self, inbox) {
            Some(lead) => self.wait_and_read(&lead, deadline),
            None => self.stream.wait_writable(false, deadline).map_err(Failure::from),
        };
        self.sender_waits.store(false, Ordering::SeqCst);
        waited
    }

    /// Waits until more can be sent or something can be read, and reads arrived bytes.
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

    /// A write has failed: the peer has closed, perhaps after a goodbye. This or another thread reads until the
    /// goodbye; the connection does not end before that, as arrived bytes would be lost.
    fn find_close_reason(
        &self,
        error: io::Error,
        deadline: Option<Instant>,
        inbox: &dyn Inbox,
    ) -> Failure {
        self.unwritable.store(true, Ordering::SeqCst);
        let mut read = 0;
        while read < GOODBYE_SEARCH_MAX && deadline.is_none_or(|at| at > Instant::now()) {
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

/// Ends the connection if the framing panics while it encodes a message.
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
