//! What the machine reports to the side that drives it.

use super::incoming::{Arrived, Charge};
use super::metadata::Metadata;
use crate::error::ErrorReply;
use bytes::Bytes;
use std::time::Instant;

/// What happened. Events of one call come in order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Event {
    /// The peer's settings have arrived.
    Settings,
    /// The peer calls.
    Request {
        /// The id of the call.
        id: u32,
        /// The number of the method, 0 for none.
        method: u32,
        /// The metadata of the call.
        metadata: Metadata,
        /// When the caller stops waiting.
        deadline: Option<Instant>,
        /// The first message, and the credit that it holds. `None`: the messages follow.
        message: Option<(Bytes, Charge)>,
        /// No more messages follow.
        last: bool,
    },
    /// A message of a call: a part of the peer's request, or of a reply.
    Message {
        /// The id of the call.
        id: u32,
        /// The message.
        arrived: Arrived,
    },
    /// The peer's direction of a call has ended without a message that says so.
    Ended {
        /// The id of the call.
        id: u32,
        /// How it ended.
        end: End,
    },
    /// The peer takes no more of this side's direction of a call. What was queued was dropped.
    Stopped {
        /// The id of the call.
        id: u32,
    },
    /// The peer's call was cancelled. Both directions are over, and nothing more of it is reported.
    Cancelled {
        /// The id of the call.
        id: u32,
        /// Why it was cancelled.
        why: Cancelled,
    },
    /// A message that belongs to no call.
    Notification {
        /// The message, with the number of its method.
        arrived: Arrived,
    },
    /// A message was announced that is too large for the credit. It is sent once it is
    /// [admitted](super::Machine::admit).
    Announced {
        /// The id of its call, or of the lane of the peer's notifications.
        id: u32,
        /// The bytes of its body.
        size: usize,
    },
    /// All that was queued for a call was sent, after a message was refused with
    /// [`SendError::Full`](super::SendError::Full).
    Drained {
        /// The id of the call.
        id: u32,
    },
    /// The peer begins no more calls of this side.
    Draining,
    /// The deadline of this side's call has passed. It is cancelled, and nothing more of it is reported.
    Expired {
        /// The id of the call.
        id: u32,
        /// Something of it was sent: it may be carried out.
        sent: bool,
    },
}

/// How the peer's direction of a call has ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum End {
    /// Orderly.
    Plain,
    /// Orderly, with an error as the outcome of the call.
    Error(ErrorReply),
    /// The sender gave up: the messages are incomplete.
    Aborted {
        /// The reason; see [`abort`].
        code: u16,
    },
    /// This side has cancelled its call before anything of it was sent.
    Withdrawn,
    /// The connection has ended.
    Closed {
        /// Something of the call was sent: it may be carried out.
        sent: bool,
    },
}

/// Why a call of the peer was cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cancelled {
    /// By the caller.
    Caller,
    /// Its deadline has passed.
    Deadline,
    /// The connection has ended.
    Closed,
}

/// The codes with which a direction is aborted.
pub mod abort {
    /// The sender gave up and says no more.
    pub const FAILED: u16 = 1;
    /// The call was cancelled.
    pub const CANCELLED: u16 = 2;
    /// The receiver had stopped it.
    pub const STOPPED: u16 = 3;
    /// The deadline of the call has passed.
    pub const DEADLINE: u16 = 4;
}
