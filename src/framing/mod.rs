//! Framings: how messages are laid out in a stream of bytes. No I/O and no clock.
//!
//! A [`Framing`] makes a [`Decoder`] and an [`Encoder`] for each connection. The decoder reads a stream of
//! bytes: any split and any merge of the input gives the same messages. [`Native`] is this crate's own
//! framing, specified in `docs/PROTOCOL.md`. [`LengthPrefix`], [`Lines`] and [`OsMessage`] are for existing
//! programs. A custom framing implements the same traits.
#![forbid(unsafe_code)]

mod decoder;
mod header;
mod length_prefix;
mod lines;
mod link;
mod native;
mod os_message;
mod preface;
mod queue;
mod read_buffers;

pub use length_prefix::LengthPrefix;
pub use lines::Lines;
pub(crate) use link::{Inbound, Outbound};
pub use native::Native;
pub use os_message::OsMessage;
pub use queue::SendQueue;
pub(crate) use read_buffers::{READ_CHUNK, ReadBuffers};

use crate::body::Body;
pub use crate::layer::Layer;
use crate::layer::in_words;
use crate::text::escaped;
use bytes::{Bytes, BytesMut};
use std::ops::RangeInclusive;
use std::sync::Arc;

/// Why bytes of a peer could not be decoded, or a message could not be encoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FramingError {
    /// The stream does not begin with this protocol's magic: the peer speaks another protocol.
    #[error("the peer does not speak this protocol: its first bytes are \"{}\"", first.escape_ascii())]
    NotOurs {
        /// The first bytes that the peer sent.
        first: Vec<u8>,
    },
    /// The two sides have no version of the protocol in common.
    #[error(
        "the peer speaks the protocol's versions {} to {}, this side {} to {}: update the older one",
        theirs.start(), theirs.end(), ours.start(), ours.end()
    )]
    Version {
        /// The versions that the peer speaks.
        theirs: RangeInclusive<u8>,
        /// The versions that this side speaks.
        ours: RangeInclusive<u8>,
    },
    /// The peer uses the other layer: one side sends messages, the other calls.
    #[error(
        "the peer speaks {} and this side {}: use the same level on both", in_words(*theirs), in_words(ours.number())
    )]
    WrongLayer {
        /// The layer's number as the peer sent it.
        theirs: u8,
        /// The layer of this side.
        ours: Layer,
    },
    /// The check of a preface or a header does not match its bytes: the stream was damaged, or two
    /// writers mixed their bytes.
    #[error("a damaged {what}: {bytes:02x?}")]
    Damaged {
        /// `preface` or `header`.
        what: &'static str,
        /// The bytes of the preface or the header.
        bytes: Vec<u8>,
    },
    /// The kind of a frame is not defined in this version of the protocol.
    #[error("a frame of the unknown kind {kind}")]
    UnknownKind {
        /// The number of the kind.
        kind: u8,
    },
    /// A message is over the limit. If the framing announces sizes, nothing was stored for it.
    #[error("a message of {size} bytes, over the limit of {limit}")]
    TooLarge {
        /// The announced size in bytes. A line has no announced size: then the limit plus one.
        size: u64,
        /// The limit in bytes.
        limit: usize,
    },
    /// The stream ended inside a message.
    #[error("cut off: {have} bytes of an unfinished message had arrived")]
    CutOff {
        /// The bytes of the unfinished message that had arrived.
        have: usize,
    },
    /// The peer sent a goodbye. This is the end of the stream, not a framing error.
    #[error("the peer closed with code {code}: {}", escaped(text))]
    Goodbye {
        /// The code; see [`GoodbyeCode`].
        code: u16,
        /// The human-readable reason.
        text: String,
    },
    /// An error of a custom framing, or a message that a framing cannot carry.
    #[error("{0}")]
    Other(String),
}

impl FramingError {
    /// The code of the goodbye that reports this error to the peer. `None`: the peer has closed, or speaks
    /// another protocol.
    pub(crate) fn goodbye_code(&self) -> Option<u16> {
        match self {
            FramingError::Goodbye { .. }
            | FramingError::NotOurs { .. }
            | FramingError::CutOff { .. } => None,
            FramingError::TooLarge { .. } => Some(GoodbyeCode::TOO_LARGE),
            FramingError::Version { .. } => Some(GoodbyeCode::VERSION),
            _ => Some(GoodbyeCode::PROTOCOL),
        }
    }
}

/// The codes of a goodbye (`docs/PROTOCOL.md`, "Goodbye").
///
/// ```
/// assert_eq!(msgpipe::framing::GoodbyeCode::TOO_LARGE, 3);
/// ```
pub struct GoodbyeCode;

impl GoodbyeCode {
    /// The sender stops. Not an error.
    pub const STOPPING: u16 = 0;
    /// The receiver broke the protocol.
    pub const PROTOCOL: u16 = 1;
    /// No common version.
    pub const VERSION: u16 = 2;
    /// A message over the sender's limit.
    pub const TOO_LARGE: u16 = 3;
    /// The receiver does not read its replies.
    pub const UNREAD: u16 = 4;
    /// The receiver took too long to finish its preface or a message.
    pub const TOO_SLOW: u16 = 5;
    /// No message in either direction for too long.
    pub const IDLE: u16 = 6;
    /// The receiver may not connect. The sender read nothing of it.
    pub const NOT_AUTHORIZED: u16 = 7;
    /// The sender is at its limit of connections. It read nothing of the receiver.
    pub const BUSY: u16 = 8;
}

