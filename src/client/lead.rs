//! The lead, which is the right to read: at most one of the threads that share a client has it, and reads for
//! all (leader/follower pattern).

use super::channel::Channel;
use crate::error::CloseReason;
use bytes::Bytes;
use std::io;
use std::thread;

/// The destination of messages, and the lead.
pub(super) trait Inbox {
    /// Takes the lead, if no thread has it and there is room for more messages.
    fn try_lead(&self) -> bool;

    /// Releases the lead, and offers it to a waiting thread.
    fn stop_leading(&self);

    /// Takes these messages, in order. An error says how the peer broke the protocol.
    fn deliver(&self, messages: &mut Vec<Bytes>) -> Result<(), CloseReason>;

    /// Passes on the next message that this side has to send besides what its threads send. `put` gets its head
    /// and body, and returns where it ends in the stream, or `None` if it cannot be carried. Returns whether
    /// there was one. Default: none.
    fn fill(&self, put: &mut Put<'_>) -> bool {
        let _ = put;
        false
    }

    /// Whether [`fill`](Inbox::fill) has something.
    fn has_more(&self) -> bool {
        false
    }

    /// The largest message that both sides take is known.
    fn set_largest(&self, bytes: usize) {
        let _ = bytes;
    }

    /// The connection has ended for this reason. The first reason counts.
    fn end(&self, reason: &CloseReason);

    /// The reason why the connection has ended, if it has.
    fn ended(&self) -> Option<CloseReason>;
}

/// Queues a message for sending; see [`Inbox::fill`].
pub(super) type Put<'a> = dyn FnMut(&[u8], Bytes) -> Option<u64> + 'a;

/// Holds the lead. Dropping it releases the lead. A drop by a panic also ends the connection, because read
/// bytes may be lost.
pub(super) struct Lead<'a> {
    channel: &'a Channel,
    pub inbox: &'a dyn Inbox,
    /// The application's own loop has it, and need not be told of what is read.
    pub is_dispatch: bool,
}

impl<'a> Lead<'a> {
    /// Takes the lead if it is free.
    pub fn take(channel: &'a Channel, inbox: &'a dyn Inbox) -> Option<Lead<'a>> {
        inbox.try_lead().then(|| Lead::taken(channel, inbox))
    }

    /// The guard of a lead that this thread has just taken.
    pub fn taken(channel: &'a Channel, inbox: &'a dyn Inbox) -> Lead<'a> {
        Lead { channel, inbox, is_dispatch: false }
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.inbox.end(&panicked());
        }
        self.inbox.stop_leading();
        self.channel.lead_released();
    }
}

/// The reason for the end of a connection after a panic of its framing.
pub(super) fn panicked() -> CloseReason {
    io::Error::other("the framing panicked, and the stream is out of step").into()
}
