//! The messages of the calls layer: an envelope of 16 bytes, the fields that its flags announce, and a body
//! (`docs/PROTOCOL.md`, "Calls").

use super::violation::Broken;
use bytes::{Buf, BufMut, Bytes};

/// Bytes of an envelope on the wire.
pub const ENVELOPE_LEN: usize = 16;

/// The most bytes of metadata of one message. Metadata are a few short values, as a trace has; the bound is
/// that of a page, and far below the headers that HTTP servers take (8 KiB and more).
pub const METADATA_MAX: usize = 4096;

/// The most bytes of a text and details of an error. An error needs no credit, so it must be small.
pub const ERROR_MAX: usize = 16 * 1024;

/// The most bytes before the body: the envelope, the total, the metadata and their length.
pub const HEAD_MAX: usize = ENVELOPE_LEN + 4 + 2 + METADATA_MAX;

/// Kinds from this number on may be ignored by who does not know them; others end the connection.
const IGNORABLE: u8 = 0x80;

pub(super) const ENDS_MESSAGE: u8 = 1;
pub(super) const ENDS_STREAM: u8 = 2;
const HAS_TOTAL: u8 = 4;
const HAS_METADATA: u8 = 8;

/// The kind of a frame, with the fields that only this kind has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// Opens a call. `time`: the milliseconds that its sender waits, 0 for no limit.
    Request { method: u32, time: u32 },
    /// A message or a piece of one. `method`: of a notification, 0 in calls.
    Data { method: u32 },
    /// Ends the reply's direction with an error, after the messages before it.
    Error { code: u16 },
    /// The sender's direction ends here, incomplete.
    Abort { code: u16 },
    /// The sender takes no more of the other's direction.
    Stop,
    /// Who opened the call does not need it any more.
    Cancel,
    /// The receiver may send so much in this call.
    Credit { limit: u64 },
    /// The receiver may send so much on the connection.
    ConnectionCredit { limit: u64 },
    /// There is room for the message that was announced in this call.
    Admit,
    /// The sender begins no more calls of the receiver.
    Drain,
    /// What the sender announces; the first frame of each direction.
    Settings,
    /// A kind of a later version that may be ignored.
    Ignorable { kind: u8 },
}

/// A frame of the calls layer, to be sent as one message of the layer below.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Frame {
    pub(crate) kind: Kind,
    pub(crate) id: u32,
    /// The last piece of a message.
    pub(crate) ends_message: bool,
    /// The last frame of the sender's direction of the call.
    pub(crate) ends_stream: bool,
    /// The size of a message of several pieces, with the first of them.
    pub(crate) total: Option<u32>,
    /// Key and value pairs, with the first piece of a message.
    pub(crate) metadata: Bytes,
    pub(crate) body: Bytes,
}

/// The bytes of a frame before its metadata.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    bytes: [u8; ENVELOPE_LEN + 6],
    len: usize,
}

impl Head {
    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }
}

impl Frame {
    /// A frame without a body.
    pub(crate) fn new(kind: Kind, id: u32) -> Frame {
        Frame {
            kind,
            id,
            ends_message: false,
            ends_stream: false,
            total: None,
            metadata: Bytes::new(),
            body: Bytes::new(),
        }
    }

    /// The bytes before the body, but for the metadata themselves.
    pub fn head(&self) -> Head {
        let mut head = Head { bytes: [0; ENVELOPE_LEN + 6], len: ENVELOPE_LEN };
        let (kind, code, first, second) = self.kind.fields();
        let flag = |is: bool, flag: u8| if is { flag } else { 0 };
        let mut bytes = &mut head.bytes[..];
        bytes.put_u8(kind);
        bytes.put_u8(
            flag(self.ends_message, ENDS_MESSAGE)
                | flag(self.ends_stream, ENDS_STREAM)
                | flag(self.total.is_some(), HAS_TOTAL)
                | flag(!self.metadata.is_empty(), HAS_METADATA),
        );
        bytes.put_u16_le(code);
        bytes.put_u32_le(self.id);
        bytes.put_u32_le(first);
        bytes.put_u32_le(second);
        if let Some(total) = self.total {
            head.push(&total.to_le_bytes());
        }
        if !self.metadata.is_empty() {
            head.push(&(self.metadata.len() as u16).to_le_bytes());
        }
        head
    }

    /// The whole frame as bytes.
    pub fn to_bytes(&self) -> Bytes {
        [self.head().as_slice(), &self.metadata, &self.body].concat().into()
    }

    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// The last piece of a message.
    pub(crate) fn ends_message(&self) -> bool {
        self.ends_message
    }

