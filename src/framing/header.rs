//! The eight bytes before each frame's payload (`docs/PROTOCOL.md`, "Frames").

use super::FramingError;

/// Bytes of a header on the wire.
pub(super) const HEADER_LEN: usize = 8;

/// The longest text of a goodbye that is sent or read, in bytes: a sentence or two.
pub(super) const GOODBYE_TEXT_MAX: usize = 512;

/// What a frame's payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A message of the layer above.
    Message,
    /// The sender closes: a code (u16), then a text.
    Goodbye,
}

/// A header that has been checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Bytes of payload that follow.
    pub len: u32,
    pub kind: Kind,
}

impl Header {
    pub fn encode(self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..4].copy_from_slice(&self.len.to_le_bytes());
        bytes[4] = match self.kind {
            Kind::Message => 0,
            Kind::Goodbye => 1,
        };
        let check = crc16(&bytes[..6]);
        bytes[6..].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    pub fn decode(bytes: [u8; HEADER_LEN]) -> Result<Header, FramingError> {
        let check = u16::from_le_bytes([bytes[6], bytes[7]]);
        if check != crc16(&bytes[..6]) || bytes[5] != 0 {
            return Err(FramingError::Damaged { what: "header", bytes: bytes.to_vec() });
        }
        let kind = match bytes[4] {
            0 => Kind::Message,
            1 => Kind::Goodbye,
            kind => return Err(FramingError::UnknownKind { kind }),
        };
        Ok(Header { len: u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]), kind })
    }
}

/// CRC-16/IBM-3740 (polynomial 0x1021, initial value 0xFFFF, neither reflected nor inverted), in Python
/// `binascii.crc_hqx(data, 0xFFFF)`. It detects every burst of up to 16 wrong bits, and a header of zeros
/// does not pass.
pub(super) fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xFFFF, |crc, &byte| (crc << 8) ^ CRC16[usize::from((crc >> 8) as u8 ^ byte)])
}

const CRC16: [u16; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = (index as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_is_the_catalogued_one() {
        assert_eq!(crc16(b"123456789"), 0x29B1);
    }

    #[test]
    fn every_header_comes_back() {
        for kind in [Kind::Message, Kind::Goodbye] {
            for len in [0, 1, 255, 256, 65_536, u32::MAX - 1, u32::MAX] {
                let header = Header { len, kind };
                assert_eq!(Header::decode(header.encode()), Ok(header));
            }
        }
    }

    #[test]
    fn every_change_of_one_or_two_bits_is_found() {
        let good = Header { len: 4096, kind: Kind::Message }.encode();
        for first in 0..64 {
            for second in first..64 {
                let mut bytes = good;
                bytes[first / 8] ^= 1 << (first % 8);
                if second != first {
                    bytes[second / 8] ^= 1 << (second % 8);
                }
                assert!(Header::decode(bytes).is_err(), "bits {first} and {second}");
            }
        }
    }

    #[test]
    fn zeros_are_no_header() {
        assert!(Header::decode([0; 8]).is_err());
    }
}
