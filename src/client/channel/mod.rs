//! Framing on a client's stream, on the calling threads: one sends at a time, and one reads at a time.

mod receiving;
mod sending;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod unsent_tests;
mod waiting;

use super::deadline_lock::DeadlineLock;
use super::given::Given;
use crate::backends::Waitable;
use crate::client_stream::ClientStream;
use crate::clock;
use crate::error::{CloseReason, Progress};
use crate::framing::{Carrier, Framing, FramingError, Inbound, Outbound, ReadBuffers};
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::sync::{Condvar, Mutex};
use bytes::{Bytes, BytesMut};
pub(super) use receiving::Pauses;
#[cfg(feature = "tokio")]
pub(super) use receiving::{deliver_all, why_ended};
pub use sending::Filler;
#[cfg(feature = "tokio")]
pub(super) use sending::{GOODBYE_SEARCH_MAX, put_all};
use std::io::{self, ErrorKind, IoSlice};

/// The most slices of one gathering write.
pub(super) const SLICES: usize = 16;

/// Why nothing was sent or received. The connection stays usable after `Deadline`, `Unsent` and `Refused`.
#[derive(Debug)]
pub(super) enum Failure {
    /// The deadline passed; the message is partly sent or queued.
    Deadline,
    /// The deadline passed before anything of the message was queued.
    Unsent,
    /// The framing cannot carry the message. Nothing was queued.
    Refused(FramingError),
    Closed(CloseReason),
}

impl Failure {
    /// Whether a message with a passed deadline may have been begun.
    pub(super) fn progress(&self) -> Progress {
        match self {
            Failure::Unsent => Progress::NotBegun,
            _ => Progress::Unknown,
        }
    }

    /// The failure of a message of which nothing has been queued yet.
    fn before_sending(self) -> Failure {
        match self {
            Failure::Deadline => Failure::Unsent,
            failure => failure,
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            ErrorKind::TimedOut => Failure::Deadline,
            _ => Failure::Closed(error.into()),
        }
    }
}

pub(super) struct Channel {
    pub stream: Box<dyn ClientStream>,
    outbound: DeadlineLock<Sender>,
    inbound: Mutex<Receiver>,
    carrier: Carrier,
    /// The largest message that this side accepts.
    takes: usize,
    /// The largest message that both sides accept. It shrinks when the peer's preface arrives.
    limit: AtomicUsize,
    /// The peer's preface has arrived.
    begun: AtomicBool,
    /// Bytes are queued that their thread has left: the next thread that sends or reads sends them.
    has_unsent: AtomicBool,
    /// What the system has been given.
    pub given: Given,
    closed: AtomicBool,
    /// An application's own loop waits for this stream.
    is_watched: AtomicBool,
    /// A sending thread waits. It must read if no other thread does.
    sender_waits: AtomicBool,
    /// A write has failed: no more can be sent.
    unwritable: AtomicBool,
    /// The number of threads that wait for the peer's preface, or for the reason of its close.
    reader_waiters: Mutex<usize>,
    reader_changed: Condvar,
}

struct Sender {
    /// Its queue holds the unsent rest of messages that their threads have left.
    outbound: Outbound,
    /// The number of bytes that the system has taken.
    sent: u64,
    /// The buffer of an emptied queue, for the next small messages.
    memory: BytesMut,
}

struct Receiver {
    inbound: Inbound,
    buffers: ReadBuffers,
    /// Decoded messages before their delivery; empty between reads.
    messages: Vec<Bytes>,
    pauses: Pauses,
}

impl Channel {
    pub fn new(stream: Box<dyn ClientStream>, framing: &dyn Framing) -> Channel {
        let limit = framing.limit().min(stream.largest_message());
        let inbound = Inbound::new(framing);
        let outbound = Outbound::new(framing);
        let has_unsent = AtomicBool::new(true);
        Channel {
            stream,
            carrier: framing.carrier(),
            takes: framing.limit(),
            outbound: DeadlineLock::new(Sender { outbound, sent: 0, memory: BytesMut::new() }),
            limit: AtomicUsize::new(limit),
            begun: AtomicBool::new(inbound.has_begun()),
            inbound: Mutex::new(Receiver {
                inbound,
                buffers: ReadBuffers::default(),
                messages: Vec::new(),
                pauses: Pauses::new(),
            }),
            has_unsent,
            given: Given::default(),
            closed: AtomicBool::new(false),
            is_watched: AtomicBool::new(false),
            sender_waits: AtomicBool::new(false),
            unwritable: AtomicBool::new(false),
            reader_waiters: Mutex::default(),
            reader_changed: Condvar::new(),
        }
    }

    /// The largest message that can be sent, as far as is known.
    pub fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Closes the stream, the first time. Sends a goodbye before, if the reason has one and it can be sent at once.
    pub fn close(&self, reason: &CloseReason) {
        if self.closed.swap(true, Ordering::SeqCst) {
            return;
        }
        if let Some(why) = reason.goodbye() {
            let sender = self.outbound.acquire(Some(clock::now()));
            // Only with an empty queue: bytes that were reported as unsent must not be sent.
            if let Some(mut sender) = sender.filter(|sender| sender.outbound.queue.is_empty()) {
                sender.outbound.goodbye(why.code, &why.text);
                // An error is ignored: the connection ends in any case.
                let mut slices = [IoSlice::new(&[]); SLICES];
                let filled = sender.outbound.queue.slices(&mut slices);
                let _ = self.stream.write(&slices[..filled]);
            }
        }
        self.stream.shutdown();
        self.notify_reader_waiters();
        self.alert();
    }

    /// What an application's own loop waits for. It is alerted from now on.
    pub fn waitable(&self) -> io::Result<Option<Waitable>> {
        let waitable = self.stream.waitable()?;
        if waitable.is_some() {
            self.is_watched.store(true, Ordering::SeqCst);
            // Something may have been read before.
            self.alert();
        }
        Ok(waitable)
    }

    /// Tells the application's own loop that there is something to do.
    pub fn alert(&self) {
        if self.is_watched.load(Ordering::SeqCst) {
            self.stream.set_alert(true);
        }
    }

    /// The application's own loop has come.
    pub fn begin_dispatch(&self) {
        if self.is_watched.load(Ordering::SeqCst) {
            self.stream.set_alert(false);
        }
    }

    /// The application's own loop goes. `has_more`: it is to come again at once.
    pub fn end_dispatch(&self, has_more: bool) {
        if self.is_watched.load(Ordering::SeqCst) {
            if has_more {
                self.stream.set_alert(true);
            }
            self.stream.watch_writable(self.has_unsent.load(Ordering::SeqCst));
        }
    }

    /// Wakes the thread that reads: what it waits for may have ended on this side.
    pub fn wake_reader(&self) {
        self.stream.wake();
    }

    /// Bytes are left unsent: another thread, or the application's own loop, sends them.
    fn leave_unsent(&self) {
        self.stream.wake();
        if self.is_watched.load(Ordering::SeqCst) {
            self.stream.watch_writable(true);
        }
    }
}