    /// The metadata, which follow the head.
    pub fn metadata(&self) -> &Bytes {
        &self.metadata
    }

    /// The body, which follows the metadata.
    pub fn into_body(self) -> Bytes {
        self.body
    }

    /// The number of bytes of the whole frame.
    pub fn size(&self) -> usize {
        self.head().len + self.metadata.len() + self.body.len()
    }

    /// Reads a message of the layer below.
    pub(crate) fn decode(mut message: Bytes) -> Result<Frame, Broken> {
        let Some(envelope) = message.first_chunk::<ENVELOPE_LEN>().copied() else {
            return Err(Broken::Short { len: message.len() });
        };
        message.advance(ENVELOPE_LEN);
        let mut rest = &envelope[..];
        let (kind, flags, code) = (rest.get_u8(), rest.get_u8(), rest.get_u16_le());
        let (id, first, second) = (rest.get_u32_le(), rest.get_u32_le(), rest.get_u32_le());
        let kind = Kind::of(kind, code, first, second)?;
        if matches!(kind, Kind::Ignorable { .. }) {
            return Ok(Frame { body: message, ..Frame::new(kind, id) });
        }
        if flags & !kind.flags() != 0 {
            return Err(Broken::Flags { kind: kind.number(), flags });
        }
        let mut frame = Frame::new(kind, id);
        frame.ends_message = flags & ENDS_MESSAGE != 0;
        frame.ends_stream = flags & ENDS_STREAM != 0;
        if flags & HAS_TOTAL != 0 {
            frame.total = Some(message.try_get_u32_le().map_err(|_| Broken::ShortFields)?);
        }
        if flags & HAS_METADATA != 0 {
            let len = message.try_get_u16_le().map_err(|_| Broken::ShortFields)?;
            let len = usize::from(len);
            if len == 0 || len > METADATA_MAX {
                return Err(Broken::MetadataSize { len });
            }
            if len > message.len() {
                return Err(Broken::ShortFields);
            }
            frame.metadata = message.split_to(len);
        }
        frame.body = message;
        frame.check_body()?;
        Ok(frame)
    }

    /// A frame of this kind has another id.
    pub(crate) fn wrong_id(&self) -> Broken {
        Broken::WrongId { kind: self.kind.number(), id: self.id }
    }

    /// A frame of this kind comes from the other side.
    pub(crate) fn wrong_role(&self) -> Broken {
        Broken::WrongRole { kind: self.kind.number(), id: self.id }
    }

    /// Checks the body of a frame that carries no message.
    fn check_body(&self) -> Result<(), Broken> {
        let most = match self.kind {
            Kind::Error { .. } => ERROR_MAX + 2,
            Kind::Request { .. } | Kind::Data { .. } | Kind::Settings => return Ok(()),
            _ => 0,
        };
        match self.body.len() {
            len if len <= most => Ok(()),
            len => Err(Broken::BodySize { kind: self.kind.number(), len }),
        }
    }
}

impl Kind {
    pub fn number(self) -> u8 {
        self.fields().0
    }

    /// The number, the code, and the two numbers of the envelope.
    fn fields(self) -> (u8, u16, u32, u32) {
        let halves = |limit: u64| (limit as u32, (limit >> 32) as u32);
        match self {
            Kind::Request { method, time } => (1, 0, method, time),
            Kind::Data { method } => (2, 0, method, 0),
            Kind::Error { code } => (3, code, 0, 0),
            Kind::Abort { code } => (4, code, 0, 0),
            Kind::Stop => (5, 0, 0, 0),
            Kind::Cancel => (6, 0, 0, 0),
            Kind::Credit { limit } => (7, 0, halves(limit).0, halves(limit).1),
            Kind::ConnectionCredit { limit } => (8, 0, halves(limit).0, halves(limit).1),
            Kind::Admit => (9, 0, 0, 0),
            Kind::Drain => (10, 0, 0, 0),
            Kind::Settings => (11, 0, 0, 0),
            Kind::Ignorable { kind } => (kind, 0, 0, 0),
        }
    }

    fn of(number: u8, code: u16, first: u32, second: u32) -> Result<Kind, Broken> {
        let limit = u64::from(first) | u64::from(second) << 32;
        let kind = match number {
            1 => Kind::Request { method: first, time: second },
            2 => Kind::Data { method: first },
            3 => Kind::Error { code },
            4 => Kind::Abort { code },
            5 => Kind::Stop,
            6 => Kind::Cancel,
            7 => Kind::Credit { limit },
            8 => Kind::ConnectionCredit { limit },
            9 => Kind::Admit,
            10 => Kind::Drain,
            11 => Kind::Settings,
            kind if kind >= IGNORABLE => return Ok(Kind::Ignorable { kind }),
            kind => return Err(Broken::UnknownKind { kind }),
        };
        // What this kind does not use must be zero, so that a later version can use it.
        match kind.fields() == (number, code, first, second) {
            true => Ok(kind),
            false => Err(Broken::Reserved { kind: number }),
        }
    }

