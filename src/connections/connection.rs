//! What is kept of one connection. An idle one holds no buffers.

use crate::account::{Charge, Parked, Place};
use crate::error::CloseReason;
use crate::framing::{Framing, Inbound, Outbound};
use crate::peer::Peer;
use std::time::Instant;

/// From so many bytes on a message waits for the memory that all of it takes before the rest of it
/// is read: less than a few reads bring is not worth it.
pub(super) const LARGE: usize = 64 * 1024;

/// What of a connection the time limits are counted from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub connected: Instant,
    /// When what has arrived of an incomplete message began to be waited for.
    pub partial: Option<Instant>,
    /// When bytes last arrived.
    pub arrived: Instant,
    /// When the last message came or went.
    pub last: Instant,
    /// When the peer last took something, while something waits for it.
    pub waiting: Option<Instant>,
    /// When it began to be closed.
    pub closing: Option<Instant>,
    /// When to look whether its last bytes have left.
    pub look: Option<Instant>,
    /// The connection's entry in the clock.
    pub entry: Option<Instant>,
    /// It has had its reprieve.
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

    /// The time of a message that has begun was not counted until `now`.
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
    /// To read on.
    Small,
    /// The rest of a large message.
    Large,
    /// To be sent something.
    Sending,
}

/// Whose turn it is: first the user's group, then what is waited for, then who has waited longest.
pub(super) type Entry = (u64, Class, u64);

pub(super) struct Connection<S> {
    pub stream: S,
    pub peer: Peer,
    pub inbound: Inbound,
    pub outbound: Outbound,
    /// It is being closed, for this reason: nothing more is read, and once all is sent it goes.
    pub closing: Option<CloseReason>,
    /// It stands in the list of those to be read.
    pub in_ready: bool,
    /// The peer will send nothing more than what is there: reads go on until they say so.
    pub ended: bool,
    /// The peer has closed its sending direction, and is still sent to.
    pub finished: bool,
    /// Its messages are not looked at until more of what waits for it has been sent.
    pub paused: bool,
    /// Its messages are not looked at until there is memory for them: its entry in the list of those
    /// who wait.
    pub waits: Option<Entry>,
    /// A message to it was refused for want of memory: as above.
    pub waits_to_send: Option<Entry>,
    /// Whole messages may be among the bytes kept: they come before the next read.
    pub undecoded: bool,
    /// A message was refused because too much waited; when that has changed, it is told.
    pub refused: bool,
    /// Sending has failed: what it has sent is still read, but nothing goes there any more.
    pub unwritable: bool,
    /// The peer has closed both directions: nothing that is sent can arrive.
    pub hung_up: bool,
    /// It could not send all it had: the next sign that more may be sent is looked for.
    pub blocked: bool,
    /// A message was queued since the queue was last flushed.
    pub sent: bool,
    /// What its time limits are counted from.
    pub times: Times,
    /// The memory that is held for it.
    pub held: Charge,
    /// The memory that was granted to the message that is arriving, of a [`LARGE`] one all.
    pub granted: usize,
    /// It waits for the memory of a large message whose beginning it holds.
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
