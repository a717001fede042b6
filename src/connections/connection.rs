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
    /// When to check again whether the last bytes have been sent.
    pub recheck: Option<Instant>,
    /// The connection's entry in the clock.
    pub entry: Option<Instant>,
    /// It has had its extra time (`GRACE`), which it gets once.
    pub had_grace: bool,
}

impl Times {
    pub fn new(now: Instant) -> Times {
        Times {
            connected: now,
            partial: None,
            arrived: now,
            last: now,
            waiting: None,
            recheck: None,
            entry: None,
            had_grace: false,
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

/// Whether a connection is read. One that is closing is not, whatever its state was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// Its messages are read and decoded as they arrive.
    Open,
    /// Backpressure: nothing is decoded until more of its queue has been sent.
    Paused,
    /// Nothing is decoded until there is memory for it. With its entry in the list of waiting connections.
    WaitsForMemory(Entry),
    /// The peer has half-closed: the stream has been read to its end, and the peer is still sent to.
    HalfClosed,
}

/// Whether messages to a connection are accepted. One that is closing accepts none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writing {
    Open,
    /// A message was refused because the queue was full: `Event::Writable` is owed.
    Full,
    /// The layer above has more to send than its share of the queue: `Event::Writable` is owed when little of
    /// the queue is left. The peer is not read meanwhile.
    WaitsForRoom,
    /// A message was refused because there was no memory: `Event::Writable` is owed. With its entry in the
    /// list of waiting connections.
    WaitsForMemory(Entry),
    /// Sending has failed: nothing more is sent. What the peer has sent is still read.
    Failed,
}

/// The directions that the peer has closed, as the backend has reported them. They do not open again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PeerClosed {
    Neither,
    /// The peer sends no more: the stream is read to its end without further readiness.
    Sending,
    /// The peer does not receive either.
    Both,
}

/// Why a connection is being closed, and since when. Nothing more is read, and it ends once its queue is sent.
pub(super) struct Closing {
    pub reason: CloseReason,
    pub since: Instant,
}

pub(super) struct Connection<S> {
    pub stream: S,
    pub peer: Peer,
    pub inbound: Inbound,
    pub outbound: Outbound,
    pub reading: Reading,
    pub writing: Writing,
    pub peer_closed: PeerClosed,
    pub closing: Option<Box<Closing>>,
    /// Small messages are read from it, and messages to it are accepted, even without memory: that frees memory of
    /// the layer above.
    pub keeps_going: bool,
    /// It is read although its peer does not read, and it is not closed for that.
    pub unread_allowed: bool,
    /// Small messages are sent to it beside large ones: less is queued and sent at a time, so that they do not wait long.
    pub has_small: bool,
    /// It is in the list of ready connections.
    pub in_ready: bool,
    /// It is in the list of connections to flush.
    pub in_unsent: bool,
    /// The turn in which something of its queue was sent last.
    pub flushed_in: u32,
    /// The kept bytes may contain whole messages: they are decoded before the next read.
    pub undecoded: bool,
    /// A message was queued since the queue was last flushed.
    pub sent: bool,
    /// The times from which its limits are counted.
    pub times: Times,
    /// The memory that is held for it.
    pub held: Charge,
    /// The memory granted to the arriving message; for a [`LARGE`] one its whole size.
    pub granted: usize,
    /// Set while it waits for the grant of a large message and holds its beginning.
    pub parked: Option<Box<Parked>>,
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
            reading: Reading::Open,
            writing: Writing::Open,
            peer_closed: PeerClosed::Neither,
            closing: None,
            keeps_going: false,
            unread_allowed: false,
            in_ready: false,
            in_unsent: false,
            has_small: false,
            flushed_in: 0,
            undecoded: false,
            sent: false,
            times: Times::new(now),
            held: Charge::new(place.share().clone()),
            granted: 0,
            parked: None,
            _place: place,
        }
    }

    pub fn takes_messages(&self) -> bool {
        self.closing.is_none() && self.writing != Writing::Failed
    }

    /// Whether a message can still arrive at the peer.
    pub fn is_reachable(&self) -> bool {
        self.takes_messages() && self.peer_closed != PeerClosed::Both
    }

    /// Whether bytes wait for the peer to read them: a flush left them unsent, and goes on when the stream is
    /// writable.
    pub fn is_blocked(&self) -> bool {
        self.times.waiting.is_some()
    }

    /// Whether the peer is not read: more than `bytes` bytes wait for it, or the layer above has more.
    pub fn has_unread(&self, bytes: usize) -> bool {
        let has_unread = self.outbound.queue.len() > bytes || self.writing == Writing::WaitsForRoom;
        has_unread && !self.unread_allowed
    }

    /// Charges what is held for it now.
    pub fn settle(&mut self) {
        let arriving = self.granted.max(self.inbound.kept());
        self.held.set(arriving + self.outbound.queue.len());
    }
}
