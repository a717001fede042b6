//! The native framing's decoder.

use super::header::{GOODBYE_TEXT_MAX, HEADER_LEN, Header, Kind};
use super::preface::{PREFACE_LEN, Preface};
use super::{Decoder, FramingError};
use crate::layer::Layer;
use bytes::{Buf, Bytes, BytesMut};

/// The next part of the stream. The decoder keeps no bytes: they stay in the caller's buffer until a whole
/// part has arrived.
#[derive(Debug)]
enum State {
    Preface,
    Header,
    Payload(Header),
}

#[derive(Debug)]
pub(super) struct NativeDecoder {
    state: State,
    layer: Layer,
    limit: usize,
    peer_limit: Option<usize>,
    /// See [`Decoder::missing`]; never more than the rest of one frame.
    missing: usize,
}

impl NativeDecoder {
    pub fn new(layer: Layer, limit: usize) -> NativeDecoder {
        NativeDecoder {
            state: State::Preface,
            layer,
            limit,
            peer_limit: None,
            missing: PREFACE_LEN,
        }
    }

    /// Takes `N` bytes off the input, if all of them have arrived.
    fn take<const N: usize>(&mut self, input: &mut BytesMut) -> Option<[u8; N]> {
        let part = input.first_chunk::<N>().copied();
        match part {
            Some(_) => input.advance(N),
            None => self.missing = N - input.len(),
        }
        part
    }

    fn read_preface(&mut self, bytes: [u8; PREFACE_LEN]) -> Result<(), FramingError> {
        let preface = Preface::decode(bytes)?;
        if preface.layer != self.layer.number() {
            return Err(FramingError::WrongLayer { theirs: preface.layer, ours: self.layer });
        }
        self.peer_limit = Some(preface.limit as usize);
        self.state = State::Header;
        Ok(())
    }

    /// Checks the length in a header against the limit, before a byte of its payload is stored.
    fn read_header(&mut self, bytes: [u8; HEADER_LEN]) -> Result<(), FramingError> {
        let header = Header::decode(bytes)?;
        let limit = match header.kind {
            Kind::Message => self.limit,
            Kind::Goodbye => 2 + GOODBYE_TEXT_MAX,
        };
        if header.len as usize > limit {
            return Err(FramingError::TooLarge { size: header.len.into(), limit });
        }
        self.state = State::Payload(header);
        Ok(())
    }
}

impl Decoder for NativeDecoder {
    fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Bytes>, FramingError> {
        loop {
            match self.state {
                State::Preface => {
                    Preface::check_magic(input)?;
                    let Some(bytes) = self.take(input) else {
                        return Ok(None);
                    };
                    self.read_preface(bytes)?;
                }
                State::Header => {
                    let Some(bytes) = self.take(input) else {
                        return Ok(None);
                    };
                    self.read_header(bytes)?;
                }
                State::Payload(header) => {
                    let len = header.len as usize;
                    if input.len() < len {
                        self.missing = len - input.len();
                        return Ok(None);
                    }
                    let payload = input.split_to(len).freeze();
                    self.state = State::Header;
                    return match header.kind {
                        Kind::Message => Ok(Some(payload)),
                        Kind::Goodbye => Err(goodbye(&payload)),
                    };
                }
            }
        }
    }

    fn missing(&self) -> usize {
        self.missing
    }

    fn finish(&self, left: &[u8]) -> Result<(), FramingError> {
        let have = match self.state {
            State::Preface | State::Header => left.len(),
            State::Payload(_) => HEADER_LEN + left.len(),
        };
        if have == 0 { Ok(()) } else { Err(FramingError::CutOff { have }) }
    }

    fn has_begun(&self) -> bool {
        !matches!(self.state, State::Preface)
    }

    fn peer_limit(&self) -> Option<usize> {
        self.peer_limit
    }
}

/// Decodes the payload of a goodbye. One that is too short for its code counts as `PROTOCOL`.
fn goodbye(payload: &[u8]) -> FramingError {
    let (code, text) = match payload.split_first_chunk::<2>() {
        Some((code, text)) => (u16::from_le_bytes(*code), text),
        None => (super::GoodbyeCode::PROTOCOL, payload),
    };
    FramingError::Goodbye { code, text: String::from_utf8_lossy(text).into_owned() }
}
