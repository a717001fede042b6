//! The first bytes that each side sends (`docs/PROTOCOL.md`, "Preface"). Neither side waits for the other's,
//! so it costs no round trip.

use super::FramingError;
use super::header::crc16;
use crate::layer::Layer;
use std::ops::RangeInclusive;

/// Bytes of a preface on the wire.
pub(super) const PREFACE_LEN: usize = 16;

/// The first bytes of every stream of this protocol.
pub(super) const MAGIC: [u8; 4] = *b"\xE5msg";

/// The versions of the protocol that this code speaks.
pub(super) const VERSIONS: RangeInclusive<u8> = 1..=1;

/// What a side announces: its versions, its layer and its limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Preface {
    pub versions: RangeInclusive<u8>,
    /// The number of the layer. Not a [`Layer`], since a peer may send an unknown one.
    pub layer: u8,
    /// The largest message that the side accepts, in bytes.
    pub limit: u32,
}

impl Preface {
    pub fn ours(layer: Layer, limit: usize) -> Preface {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        Preface { versions: VERSIONS, layer: layer.number(), limit }
    }

    pub fn encode(&self) -> [u8; PREFACE_LEN] {
        let mut bytes = [0; PREFACE_LEN];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4] = *self.versions.start();
        bytes[5] = *self.versions.end();
        bytes[6] = self.layer;
        bytes[8..12].copy_from_slice(&self.limit.to_le_bytes());
        let check = crc16(&bytes[..14]);
        bytes[14..].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    /// Checks `arrived`, the beginning of a stream, as far as it has arrived. A peer of another protocol that
    /// sends three bytes and waits is closed at once.
    pub fn check_magic(arrived: &[u8]) -> Result<(), FramingError> {
        let seen = arrived.len().min(MAGIC.len());
        if arrived[..seen] == MAGIC[..seen] {
            return Ok(());
        }
        let first = arrived[..arrived.len().min(PREFACE_LEN)].to_vec();
        Err(FramingError::NotOurs { first })
    }

    pub fn decode(bytes: [u8; PREFACE_LEN]) -> Result<Preface, FramingError> {
        Preface::check_magic(&bytes)?;
        // The versions come before the check: a later version may use another check.
        let (low, high) = (bytes[4], bytes[5]);
        if low > *VERSIONS.end() || high < *VERSIONS.start() || low > high {
            return Err(FramingError::Version { theirs: low..=high, ours: VERSIONS });
        }
        if u16::from_le_bytes([bytes[14], bytes[15]]) != crc16(&bytes[..14]) {
            return Err(FramingError::Damaged { what: "preface", bytes: bytes.to_vec() });
        }
        Ok(Preface {
            versions: low..=high,
            layer: bytes[6],
            limit: u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours() -> Preface {
        Preface::ours(Layer::Calls, 1 << 20)
    }

    #[test]
    fn a_preface_comes_back() {
        assert_eq!(Preface::decode(ours().encode()), Ok(ours()));
    }

    #[test]
    fn a_wrong_first_byte_is_enough_to_refuse() {
        assert!(Preface::check_magic(b"").is_ok());
        assert!(Preface::check_magic(&MAGIC[..3]).is_ok());
        let refused = Preface::check_magic(b"G").unwrap_err();
        assert_eq!(refused, FramingError::NotOurs { first: b"G".to_vec() });
    }

    #[test]
    fn versions_are_compared_as_ranges() {
        for (versions, fits) in [(0..=0, false), (0..=1, true), (1..=9, true), (2..=9, false)] {
            let preface = Preface { versions: versions.clone(), ..ours() };
            let decoded = Preface::decode(preface.encode());
            assert_eq!(decoded.is_ok(), fits, "{versions:?}");
            if !fits {
                let error = FramingError::Version { theirs: versions, ours: VERSIONS };
                assert_eq!(decoded, Err(error));
            }
        }
    }

    #[test]
    fn a_changed_bit_is_found() {
        let good = ours().encode();
        for bit in 0..PREFACE_LEN * 8 {
            let mut bytes = good;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Preface::decode(bytes).is_err(), "bit {bit}");
        }
    }
}
