//! The right to read: at most one of the threads that share a client has it, and reads for all.

use super::channel::Channel;
use crate::error::CloseReason;
use bytes::Bytes;
use std::io;
use std::thread;

/// Where messages go, and who may read them.
pub(super) trait Inbox {
    /// Takes the right to read, if no thread has it and there is room for what may come.
    fn try_lead(&self) -> bool;

    /// Gives the right to read back, and hands it on to a thread that waits.
    fn stop_leading(&self);

    /// Takes these messages, in their order; an error says how the peer broke the protocol with one of
    /// them.
    fn deliver(&self, messages: &mut Vec<Bytes>) -> Result<(), String>;

    /// The connection has ended for this reason; the first one counts.
    fn end(&self, reason: &CloseReason);

    /// Why the connection has ended, if it has.
    fn ended(&self) -> Option<CloseReason>;
}

/// The right to read. It is given back when this is dropped; by a panic too, which ends the connection:
/// what had been read was then lost half-way.
pub(super) struct Lead<'a> {
    channel: &'a Channel,
    pub inbox: &'a dyn Inbox,
}

impl<'a> Lead<'a> {
    /// Takes the right to read if it is free.
    pub fn take(channel: &'a Channel, inbox: &'a dyn Inbox) -> Option<Lead<'a>> {
        inbox.try_lead().then(|| Lead::taken(channel, inbox))
    }

    /// Holds the right that this thread has just taken.
    pub fn taken(channel: &'a Channel, inbox: &'a dyn Inbox) -> Lead<'a> {
        Lead { channel, inbox }
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.inbox.end(&panicked());
        }
        self.inbox.stop_leading();
        self.channel.lead_is_free();
    }
}

/// Why a connection ends in which a framing has panicked.
pub(super) fn panicked() -> CloseReason {
    io::Error::other("the framing panicked, and left the stream half-way").into()
}
