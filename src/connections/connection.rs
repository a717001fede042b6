//! What is kept of one connection. An idle one holds no buffers.

use super::clock::Times;
use crate::error::CloseReason;
use crate::framing::{Framing, Inbound, Outbound};
use crate::message_server::Peer;
use std::time::Instant;

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
    /// Its messages are not looked at until more of what waits for it has been sent.
    pub paused: bool,
    /// Whole messages may be among the bytes kept: they come before the next read.
    pub undecoded: bool,
    /// A message was refused because too much waited; when that has changed, it is told.
    pub refused: bool,
    /// Sending has failed: what it has sent is still read, but nothing goes there any more.
    pub unwritable: bool,
    /// When the peer last took something, while something waits for it.
    pub waiting_since: Option<Instant>,
    /// A message was queued since the queue was last flushed.
    pub sent: bool,
    /// What its time limits are counted from.
    pub times: Times,
}

impl<S> Connection<S> {
    pub fn new(stream: S, peer: Peer, framing: &dyn Framing, now: Instant) -> Connection<S> {
        Connection {
            stream,
            peer,
            inbound: Inbound::new(framing),
            outbound: Outbound::new(framing),
            closing: None,
            in_ready: false,
            ended: false,
            paused: false,
            undecoded: false,
            refused: false,
            unwritable: false,
            waiting_since: None,
            sent: false,
            times: Times::new(now),
        }
    }

    pub fn takes_messages(&self) -> bool {
        self.closing.is_none() && !self.unwritable
    }
}