    /// The flags that this kind may have.
    fn flags(self) -> u8 {
        match self {
            Kind::Request { .. } | Kind::Data { .. } => {
                ENDS_MESSAGE | ENDS_STREAM | HAS_TOTAL | HAS_METADATA
            }
            Kind::Error { .. } => HAS_METADATA,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kinds() -> impl Strategy<Value = Kind> {
        prop_oneof![
            any::<(u32, u32)>().prop_map(|(method, time)| Kind::Request { method, time }),
            any::<u32>().prop_map(|method| Kind::Data { method }),
            any::<u16>().prop_map(|code| Kind::Error { code }),
            any::<u16>().prop_map(|code| Kind::Abort { code }),
            Just(Kind::Stop),
            Just(Kind::Cancel),
            any::<u64>().prop_map(|limit| Kind::Credit { limit }),
            any::<u64>().prop_map(|limit| Kind::ConnectionCredit { limit }),
            Just(Kind::Admit),
            Just(Kind::Drain),
            Just(Kind::Settings),
        ]
    }

    fn frames() -> impl Strategy<Value = Frame> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from);
        let parts = (kinds(), any::<(u32, bool, bool, Option<u32>)>(), bytes(), bytes());
        parts.prop_map(|(kind, (id, ends_message, ends_stream, total), metadata, body)| {
            let mut frame = Frame::new(kind, id);
            if kind.flags() & HAS_METADATA != 0 {
                frame.metadata = metadata;
            }
            if kind.flags() & HAS_TOTAL != 0 {
                (frame.ends_message, frame.ends_stream) = (ends_message, ends_stream);
                frame.total = total;
            }
            if matches!(
                kind,
                Kind::Request { .. } | Kind::Data { .. } | Kind::Error { .. } | Kind::Settings
            ) {
                frame.body = body;
            }
            frame
        })
    }

    proptest! {
        #[test]
        fn a_frame_comes_back(frame in frames()) {
            let bytes = frame.to_bytes();
            prop_assert_eq!(bytes.len(), frame.size());
            prop_assert_eq!(Frame::decode(bytes), Ok(frame));
        }

        #[test]
        fn any_bytes_are_a_frame_or_a_named_error(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(frame) = Frame::decode(Bytes::from(bytes.clone())) {
                if !matches!(frame.kind, Kind::Ignorable { .. }) {
                    prop_assert_eq!(frame.to_bytes(), bytes);
                }
            }
        }
    }

    #[test]
    fn a_message_shorter_than_an_envelope_is_refused() {
        let bytes = Frame::new(Kind::Drain, 0).to_bytes();
        for len in 0..ENVELOPE_LEN {
            assert_eq!(Frame::decode(bytes.slice(..len)), Err(Broken::Short { len }));
        }
        assert!(Frame::decode(bytes).is_ok());
    }

    #[test]
    fn the_limit_of_metadata_is_exact() {
        for (len, fits) in
            [(METADATA_MAX - 1, true), (METADATA_MAX, true), (METADATA_MAX + 1, false)]
        {
            let mut frame = Frame::new(Kind::Data { method: 0 }, 2);
            frame.metadata = vec![1; len].into();
            assert_eq!(Frame::decode(frame.to_bytes()).is_ok(), fits, "{len}");
        }
    }

    #[test]
    fn the_limit_of_an_error_is_exact() {
        for (len, fits) in [(ERROR_MAX + 1, true), (ERROR_MAX + 2, true), (ERROR_MAX + 3, false)] {
            let mut frame = Frame::new(Kind::Error { code: 1 }, 2);
            frame.body = vec![0; len].into();
            assert_eq!(Frame::decode(frame.to_bytes()).is_ok(), fits, "{len}");
        }
    }

    #[test]
    fn a_kind_of_a_later_version_is_ignored_only_if_it_says_so() {
        let mut bytes = Frame::new(Kind::Drain, 0).to_bytes().to_vec();
        for (kind, ignored) in [(0, false), (12, false), (0x7F, false), (0x80, true), (0xFF, true)]
        {
            (bytes[0], bytes[1], bytes[9]) = (kind, 0xFF, 7);
            assert_eq!(Frame::decode(bytes.clone().into()).is_ok(), ignored, "{kind}");
        }
    }
}
