//! Makes streams of the fuzzer's bytes: each byte chooses the next element of the stream. Headers and prefaces
//! have correct checks unless a byte chooses otherwise: the fuzzer would never guess a correct check, and so
//! never reach the code behind it. Any number of bytes is enough: after the last byte, zeros are read.

use crate::framing_cases::pieces::{After, decode};
use crate::framing_cases::{Case, Damage, LIMIT};
use bytes::Bytes;
use msgpipe::framing::{Framing, FramingError, Layer, Native};

/// Makes a stream of `bytes` and checks its properties.
pub fn check(bytes: &[u8]) {
    let mut script = Script(bytes);
    match script.byte() % 4 {
        0 => script.case().check(),
        1 => script.damaged().check(),
        _ => script.stream().check(),
    }
}

/// The remaining bytes.
struct Script<'a>(&'a [u8]);

/// The bytes of a peer, mostly valid.
struct Stream {
    layer: Layer,
    limit: usize,
    wire: Vec<u8>,
    /// The sizes of the pieces in which the bytes arrive, used in turn.
    pieces: Vec<usize>,
}

impl Script<'_> {
    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((&byte, rest)) => {
                self.0 = rest;
                byte
            }
            None => 0,
        }
    }

    fn number(&mut self) -> u32 {
        u32::from_le_bytes([(); 4].map(|()| self.byte()))
    }

    /// Up to `most` of the remaining bytes.
    fn bytes(&mut self, most: usize) -> Vec<u8> {
        let (taken, rest) = self.0.split_at(usize::from(self.byte()).min(most).min(self.0.len()));
        self.0 = rest;
        taken.to_vec()
    }

    /// A size: 0, small, or at a boundary.
    fn size(&mut self) -> usize {
        const SPECIAL: [usize; 8] = [4079, 4095, 4096, 8192, 65_536, LIMIT - 1, LIMIT, LIMIT + 1];
        match usize::from(self.byte()) {
            few @ 0..=199 => few,
            other => SPECIAL[other % SPECIAL.len()],
        }
    }

    fn pieces(&mut self) -> Vec<usize> {
        let count = 1 + self.byte() % 6;
        let piece = |choice| match choice {
            0 => usize::MAX,
            few @ 1..=199 => few,
            more => 4000 + more,
        };
        (0..count).map(|_| piece(usize::from(self.byte()))).collect()
    }

    fn message(&mut self) -> Bytes {
        let (size, first) = (self.size(), self.byte());
        (0..size).map(|at| first.wrapping_add(at as u8)).collect()
    }

    fn case(&mut self) -> Case {
        let pieces = self.pieces();
        let count = self.byte() % 8;
        Case { messages: (0..count).map(|_| self.message()).collect(), pieces, damage: None }
    }

    /// Messages that are damaged on their way. A damage that has the right check, as the fuzzer finds
    /// one, is none for the framing: so what must hold is what holds of any stream.
    fn damaged(&mut self) -> Stream {
        let damage = self.damage();
        let case = self.case();
        let (wire, _) = damage.apply(&case.encode());
        Stream { layer: Layer::Messages, limit: LIMIT, wire, pieces: case.pieces }
    }

    fn damage(&mut self) -> Damage {
        let at = self.number() as usize;
        match self.byte() % 6 {
            0 => Damage::Flip(at, self.byte() % 8),
            1 => Damage::Overwrite(at, [(); 8].map(|()| self.byte())),
            2 => Damage::Cut(at),
            3 => Damage::Remove(at, 1 + usize::from(self.byte() % 99)),
            4 => Damage::Repeat(at, 1 + usize::from(self.byte() % 99)),
            _ => Damage::Insert(at, self.bytes(20)),
        }
    }

    fn stream(&mut self) -> Stream {
        let layer = if self.byte() % 2 == 0 { Layer::Messages } else { Layer::Calls };
        let limit = [LIMIT, 0, 1, 30, 600, u32::MAX as usize][usize::from(self.byte() % 6)];
        let pieces = self.pieces();
        let mut wire = self.preface(layer);
        while !self.0.is_empty() {
            self.frame(limit, &mut wire);
        }
        Stream { layer, limit, wire, pieces }
    }

    /// A preface: valid, with any fields, or any bytes.
    fn preface(&mut self, layer: Layer) -> Vec<u8> {
        let choice = self.byte();
        let mut preface = b"\xE5msg\x01\x01".to_vec();
        preface.push(if layer == Layer::Messages { 0 } else { 1 });
        preface.push(0);
        match choice % 8 {
            0 => return self.bytes(24),
            1 => {
                preface[4] = self.byte();
                preface[5] = self.byte();
            }
            2 => preface[6] = self.byte(),
            // A later version may use what is zero in this one.
            3 => preface[7] = self.byte(),
            _ => {}
        }
        preface.extend(self.number().to_le_bytes());
        preface.extend([0, 0]);
        self.add_check(preface)
    }

    fn frame(&mut self, limit: usize, wire: &mut Vec<u8>) {
        let choice = self.byte();
        let header = |len: u32, kind: u8, zero: u8| {
            let mut header = len.to_le_bytes().to_vec();
            header.extend([kind, zero]);
            header
        };
        match choice % 8 {
            0 => wire.extend(self.bytes(40)),
            1 => {
                let header = header(self.number(), self.byte(), self.byte());
                wire.extend(self.add_check(header));
            }
            2 => {
                let text = self.bytes(255);
                let text = text.repeat(1 + usize::from(self.byte() % 4));
                wire.extend(self.add_check(header(text.len() as u32, 1, 0)));
                wire.extend(text);
            }
            // At the limit, one below and one above.
            3 if limit <= LIMIT => {
                let size = (limit + usize::from(self.byte() % 3)).saturating_sub(1);
                wire.extend(self.add_check(header(size as u32, 0, 0)));
                wire.resize(wire.len() + size, choice);
            }
            _ => {
                let message = self.message();
                wire.extend(self.add_check(header(message.len() as u32, 0, 0)));
                wire.extend(message);
            }
        }
    }

    /// Adds the check of what is there; one time of sixteen a wrong one.
    fn add_check(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        let mut check = crc16(&bytes);
        if self.byte() % 16 == 15 {
            check ^= 1 << (self.byte() % 16);
        }
        bytes.extend(check.to_le_bytes());
        bytes
    }
}

