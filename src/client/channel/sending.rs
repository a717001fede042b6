//! Sending: from a thread's message to the stream.

use super::{Channel, Failure, SLICES, Sender};
use crate::body::Body;
use crate::client::lead::{Inbox, Lead, panicked};
use crate::clock;
use crate::framing::{FramingError, Outbound, SendQueue};
use bytes::Bytes;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Instant;

/// A message over this size waits for the peer's preface: one over the peer's limit would end the connection.
/// Every peer accepts smaller ones (`docs/PROTOCOL.md`, section 5).
const WITHOUT_PREFACE_MAX: usize = 256;

/// The bytes of other calls that are queued at once: what has been queued cannot be overtaken.
const AT_ONCE: usize = 64 * 1024;

/// How often a thread that sends what others have left takes more of it, [`AT_ONCE`] each time, before it returns to
/// its own caller: 4 MiB, some milliseconds. The rest is for the next thread.
pub(super) const LOOKS: usize = 64;

/// How many bytes are read after a failed write to find the peer's goodbye, which follows the bytes in the
/// system's buffer.
pub const GOODBYE_SEARCH_MAX: usize = 1 << 20;

/// Queues messages of the sending thread, while it is the only one that sends.
pub struct Filler<'f, 'a> {
    outbound: &'f mut Outbound,
    queue: &'f mut SendQueue<'a>,
    sent: u64,
    limit: usize,
}

#[cfg(feature = "tokio")]
impl Filler<'_, '_> {
    /// Whether so much is queued that more can only be overtaken if it waits elsewhere.
    pub fn is_full(&self) -> bool {
        self.queue.len() >= AT_ONCE
    }
}

impl<'f, 'a> Filler<'f, 'a> {
    /// Queues behind the position `sent` of the stream.
    pub fn new(
        outbound: &'f mut Outbound,
        queue: &'f mut SendQueue<'a>,
        sent: u64,
        limit: usize,
    ) -> Filler<'f, 'a> {
        Filler { outbound, queue, sent, limit }
    }

    /// Queues a head and a body. Returns the position in the stream at which the message ends.
    pub fn put(&mut self, head: &[u8], body: Body<'a>) -> Result<u64, FramingError> {
        self.outbound.encode_into(self.queue, head, body, Some(self.limit))?;
        Ok(self.sent + self.queue.len() as u64)
    }
}

impl Channel {
    /// Sends what a connection begins with. A server expects it also of a client that only listens.
    pub fn begin(&self, inbox: &dyn Inbox) {
        inbox.set_largest(self.limit());
        // A rest is sent later; an error shows again then.
        let _ = self.send_unsent(inbox, None);
    }

    /// Something is to be sent that no thread sends: sends it now, if no other thread is sending.
    pub fn send_soon(&self, inbox: &dyn Inbox) {
        self.has_unsent.store(true, Ordering::SeqCst);
        self.send_left(inbox);
        if self.has_unsent.load(Ordering::SeqCst) {
            // The reading thread sends the rest: it may wait for bytes that only come then.
            self.leave_unsent();
        }
    }

    /// Sends what is left to be sent, without waiting, if no other thread is sending.
    pub fn send_left(&self, inbox: &dyn Inbox) {
        // An error shows again when a thread reads or sends.
        let _ = self.send_unsent(inbox, None);
    }

