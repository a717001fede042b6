//! Streams for the framing to be tried on: any messages, any cuts, any damage; and what must come out
//! of them. Shared by the property tests (`random` makes their streams) and the fuzz target (`scripted`
//! makes them of its bytes), so that both try the same things.

pub mod pieces;

use bytes::Bytes;
use msgpipe::framing::{Framing, FramingError, Layer, Native, SendQueue};

/// The limit of the framing under test: large enough for every size that is special somewhere.
pub const LIMIT: usize = 70_000;

/// Bytes before the first frame, and before each payload (`docs/PROTOCOL.md`).
const PREFACE: usize = 16;
const HEADER: usize = 8;

/// Messages through a framing.
#[derive(Clone, Debug)]
pub struct Case {
    /// The sent messages; one over the limit must be refused, and nothing of it queued.
    pub messages: Vec<Bytes>,
    /// The sizes of the pieces in which the bytes arrive, used in turn.
    pub pieces: Vec<usize>,
    /// The damage to the bytes.
    pub damage: Option<Damage>,
}

/// Something that happens to a stream of bytes, at some place in it: a number of any size, which is taken
/// modulo the stream's length.
#[derive(Clone, Debug)]
pub enum Damage {
    Flip(usize, u8),
    Overwrite(usize, [u8; 8]),
    Cut(usize),
    Remove(usize, usize),
    Repeat(usize, usize),
    Insert(usize, Vec<u8>),
}

/// The decoded messages and the end.
#[derive(Debug)]
pub struct Received {
    pub messages: Vec<Bytes>,
    /// How the stream ended.
    pub end: Result<(), FramingError>,
}

impl Case {
    /// The messages that the framing takes.
    pub fn sent(&self) -> Vec<Bytes> {
        self.messages.iter().filter(|message| message.len() <= LIMIT).cloned().collect()
    }

    /// Puts the messages into bytes. One over the limit is refused by name.
    pub fn encode(&self) -> Vec<u8> {
        let mut encoder = Native::new(Layer::Messages, LIMIT).encoder();
        let mut queue = SendQueue::default();
        encoder.begin(&mut queue);
        for message in &self.messages {
            let before = queue.len();
            let encoded = encoder.encode(&[], message.clone().into(), &mut queue);
            if message.len() <= LIMIT {
                assert_eq!(encoded, Ok(()));
            } else {
                let size = message.len() as u64;
                assert_eq!(encoded, Err(FramingError::TooLarge { size, limit: LIMIT }));
                assert_eq!(queue.len(), before, "a refused message left bytes behind");
            }
        }
        queue.to_bytes().to_vec()
    }

    /// Brings the bytes to a decoder, in pieces.
    pub fn decode(&self, wire: &[u8]) -> Received {
        let decoder = Native::new(Layer::Messages, LIMIT).decoder();
        let (messages, end) = pieces::decode(decoder, wire, &self.pieces, |_, _| {});
        Received { messages, end }
    }

    /// Sends everything through, and checks what must hold.
    pub fn check(&self) {
        let wire = self.encode();
        let Some(damage) = &self.damage else {
            let received = self.decode(&wire);
            assert_eq!(received.messages, self.sent());
            assert_eq!(received.end, Ok(()));
            return;
        };
        let (changed, place) = damage.apply(&wire);
        self.check_damaged(&self.decode(&changed), place, changed.len() == wire.len());
    }

    /// The properties after damage that begins at `place`.
    ///
    /// - Messages before it arrive as they were sent.
    /// - One damage lies in one message, in its header or in its payload. In the header it is found,
    ///   and the stream ends with an error that names it. In the payload the message has its length
    ///   and other bytes (the framing vouches for the stream's structure, the operating system for
    ///   its bytes); the messages behind it arrive as they were sent, or the stream ends with an
    ///   error where they should begin.
    fn check_damaged(&self, received: &Received, place: usize, same_length: bool) {
        let sent = self.sent();
        let whole = messages_before(&sent, place);
        let least = whole.min(sent.len());
        assert!(received.messages.len() >= least, "a message before the damage is missing");
        for (index, message) in received.messages.iter().enumerate() {
            let really_sent = sent.contains(message);
            let damaged =
                index == whole && sent.get(index).is_some_and(|s| s.len() == message.len());
            assert!(really_sent || damaged, "message {index} was never sent");
            if index < whole || (same_length && index > whole) {
                assert_eq!(Some(message), sent.get(index), "message {index} changed");
            }
        }
        if place < PREFACE {
            assert!(received.messages.is_empty(), "messages behind a damaged preface");
        }
    }
}

/// How many messages end at or before `place` in the stream.
fn messages_before(sent: &[Bytes], place: usize) -> usize {
    let ends = sent.iter().scan(PREFACE, |end, message| {
        *end += HEADER + message.len();
        Some(*end)
    });
    ends.take_while(|&end| end <= place).count()
}

impl Damage {
    /// The damaged bytes, and the first place at which they differ.
    pub fn apply(&self, wire: &[u8]) -> (Vec<u8>, usize) {
        let mut bytes = wire.to_vec();
        let len = bytes.len();
        let place = match self {
            Damage::Flip(at, _)
            | Damage::Overwrite(at, _)
            | Damage::Cut(at)
            | Damage::Remove(at, _)
            | Damage::Repeat(at, _)
            | Damage::Insert(at, _) => at % len,
        };
        match self {
            Damage::Flip(_, bit) => bytes[place] ^= 1 << bit,
            Damage::Overwrite(_, new) => {
                let end = len.min(place + new.len());
                bytes[place..end].copy_from_slice(&new[..end - place]);
            }
            Damage::Cut(_) => bytes.truncate(place),
            Damage::Remove(_, count) => drop(bytes.drain(place..len.min(place + count))),
            Damage::Repeat(_, count) => {
                let again = wire[place..len.min(place + count)].to_vec();
                bytes.splice(place..place, again);
            }
            Damage::Insert(_, new) => drop(bytes.splice(place..place, new.iter().copied())),
        }
        let same = bytes.iter().zip(wire).take_while(|(new, old)| new == old).count();
        (bytes, same)
    }
}
