//! This crate's own framing: a preface, then frames of a header and a payload.

use super::decoder::NativeDecoder;
use super::header::{GOODBYE_TEXT_MAX, Header, Kind};
use super::preface::Preface;
use super::{Decoder, Encoder, Framing, FramingError, SendQueue};
use crate::body::Body;
use crate::layer::Layer;
use crate::text::cut;

/// The framing of `docs/PROTOCOL.md`; [`Framing`] has an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Native {
    layer: Layer,
    limit: usize,
}

impl Native {
    /// The framing for messages of up to `limit` bytes. A limit above `u32::MAX`, the largest on the wire,
    /// is reduced to it.
    pub fn new(layer: Layer, limit: usize) -> Native {
        Native { layer, limit: limit.min(u32::MAX as usize) }
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
