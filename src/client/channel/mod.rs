//! Messages over a client's stream: framing on the caller's thread, for threads that take turns.

mod receiving;
mod sending;
#[cfg(test)]
mod tests;

use super::turn::Turn;
use crate::client_stream::ClientStream;
use crate::error::{CloseReason, Progress};
use crate::framing::{Carrier, Framing, FramingError, Inbound, Outbound, ReadBuffers};
use bytes::{Bytes, BytesMut};
use receiving::Pauses;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::Instant;

/// How many pieces of a message go into one gathering write.
const SLICES: usize = 16;

/// Why nothing was sent or received. The connection goes on after a deadline, and after nothing else
/// but a refusal.
#[derive(Debug)]
pub(super) enum Failure {
    /// The time is over; what was to be sent is on its way.
    Deadline,
    /// The time was over before anything of it was queued.
    Unsent,
    /// The framing cannot carry it: the message with this index. Nothing was queued.
    Refused(usize, FramingError),
    Closed(CloseReason),
}

impl Failure {
    /// What is known of a message whose time is over.
    pub(super) fn progress(&self) -> Progress {
        match self {
            Failure::Unsent => Progress::NotBegun,
            _ => Progress::Unknown,
        }
    }

    /// What a failure means for a message of which nothing has been queued yet.
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
    outbound: Turn<Sender>,
    inbound: Mutex<Receiver>,
    carrier: Carrier,
    /// The largest message that this side takes.
    takes: usize,
    /// The largest message that both sides take; shrinks once the peer's preface has come.
    limit: AtomicUsize,
    /// The peer has said what a stream begins with.
    begun: AtomicBool,
    /// Something is queued whose sender has gone: whoever reads sends it.
    left_over: AtomicBool,
    /// How many bytes the system has taken, or is just being given.
    given: AtomicU64,
    /// Nothing is given to the system any more.
    sealed: AtomicBool,
    closed: AtomicBool,
    /// A thread with something to send waits, and would have to read if nobody did.
    sender_waits: AtomicBool,
    /// A write has failed: nothing more can be sent.
    unwritable: AtomicBool,
    /// Threads that wait to know what the peer takes, or why it has closed.
    wait_for_reader: Mutex<usize>,
    reader_has_news: Condvar,
}

struct Sender {
    /// With what is left of messages whose senders have gone.
    outbound: Outbound,
    /// How many bytes the system has taken.
    sent: u64,
    /// Memory for the next small messages.
    memory: BytesMut,
}

struct Receiver {
    inbound: Inbound,
    buffers: ReadBuffers,
    /// Messages that are about to be handed over; between reads there are none.
    messages: Vec<Bytes>,
    pauses: Pauses,
}

impl Channel {
    pub fn new(stream: Box<dyn ClientStream>, framing: &dyn Framing) -> Channel {
        let limit = framing.limit().min(stream.largest_message());
        let inbound = Inbound::new(framing);
        let outbound = Outbound::new(framing);
        let left_over = AtomicBool::new(!outbound.queue.is_empty());
        let channel = Channel {
            stream,
            carrier: framing.carrier(),
            takes: framing.limit(),
            outbound: Turn::new(Sender { outbound, sent: 0, memory: BytesMut::new() }),
            limit: AtomicUsize::new(limit),
            begun: AtomicBool::new(inbound.has_begun()),
            inbound: Mutex::new(Receiver {
                inbound,
                buffers: ReadBuffers::default(),
                messages: Vec::new(),
                pauses: Pauses::new(),
            }),
            left_over,
            given: AtomicU64::new(0),
            sealed: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            sender_waits: AtomicBool::new(false),
            unwritable: AtomicBool::new(false),
            wait_for_reader: Mutex::default(),
            reader_has_news: Condvar::new(),
        };
        // A server waits for what a stream begins with, also of a client that only listens. What
        // cannot be sent at once goes later; if it fails, so will that.
        let _ = channel.send_left_over();
        channel
    }

    /// The largest message, as far as is known.
    pub fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Whether a message that ends there has surely not arrived, as its last byte was never given to the
    /// system; from now on it will not be either. For a connection that has ended.
    pub fn is_surely_unsent(&self, end: u64) -> bool {
        // Whoever sends says what it will give before it looks here: one of the two sees the other.
        self.sealed.store(true, Ordering::SeqCst);
        end > self.given.load(Ordering::SeqCst)
    }

    /// Tells the peer why, if it is to be told and can be told at once, and closes. The first time.
    pub fn close(&self, reason: &CloseReason) {
        if self.closed.swap(true, Ordering::SeqCst) {
            return;
        }
        if let Some(why) = reason.goodbye() {
            let sender = self.outbound.take(Some(Instant::now()));
            // Nothing goes before it that was said to be unsent.
            if let Some(mut sender) = sender.filter(|sender| sender.outbound.queue.is_empty()) {
                sender.outbound.goodbye(why.code, &why.text);
                // The connection ends in any case; the peer sees that too.
                let mut slices = [IoSlice::new(&[]); SLICES];
                let filled = sender.outbound.queue.slices(&mut slices);
                let _ = self.stream.write(&slices[..filled]);
            }
        }
        self.stream.shutdown();
        self.tell_who_waits_for_reader();
    }
}
