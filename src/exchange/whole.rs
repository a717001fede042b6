//! Frames with a whole message that is the only one of its direction, without metadata. Most frames are such: they
//! are read and written without a [`Frame`].

use super::frame::{ENDS_MESSAGE, ENDS_STREAM, ENVELOPE_LEN, Frame, Kind};
use bytes::Bytes;

const REQUEST: u8 = 1;
const DATA: u8 = 2;

/// What such a frame says besides its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whole {
    /// `time`: the milliseconds that its sender waits, 0 for no limit.
    Request {
        id: u32,
        method: u32,
        time: u32,
    },
    Reply {
        id: u32,
    },
}

impl Whole {
    /// What the frame in `message` says, if it is such a frame.
    pub fn read(message: &[u8]) -> Option<Whole> {
        let envelope: &[u8; ENVELOPE_LEN] = message.first_chunk()?;
        let number = |at: usize| {
            u32::from_le_bytes([envelope[at], envelope[at + 1], envelope[at + 2], envelope[at + 3]])
        };
        let (id, method, time) = (number(4), number(8), number(12));
        match [envelope[0], envelope[1], envelope[2], envelope[3]] {
            [REQUEST, ENDS, 0, 0] => Some(Whole::Request { id, method, time }),
            [DATA, ENDS, 0, 0] if method == 0 && time == 0 => Some(Whole::Reply { id }),
            _ => None,
        }
    }

    /// The frame's bytes before the message.
    pub fn head(self) -> [u8; ENVELOPE_LEN] {
        let (kind, id, method, time) = match self {
            Whole::Request { id, method, time } => (REQUEST, id, method, time),
            Whole::Reply { id } => (DATA, id, 0, 0),
        };
        let mut head = [0; ENVELOPE_LEN];
        (head[0], head[1]) = (kind, ENDS);
        head[4..8].copy_from_slice(&id.to_le_bytes());
        head[8..12].copy_from_slice(&method.to_le_bytes());
        head[12..].copy_from_slice(&time.to_le_bytes());
        head
    }

    /// The frame with its message.
    pub fn into_frame(self, body: Bytes) -> Frame {
        let (kind, id) = match self {
            Whole::Request { id, method, time } => (Kind::Request { method, time }, id),
            Whole::Reply { id } => (Kind::Data { method: 0 }, id),
        };
        Frame { ends_message: true, ends_stream: true, body, ..Frame::new(kind, id) }
    }
}

/// The flags of such a frame: all of them that it has.
const ENDS: u8 = ENDS_MESSAGE | ENDS_STREAM;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wholes() -> impl Strategy<Value = Whole> {
        prop_oneof![
            any::<[u32; 3]>().prop_map(|[id, method, time]| Whole::Request { id, method, time }),
            any::<u32>().prop_map(|id| Whole::Reply { id }),
        ]
    }

    proptest! {
        #[test]
        fn it_is_written_as_any_frame_and_read_back(whole in wholes()) {
            let head = whole.into_frame(Bytes::new()).head();
            prop_assert_eq!(head.as_slice(), &whole.head()[..]);
            prop_assert_eq!(Whole::read(&whole.head()), Some(whole));
        }

        /// The decoder of all frames finds the same ones, and the same in them.
        #[test]
        fn no_other_frame_is_read_as_such_and_none_is_missed(
            (kind, flags, code) in (1..4_u8, 0..16_u8, 0..2_u16),
            rest in prop::collection::vec(prop_oneof![20 => Just(0_u8), 1 => any::<u8>()], 0..20),
        ) {
            let bytes = [&[kind, flags][..], &code.to_le_bytes()[..], &rest[..]].concat();
            let bytes = Bytes::from(bytes);
            let is_such = |frame: &Frame| {
                let carries = matches!(frame.kind, Kind::Request { .. } | Kind::Data { method: 0 })
                    && frame.metadata.is_empty();
                carries && frame.ends_message && frame.ends_stream && frame.total.is_none()
            };
            let whole = Whole::read(&bytes).map(|it| it.into_frame(bytes.slice(ENVELOPE_LEN..)));
            prop_assert_eq!(whole, Frame::decode(bytes).ok().filter(is_such));
        }
    }
}
