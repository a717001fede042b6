//! The state of one connection. An idle connection holds no buffers.

use crate::account::{Charge, Parked, Place};
use crate::error::CloseReason;
use crate::framing::{Framing, Inbound, Outbound};
use crate::peer::Peer;
use std::time::Instant;

/// A message over this size needs a grant of its whole memory before its rest is read. A few reads return
/// smaller ones, for which a grant does not pay.
pub(super) const LARGE: usize = 64 * 1024;

/// The times from which a connection's limits are counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub connected: Instant,
    /// When the server began to wait for the rest of an incomplete message.
    pub partial: Option<Instant>,
    /// When bytes last arrived.
    pub arrived: Instant,
    /// When the last message was received or sent.
    pub last: Instant,
    /// When the peer last read, while bytes are queued for it.
    pub waiting: Option<Instant>,
    /// When closing began.
    pub closing: Option<Instant>,
    /// When to check whether the last bytes have been sent.
    pub look: Option<Instant>,
    /// The connection's entry in the clock.
    pub entry: Option<Instant>,
    /// It has had its one reprieve.
    pub reprieved: bool,
}

impl Times {
    pub fn new(now: Instant) -> Times {
        Times {
            connected: now,
            partial: None,
            arrived: now,
            last: now,
            waiting: None,
            closing: None,
            look: None,
            entry: None,
            reprieved: false,
        }
    }

    /// Restarts the limits at `now`: the time before does not count.
    pub fn restart(&mut self, now: Option<Instant>) {
        if let Some(now) = now {
            self.partial = self.partial.map(|_| now);
            (self.connected, self.arrived, self.last) = (now, now, now);
        }
    }
}

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// Memory to read on.
    Small,
    /// The grant of a large message.
    Large,
    /// Memory for a message to send.
    Sending,
}

/// The order of waiting: the user's group, then the class, then the time.
pub(super) type Entry = (u64, Class, u64);

pub(super) struct Connection<S> {
    pub stream: S,
    pub peer: Peer,
    pub inbound: Inbound,
    pub outbound: Outbound,
    /// The reason for which it is being closed: nothing more is read, and it ends once its queue is sent.
    pub closing: Option<CloseReason>,
    /// It is in the list of ready connections.
    pub in_ready: bool,
    /// No more bytes will arrive: it is read until the end of the stream.
    pub ended: bool,
    /// The peer has half-closed: it is still sent to.
    pub finished: bool,
    /// Backpressure: its messages are not decoded until more of its queue has been sent.
    pub paused: bool,
    /// Its messages are not decoded until there is memory for them: its entry in the list of waiting
    /// connections.
    pub waits: Option<Entry>,
    /// A message to it was refused because there was no memory: its entry in that list.
    pub waits_to_send: Option<Entry>,
    /// The kept bytes may contain whole messages: they are decoded before the next read.
    pub undecoded: bool,
    /// A message was refused because the queue was full or there was no memory; `Drained` is owed.
    pub refused: bool,
    /// Sending has failed: the peer's bytes are still read, but nothing more is sent.
    pub unwritable: bool,
    /// The peer has closed both directions: nothing can arrive there.
    pub hung_up: bool,
    /// A flush left bytes unsent: it continues when the stream is writable.
    pub blocked: bool,
    /// A message was queued since the queue was last flushed.
    pub sent: bool,
    /// The times from which its limits are counted.
    pub times: Times,
    /// The memory that is held for it.
    pub held: Charge,
    /// The memory granted to the arriving message; for a [`LARGE`] one its whole size.
    pub granted: usize,
    /// Set while it waits for the grant of a large message and holds its beginning.
    pub parked: Option<Parked>,
    _place: Place,
}

impl<S> Connection<S> {
    pub fn new(
        stream: S,
        peer: Peer,
        place: Place,
        framing: &dyn Framing,
        now: Instant,
    ) -> Connection<S> {
        Connection {
            stream,
            peer,
            inbound: Inbound::new(framing),
            outbound: Outbound::new(framing),
            closing: None,
            in_ready: false,
            ended: false,
            finished: false,
            paused: false,
            waits: None,
            waits_to_send: None,
            undecoded: false,
            refused: false,
            unwritable: false,
            hung_up: false,
            blocked: false,
            sent: false,
            times: Times::new(now),
            held: Charge::new(place.share().clone()),
            granted: 0,
            parked: None,
            _place: place,
        }
    }

    pub fn takes_messages(&self) -> bool {
        self.closing.is_none() && !self.unwritable
    }

    /// Whether more than `line` bytes wait for the peer to read them.
    pub fn has_unread(&self, line: usize) -> bool {
        self.outbound.queue.len() > line
    }

    /// Charges what is held for it now.
    pub fn settle(&mut self) {
        let arriving = self.granted.max(self.inbound.kept());
        self.held.set(arriving + self.outbound.queue.len());
    }
}
