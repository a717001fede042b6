//! Bytes in, messages out, and back. No I/O and no clock in here.
//!
//! A [`Framing`] is the recipe: it makes a [`Decoder`] and an [`Encoder`] for each connection. The
//! decoder reads a stream of bytes, so that any split and any merge of the input gives the same
//! messages, whatever the transport makes of it. [`Native`] is this crate's own framing, specified
//! in `docs/PROTOCOL.md`. [`LengthPrefix`] and [`Lines`] are there for servers whose clients exist
//! already and speak one of the two usual ones; other framings plug in by the same traits.
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

/// What went wrong between the bytes of a peer and its messages: always the peer's doing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FramingError {
    /// The stream does not begin as this protocol does: another program, or another protocol.
    #[error("the peer does not speak this protocol: its first bytes are {first:02x?}")]
    NotOurs {
        /// What it sent instead, as far as it was looked at.
        first: Vec<u8>,
    },
    /// No version of the protocol is spoken by both sides.
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
    /// The peer speaks the other layer: messages here, calls there, or the other way round.
    #[error(
        "the peer speaks {} and this side {}: use the same level on both", in_words(*theirs), in_words(ours.number())
    )]
    WrongLayer {
        /// The layer's number as the peer sent it.
        theirs: u8,
        /// The layer of this side.
        ours: Layer,
    },
    /// A preface or a header whose check does not fit its bytes: the stream was damaged, or two
    /// writers mixed their bytes.
    #[error("a damaged {what}: {bytes:02x?}")]
    Damaged {
        /// `preface` or `header`.
        what: &'static str,
        /// The bytes of it.
        bytes: Vec<u8>,
    },
    /// A frame of a kind that this version of the protocol does not have.
    #[error("a frame of the unknown kind {kind}")]
    UnknownKind {
        /// The kind's number.
        kind: u8,
    },
    /// A message over the limit. Where it is announced, nothing was stored for it.
    #[error("a message of {size} bytes, over the limit of {limit}")]
    TooLarge {
        /// The size announced; of a line, which announces none, the limit and one.
        size: u64,
        /// The limit it was held against.
        limit: usize,
    },
    /// The stream ended inside a message.
    #[error("cut off: {have} bytes of an unfinished message had arrived")]
    CutOff {
        /// The bytes that had arrived of what was not finished.
        have: usize,
    },
    /// The peer said why it closes. Not a fault of the framing, but the end of it.
    #[error("the peer closed with code {code}: {}", escaped(text))]
    Goodbye {
        /// The reason's number; see [`GoodbyeCode`].
        code: u16,
        /// The reason in words.
        text: String,
    },
    /// A framing that is not this crate's own found a fault; or a message cannot be put in it.
    #[error("{0}")]
    Other(String),
}

impl FramingError {
    /// The number under which a goodbye reports this error to the peer that caused it. `None`: the
    /// peer has gone, or would not understand.
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

/// The numbers that a goodbye carries (`docs/PROTOCOL.md`, "Goodbye").
///
/// ```
/// assert_eq!(msgpipe::framing::GoodbyeCode::TOO_LARGE, 3);
/// ```
pub struct GoodbyeCode;

impl GoodbyeCode {
    /// The sender stops; nothing was wrong.
    pub const STOPPING: u16 = 0;
    /// The peer broke the protocol.
    pub const PROTOCOL: u16 = 1;
    /// No common version.
    pub const VERSION: u16 = 2;
    /// A message over the sender's limit.
    pub const TOO_LARGE: u16 = 3;
    /// The peer does not read its replies.
    pub const UNREAD: u16 = 4;
    /// The peer took too long with its preface or with a message.
    pub const TOO_SLOW: u16 = 5;
    /// Nothing went over the connection for too long.
    pub const IDLE: u16 = 6;
    /// The peer may not connect.
    pub const NOT_AUTHORIZED: u16 = 7;
    /// The sender has no place for another connection. Nothing that the peer sent was looked at.
    pub const BUSY: u16 = 8;
}

/// A recipe for decoders and encoders; a server makes a pair of them for each connection.
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

    /// The largest message in bytes, where there is one.
    fn limit(&self) -> usize {
        usize::MAX
    }

    /// Whether a message may be any bytes. Calls need that: their envelope is not a text. A framing that
    /// says no is refused for them.
    fn carries_any_bytes(&self) -> bool {
        true
    }

    /// What the transport has to carry: a stream of bytes, unless the framing says otherwise.
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
    /// A stream of bytes, whose pieces mean nothing.
    Stream,
    /// Messages that the operating system keeps apart. A decoder is then given one whole message at a
    /// time, and an encoder puts each of its messages with [`SendQueue::put_message`].
    ///
    /// A message over the framing's [limit](Framing::limit) is not read, and ends the connection.
    Messages,
}

/// Cuts the bytes of one connection into messages.
pub trait Decoder: Send {
    /// Takes the next message off the front of `input`, which holds what has arrived and was not
    /// consumed yet. `Ok(None)`: no whole message is there; call again when there are more bytes.
    /// What was consumed is removed from `input`, and nothing else is.
    ///
    /// A message takes at least one byte: one that takes none ends the connection, as there would be no
    /// end to them. What is not consumed counts as the beginning of a message
    /// ([`Limits::message_time`](crate::Limits::message_time)), unless [`finish`](Decoder::finish) says
    /// that the stream may end there.
    ///
    /// An error is final: the connection is closed with it, and `decode` is not called again.
    fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Bytes>, FramingError>;

    /// How many bytes are surely missing to the next message, 0 if that is not known. A hint for
    /// the size of the next read, asked after `decode` returned `None`.
    fn missing(&self) -> usize {
        0
    }

    /// Called when the stream has ended with `left` unconsumed: `Ok` if it may end there.
    fn finish(&self, left: &[u8]) -> Result<(), FramingError> {
        match left.len() {
            0 => Ok(()),
            have => Err(FramingError::CutOff { have }),
        }
    }

    /// Whether the peer has said what a stream of this framing begins with. A framing that begins with
    /// its first message has nothing to wait for.
    fn has_begun(&self) -> bool {
        true
    }

    /// The largest message that the peer has said it takes, where the framing lets it say so.
    fn peer_limit(&self) -> Option<usize> {
        None
    }
}

/// Puts messages into bytes for one connection.
pub trait Encoder: Send {
    /// Puts into `out` what a stream begins with, before the first message. Nothing by default.
    fn begin(&mut self, out: &mut SendQueue) {
        let _ = out;
    }

    /// Puts one message into `out`: `head` followed by `body`. The two come apart only so that a
    /// layer above can set an envelope before a body without copying the body. On an error nothing
    /// was put.
    fn encode<'a>(
        &mut self,
        head: &[u8],
        body: Body<'a>,
        out: &mut SendQueue<'a>,
    ) -> Result<(), FramingError>;

    /// Puts into `out` why this side closes, where the framing has words for it. Nothing by default.
    fn goodbye(&mut self, code: u16, text: &str, out: &mut SendQueue) {
        let _ = (code, text, out);
    }
}
