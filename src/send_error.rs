//! Why a message was not queued.
#![forbid(unsafe_code)]

use crate::connection_id::ConnectionId;
use bytes::Bytes;

/// A message was not queued.
#[derive(Debug, thiserror::Error)]
#[error("{connection}: {refusal}")]
#[non_exhaustive]
pub struct SendError {
    /// The connection that it was for.
    pub connection: ConnectionId,
    /// Why it was not queued.
    pub refusal: Refusal,
    /// The body of the message.
    pub body: Bytes,
}

impl SendError {
    /// An error that returns `body`; for implementations of [`MessageServer`](crate::MessageServer).
    pub fn new(connection: ConnectionId, refusal: Refusal, body: Bytes) -> SendError {
        SendError { connection, refusal, body }
    }
}

/// Why a message was not queued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The connection has ended or is being closed.
    #[error("the connection has ended or is closing")]
    Closed,
    /// The send queue is full. Send again after [`Event::Writable`](crate::Event::Writable).
    #[error("{queued} bytes are queued for it, the limit is {limit}: the peer does not read")]
    Full {
        /// The bytes in the send queue.
        queued: usize,
        /// [`Limits::queued`](crate::Limits::queued).
        limit: usize,
    },
    /// The memory of the server ([`Limits::memory`](crate::Limits::memory)), or the part of the peer's
    /// user, is used up. Send again after [`Event::Writable`](crate::Event::Writable).
    #[error(
        "{held} bytes are held for all clients, and there is no memory for more: raise Limits::memory, or send less to clients that do not read"
    )]
    Memory {
        /// The bytes that are held for all clients together.
        held: usize,
    },
    /// The framing cannot carry this message.
    #[error(transparent)]
    Framing(#[from] crate::framing::FramingError),
}