/// A framing: makes a decoder and an encoder for each connection.
///
/// ```
/// use bytes::BytesMut;
/// use msgpipe::framing::{Framing, Layer, Native, SendQueue};
///
/// let framing = Native::new(Layer::Messages, 1024);
/// let mut queue = SendQueue::default();
/// let mut encoder = framing.encoder();
/// encoder.begin(&mut queue);
/// encoder.encode(b"", "hello".into(), &mut queue)?;
///
/// let mut wire = BytesMut::from(&queue.to_bytes()[..]);
/// let mut decoder = framing.decoder();
/// assert_eq!(decoder.decode(&mut wire)?.unwrap(), "hello");
/// assert_eq!(decoder.decode(&mut wire)?, None); // nothing more has arrived
/// # Ok::<_, msgpipe::framing::FramingError>(())
/// ```
pub trait Framing: Send + Sync {
    /// A decoder for one connection, at the beginning of its stream.
    fn decoder(&self) -> Box<dyn Decoder>;

    /// An encoder for one connection, at the beginning of its stream.
    fn encoder(&self) -> Box<dyn Encoder>;

    /// The largest message in bytes. Default: no limit.
    fn limit(&self) -> usize {
        usize::MAX
    }

    /// Whether a message may contain any bytes. Calls need that, because their envelope is binary: a framing
    /// that returns `false` is refused for calls. Default: `true`.
    fn carries_any_bytes(&self) -> bool {
        true
    }

    /// What the framing needs of the transport. Default: a stream of bytes.
    fn carrier(&self) -> Carrier {
        Carrier::Stream
    }
}

impl<F: Framing + ?Sized> Framing for Arc<F> {
    fn decoder(&self) -> Box<dyn Decoder> {
        (**self).decoder()
    }

    fn encoder(&self) -> Box<dyn Encoder> {
        (**self).encoder()
    }

    fn limit(&self) -> usize {
        (**self).limit()
    }

    fn carries_any_bytes(&self) -> bool {
        (**self).carries_any_bytes()
    }

    fn carrier(&self) -> Carrier {
        (**self).carrier()
    }
}

/// What a framing needs of the transport below it.
///
/// ```
/// use msgpipe::framing::{Carrier, Framing, Layer, Native, OsMessage};
/// assert_eq!(Native::new(Layer::Messages, 1024).carrier(), Carrier::Stream);
/// assert_eq!(OsMessage::new(1024).carrier(), Carrier::Messages);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Carrier {
    /// A stream of bytes. The boundaries of reads and writes have no meaning.
    Stream,
    /// Messages that the operating system keeps apart. A decoder is then given one whole message at a
    /// time, and an encoder queues each of its messages with [`SendQueue::put_message`].
    ///
    /// A message over the framing's [limit](Framing::limit) is not read, and ends the connection.
    Messages,
}

/// Decodes the bytes of one connection into messages.
pub trait Decoder: Send {
    /// Takes the next message off the front of `input`, which holds the bytes that have arrived and are
    /// not consumed yet. Removes the consumed bytes from `input`, and no others. `Ok(None)`: no whole
    /// message has arrived; it is called again when there are more bytes.
    ///
    /// A message consumes at least one byte: a message that consumes none would repeat for ever, and ends the
    /// connection. Unconsumed bytes count as the beginning of a message
    /// ([`Limits::message_time`](crate::Limits::message_time)), unless [`finish`](Decoder::finish) returns
    /// `Ok` for them.
    ///
    /// # Errors
    /// An error is final: the connection is closed with it, and `decode` is not called again.
    fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Bytes>, FramingError>;

    /// How many bytes the next message needs at least, 0 if that is not known. A hint for the size of the
    /// next read, called after `decode` returned `None`.
    fn missing(&self) -> usize {
        0
    }

    /// Called when the stream has ended with the bytes `left` unconsumed.
    ///
    /// # Errors
    /// An error if the stream may not end there. Default: [`FramingError::CutOff`] if bytes are left.
    fn finish(&self, left: &[u8]) -> Result<(), FramingError> {
        match left.len() {
            0 => Ok(()),
            have => Err(FramingError::CutOff { have }),
        }
    }

    /// Whether the peer's preface has arrived. Default: `true`, for a framing without a preface.
    fn has_begun(&self) -> bool {
        true
    }

    /// The largest message in bytes that the peer accepts, if the peer has sent it. Default: `None`.
    fn peer_limit(&self) -> Option<usize> {
        None
    }
}

/// Encodes the messages of one connection into bytes.
pub trait Encoder: Send {
    /// Queues the preface, before the first message. Default: nothing.
    fn begin(&mut self, out: &mut SendQueue) {
        let _ = out;
    }

    /// Queues one message: `head` followed by `body`. They are separate so that a layer above can put an
    /// envelope before a body without copying the body.
    ///
    /// # Errors
    /// An error if the message is too large or cannot be carried. Nothing is queued then.
    fn encode<'a>(
        &mut self,
        head: &[u8],
        body: Body<'a>,
        out: &mut SendQueue<'a>,
    ) -> Result<(), FramingError>;

    /// Queues the reason why this side closes, if the framing has a goodbye. Default: nothing.
    fn goodbye(&mut self, code: u16, text: &str, out: &mut SendQueue) {
        let _ = (code, text, out);
    }
}