    /// Sends what `fill` queues, in as few writes as possible. While the peer does not read, its bytes are read:
    /// it may be waiting for that. `fill` runs once this thread may send; if it fails, nothing is sent.
    ///
    /// At the deadline the unsent rest is kept, and copied if it was borrowed. The next thread that sends or
    /// reads sends it, so that the stream is not cut inside a message.
    pub fn send<'a, E: From<Failure>>(
        &self,
        deadline: Option<Instant>,
        inbox: &dyn Inbox,
        fill: impl FnOnce(&mut Filler<'_, 'a>) -> Result<(), E>,
    ) -> Result<(), E> {
        let sent = self.send_exclusively(deadline, inbox, fill);
        if self.has_come(inbox) {
            // As before.
            let _ = self.send_unsent(inbox, deadline);
        }
        if self.has_unsent.load(Ordering::SeqCst) {
            // The reading thread does not know of it yet, or found the lock held until now.
            self.leave_unsent();
        }
        sent
    }

    fn send_exclusively<'a, E: From<Failure>>(
        &self,
        deadline: Option<Instant>,
        inbox: &dyn Inbox,
        fill: impl FnOnce(&mut Filler<'_, 'a>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut sender = self.outbound.acquire(deadline).ok_or(Failure::Unsent)?;
        let _on_panic = EndOnPanic { channel: self, inbox };
        let Sender { outbound, sent, memory } = &mut *sender;
        // The rest of the previous message is sent first.
        let flushed = self.flush(&mut outbound.queue, sent, deadline, inbox);
        flushed.map_err(Failure::before_sending)?;
        let mut queue = SendQueue::default();
        queue.lend(memory);
        let limit = self.limit();
        let mut filler = Filler::new(outbound, &mut queue, *sent, limit);
        if let Err(refused) = fill(&mut filler) {
            if queue.is_empty() {
                queue.take_back(memory);
            }
            return Err(refused);
        }
        let mut flushed = self.flush(&mut queue, sent, deadline, inbox);
        let mut looks = LOOKS;
        while flushed.is_ok() && inbox.has_more() && may_look(&mut looks, deadline) {
            put_all(inbox, outbound, &mut queue, *sent, limit);
            if queue.is_empty() {
                break;
            }
            self.notify_reader_waiters();
            flushed = self.flush(&mut queue, sent, deadline, inbox);
        }
        match (queue.is_empty(), &flushed) {
            (true, _) => queue.take_back(memory),
            // Nothing more is sent on a connection that has ended.
            (false, Err(Failure::Closed(_))) => {}
            (false, _) => outbound.queue = queue.into_owned(),
        }
        Ok(flushed?)
    }

    /// Whether the peer takes a message of this size for sure, as far as the framing says.
    pub fn takes(&self, size: usize) -> bool {
        size <= WITHOUT_PREFACE_MAX || self.begun.load(Ordering::Acquire)
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
            if !self.given.offer(*sent + len as u64) {
                return Err(ErrorKind::NotConnected.into());
            }
            let written = self.stream.write(slices);
            let taken = *written.as_ref().unwrap_or(&0);
            *sent += taken as u64;
            self.given.taken(*sent);
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

    /// Sends the bytes that other threads have left, and what the inbox has, without waiting, and not beyond the deadline.
    /// Returns whether some are still unsent that no other thread sends.
    pub(super) fn send_unsent(
        &self,
        inbox: &dyn Inbox,
        deadline: Option<Instant>,
    ) -> io::Result<bool> {
        let mut looks = LOOKS;
        while self.has_unsent.load(Ordering::SeqCst) {
            // The thread that holds the lock sends them.
            let Some(mut sender) = self.outbound.acquire(Some(clock::now())) else {
                break;
            };
            let is_left = self.send_with(&mut sender, inbox, &mut looks, deadline)?;
            drop(sender);
            if is_left {
                return Ok(true);
            }
            if self.has_come(inbox) && !may_look(&mut looks, deadline) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the inbox has something that came while this thread had the lock: others have left it to this one.
    fn has_come(&self, inbox: &dyn Inbox) -> bool {
        let has_more = inbox.has_more();
        if has_more {
            self.has_unsent.store(true, Ordering::SeqCst);
        }
        has_more
    }

    fn send_with(
        &self,
        sender: &mut Sender,
        inbox: &dyn Inbox,
        looks: &mut usize,
        deadline: Option<Instant>,
    ) -> io::Result<bool> {
        let Sender { outbound, sent, .. } = sender;
        let mut is_left = !self.write(&mut outbound.queue, sent)?;
        while !is_left && inbox.has_more() {
            if !may_look(looks, deadline) {
                is_left = true;
                break;
            }
            let mut queue = SendQueue::default();
            put_all(inbox, outbound, &mut queue, *sent, self.limit());
            if queue.is_empty() {
                break;
            }
            outbound.queue = queue;
            is_left = !self.write(&mut outbound.queue, sent)?;
            // There is room for more.
            self.notify_reader_waiters();
        }
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
        match self.receive_now(lead, deadline) {
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
        while read < GOODBYE_SEARCH_MAX && deadline.is_none_or(|at| at > clock::now()) {
            if let Some(reason) = inbox.ended() {
                return Failure::Closed(reason);
            }
            let Some(lead) = Lead::take(self, inbox) else {
                match self.wait_for_reader(deadline, inbox, &|| false) {
                    Ok(()) => continue,
                    Err(_) => break,
                }
            };
            match self.receive_now(&lead, deadline) {
                Ok(bytes) => read += bytes,
                Err(Failure::Closed(reason)) => return Failure::Closed(reason),
                Err(_) => break,
            }
        }
        let reason = self.explained(error.into(), deadline);
        inbox.end(&reason);
        Failure::Closed(reason)
    }
}

/// Whether a thread goes on to send what others have left.
fn may_look(looks: &mut usize, deadline: Option<Instant>) -> bool {
    if *looks == 0 || deadline.is_some_and(|at| at <= clock::now()) {
        return false;
    }
    *looks -= 1;
    true
}

/// Queues what the inbox has, up to what may be queued at once.
pub fn put_all(
    inbox: &dyn Inbox,
    outbound: &mut Outbound,
    queue: &mut SendQueue<'_>,
    sent: u64,
    limit: usize,
) {
    while queue.len() < AT_ONCE {
        let mut put = |head: &[u8], body: Bytes| {
            let put = outbound.encode_into(queue, head, body.into(), Some(limit));
            put.ok().map(|()| sent + queue.len() as u64)
        };
        if !inbox.fill(&mut put) {
            return;
        }
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
