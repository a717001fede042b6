//! The eight bytes at the front of each message of the calls layer.

use bytes::{Buf, Bytes};

/// Bytes of an envelope on the wire.
pub(crate) const ENVELOPE_LEN: usize = 8;

/// The kind of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Asks for a reply with the same id.
    Request,
    /// The reply.
    Reply,
    /// An error reply. Its body is the text.
    Error { code: u16 },
}

/// The first eight bytes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Envelope {
    pub kind: Kind,
    pub id: u32,
}

/// Why an envelope is invalid: its sender broke the protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EnvelopeError {
    #[error("a message of {len} bytes, too short for its envelope of {ENVELOPE_LEN}")]
    Short { len: usize },
    #[error("a message of the unknown kind {kind}")]
    UnknownKind { kind: u8 },
    #[error("an envelope with {bytes:02x?} in bytes that must be zero")]
    Reserved { bytes: [u8; 3] },
}

impl Envelope {
    pub fn encode(self) -> [u8; ENVELOPE_LEN] {
        let (kind, code) = match self.kind {
            Kind::Request => (1, 0),
            Kind::Reply => (2, 0),
            Kind::Error { code } => (3, code),
        };
        let mut bytes = [0; ENVELOPE_LEN];
        bytes[0] = kind;
        bytes[2..4].copy_from_slice(&code.to_le_bytes());
        bytes[4..].copy_from_slice(&self.id.to_le_bytes());
        bytes
    }

    /// Takes the envelope off the front of a message; the body remains.
    pub fn decode(message: &mut Bytes) -> Result<Envelope, EnvelopeError> {
        let Some(bytes) = message.first_chunk::<ENVELOPE_LEN>().copied() else {
            return Err(EnvelopeError::Short { len: message.len() });
        };
        let code = u16::from_le_bytes([bytes[2], bytes[3]]);
        let kind = match bytes[0] {
            1 => Kind::Request,
            2 => Kind::Reply,
            3 => Kind::Error { code },
            kind => return Err(EnvelopeError::UnknownKind { kind }),
        };
        let reserved = !matches!(kind, Kind::Error { .. }) && code != 0;
        if bytes[1] != 0 || reserved {
            return Err(EnvelopeError::Reserved { bytes: [bytes[1], bytes[2], bytes[3]] });
        }
        message.advance(ENVELOPE_LEN);
        Ok(Envelope { kind, id: u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kinds() -> impl Strategy<Value = Kind> {
        prop_oneof![
            Just(Kind::Request),
            Just(Kind::Reply),
            any::<u16>().prop_map(|code| Kind::Error { code })
        ]
    }

    proptest! {
        #[test]
        fn an_envelope_comes_back_and_leaves_the_body(
            kind in kinds(), id: u32, body in prop::collection::vec(any::<u8>(), 0..32),
        ) {
            let envelope = Envelope { kind, id };
            let mut message = Bytes::from([&envelope.encode()[..], &body].concat());
            prop_assert_eq!(Envelope::decode(&mut message), Ok(envelope));
            prop_assert_eq!(&message[..], &body[..]);
        }

        #[test]
        fn any_bytes_are_an_envelope_or_a_named_error(bytes: [u8; ENVELOPE_LEN]) {
            let mut message = Bytes::copy_from_slice(&bytes);
            if let Ok(envelope) = Envelope::decode(&mut message) {
                prop_assert_eq!(envelope.encode(), bytes);
            }
        }
    }

    #[test]
    fn a_message_shorter_than_an_envelope_is_refused() {
        for len in 0..=ENVELOPE_LEN {
            let bytes = &Envelope { kind: Kind::Request, id: 1 }.encode()[..len];
            let decoded = Envelope::decode(&mut Bytes::copy_from_slice(bytes));
            match len {
                ENVELOPE_LEN => assert!(decoded.is_ok()),
                len => assert_eq!(decoded, Err(EnvelopeError::Short { len })),
            }
        }
    }
}