impl Stream {
    /// Decodes it in pieces and at once, and compares both with the protocol page.
    fn check(&self) {
        let expected = self.expected();
        for pieces in [&self.pieces[..], &[usize::MAX]] {
            let (messages, end) = self.decode(pieces);
            assert_eq!(messages, expected.0);
            match (&end, &expected.1) {
                // Of what is not this protocol, as much is told as there was when that was seen.
                (Err(FramingError::NotOurs { first }), Err(FramingError::NotOurs { .. })) => {
                    assert!(self.wire.starts_with(first));
                }
                (end, expected) => assert_eq!(end, expected),
            }
        }
    }

    fn decode(&self, pieces: &[usize]) -> (Vec<Bytes>, Result<(), FramingError>) {
        let decoder = Native::new(self.layer, self.limit).decoder();
        decode(decoder, &self.wire, pieces, |decoder, after| match after {
            After::Message => assert!(decoder.has_begun() && decoder.peer_limit().is_some()),
            After::Piece => assert!(decoder.missing() > 0),
        })
    }

    /// The expected messages, computed in the simplest way.
    fn expected(&self) -> (Vec<Bytes>, Result<(), FramingError>) {
        let mut messages = Vec::new();
        let end = self.read(&mut messages);
        (messages, end)
    }

    fn read(&self, messages: &mut Vec<Bytes>) -> Result<(), FramingError> {
        let cut_off = |have: usize| match have {
            0 => Ok(()),
            have => Err(FramingError::CutOff { have }),
        };
        let wire = &self.wire[..];
        if !wire.iter().zip(b"\xE5msg").all(|(is, should)| is == should) {
            return Err(FramingError::NotOurs { first: Vec::new() });
        }
        let Some((preface, mut rest)) = wire.split_at_checked(16) else {
            return cut_off(wire.len());
        };
        let (low, high) = (preface[4], preface[5]);
        if !(low..=high).contains(&1) {
            return Err(FramingError::Version { theirs: low..=high, ours: 1..=1 });
        }
        if crc16(&preface[..14]).to_le_bytes() != preface[14..] {
            return Err(FramingError::Damaged { what: "preface", bytes: preface.to_vec() });
        }
        if preface[6] != if self.layer == Layer::Messages { 0 } else { 1 } {
            return Err(FramingError::WrongLayer { theirs: preface[6], ours: self.layer });
        }
        while let Some((header, behind)) = rest.split_at_checked(8) {
            if crc16(&header[..6]).to_le_bytes() != header[6..] || header[5] != 0 {
                return Err(FramingError::Damaged { what: "header", bytes: header.to_vec() });
            }
            let limit = match header[4] {
                0 => self.limit,
                1 => 514,
                kind => return Err(FramingError::UnknownKind { kind }),
            };
            let size = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
            if size > limit {
                return Err(FramingError::TooLarge { size: size as u64, limit });
            }
            let Some((payload, behind)) = behind.split_at_checked(size) else {
                return cut_off(rest.len());
            };
            rest = behind;
            match (header[4], payload) {
                (0, payload) => messages.push(Bytes::copy_from_slice(payload)),
                (_, [low, high, text @ ..]) => {
                    let text = String::from_utf8_lossy(text).into_owned();
                    return Err(FramingError::Goodbye {
                        code: u16::from_le_bytes([*low, *high]),
                        text,
                    });
                }
                // Too short for a code: all bytes are the text.
                (_, text) => {
                    let text = String::from_utf8_lossy(text).into_owned();
                    return Err(FramingError::Goodbye { code: 1, text });
                }
            }
        }
        cut_off(rest.len())
    }
}

/// CRC-16/CCITT-FALSE, bit by bit.
fn crc16(bytes: &[u8]) -> u16 {
    let bits = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1));
    bits.fold(0xFFFF, |crc, bit| {
        let out = crc & 0x8000 != 0;
        (crc << 1) ^ if out != bit { 0x1021 } else { 0 }
    })
}
