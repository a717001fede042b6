//! This crate's own framing: a preface, then frames of a header and a payload.

use super::decoder::NativeDecoder;
use super::header::{Header, Kind};
use super::preface::Preface;
use super::{Decoder, Encoder, Framing, FramingError, SendQueue};
use crate::body::Body;
use crate::text::cut;

/// The bytes that the calls layer sets before each request and reply.
pub(crate) const ENVELOPE_LEN: usize = 8;

/// What the messages of a connection are. Both sides say it in their preface, so that a program
/// that speaks the other one is told so instead of misreading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layer {
    /// Messages that mean whatever the application makes of them
    /// ([`MessageServer`](crate::MessageServer), [`MessageClient`](crate::MessageClient)).
    Messages,
    /// Requests and replies ([`Server`](crate::Server), [`Client`](crate::Client)).
    Calls,
}

impl Layer {
    pub(super) fn number(self) -> u8 {
        match self {
            Layer::Messages => 0,
            Layer::Calls => 1,
        }
    }
}

/// The framing of `docs/PROTOCOL.md`; see [`Framing`] for it in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Native {
    layer: Layer,
    limit: usize,
}

impl Native {
    /// The framing for messages of up to `limit` bytes; of a larger limit than the wire can say,
    /// `u32::MAX`, nothing is lost but the excess.
    pub fn new(layer: Layer, limit: usize) -> Native {
        Native { layer, limit: limit.min(u32::MAX as usize) }
    }

    /// The framing for calls whose requests and replies have up to `message` bytes: their envelope
    /// comes on top.
    ///
    /// ```
    /// use msgpipe::framing::{Layer, Native};
    /// assert_eq!(Native::for_calls(1000), Native::new(Layer::Calls, 1008));
    /// ```
    pub fn for_calls(message: usize) -> Native {
        Native::new(Layer::Calls, message.saturating_add(ENVELOPE_LEN))
    }

    /// The largest message in bytes.
    pub fn limit(&self) -> usize {
        self.limit
    }
}

impl Framing for Native {
    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(NativeDecoder::new(self.layer, self.limit))
    }

    fn encoder(&self) -> Box<dyn Encoder> {
        Box::new(*self)
    }

    fn limit(&self) -> usize {
        self.limit
    }
}

/// The longest text of a goodbye that is sent or read, in bytes: a sentence or two.
pub(super) const GOODBYE_TEXT_MAX: usize = 512;

impl Encoder for Native {
    fn begin(&mut self, out: &mut SendQueue) {
        out.put_slice(&Preface::ours(self.layer, self.limit).encode());
    }

    fn encode<'a>(
        &mut self,
        head: &[u8],
        body: Body<'a>,
        out: &mut SendQueue<'a>,
    ) -> Result<(), FramingError> {
        let size = head.len() + body.len();
        let len = match u32::try_from(size) {
            Ok(len) if size <= self.limit => len,
            _ => {
                return Err(FramingError::TooLarge { size: size as u64, limit: self.limit });
            }
        };
        out.put_slice(&Header { len, kind: Kind::Message }.encode());
        out.put_slice(head);
        out.put_bytes(body);
        Ok(())
    }

    fn goodbye(&mut self, code: u16, text: &str, out: &mut SendQueue) {
        let text = cut(text, GOODBYE_TEXT_MAX);
        let len = (2 + text.len()) as u32;
        out.put_slice(&Header { len, kind: Kind::Goodbye }.encode());
        out.put_slice(&code.to_le_bytes());
        out.put_slice(text.as_bytes());
    }
}
