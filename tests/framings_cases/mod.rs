//! Streams for the plain framings to be tried on: any messages, any cuts, any bytes; and what must come
//! out of them. Shared by the property tests (`random` makes their streams) and the fuzz target
//! (`scripted` makes them of its bytes), so that both try the same things.

#[path = "../framing_cases/pieces.rs"]
mod pieces;

use bytes::Bytes;
use msgpipe::framing::{Framing, FramingError, LengthPrefix, Lines, SendQueue};

/// A framing under test, with its limit.
#[derive(Clone, Copy, Debug)]
pub enum Plain {
    LengthPrefix { big: bool, counted: bool, limit: usize },
    Lines { limit: usize },
}

/// A stream of one framing.
#[derive(Clone, Debug)]
pub struct Stream {
    pub framing: Plain,
    /// The sent messages; one that the framing cannot carry must be refused, and nothing of it queued.
    pub messages: Vec<Bytes>,
    /// The sizes of the pieces in which the bytes arrive, used in turn.
    pub pieces: Vec<usize>,
    /// What happens to the bytes on their way: at this place, modulo their number, so many are taken out,
    /// and these put in.
    pub damage: Option<(usize, usize, Vec<u8>)>,
}

impl Plain {
    fn framing(&self) -> Box<dyn Framing> {
        match *self {
            Plain::LengthPrefix { big, counted, limit } => {
                let framing = match big {
                    true => LengthPrefix::big_endian(limit),
                    false => LengthPrefix::little_endian(limit),
                };
                Box::new(if counted { framing.counting_header() } else { framing })
            }
            Plain::Lines { limit } => Box::new(Lines::new(limit)),
        }
    }

    fn limit(&self) -> usize {
        match *self {
            Plain::LengthPrefix { limit, .. } | Plain::Lines { limit } => limit,
        }
    }

    fn carries(&self, message: &[u8]) -> bool {
        let is_line = !message.contains(&b'\n');
        message.len() <= self.limit() && (is_line || matches!(self, Plain::LengthPrefix { .. }))
    }

    /// The bytes of a message, computed in the simplest way.
    fn expected(&self, message: &[u8]) -> Vec<u8> {
        match *self {
            Plain::LengthPrefix { big, counted, .. } => {
                let length = message.len() as u32 + if counted { 4 } else { 0 };
                let length = if big { length.to_be_bytes() } else { length.to_le_bytes() };
                [&length, message].concat()
            }
            Plain::Lines { .. } => [message, b"\n"].concat(),
        }
    }
}

impl Stream {
    /// Puts the messages into bytes, half of each as a head. One that cannot be carried is refused.
    fn encode(&self, messages: &[Bytes]) -> Vec<u8> {
        let mut encoder = self.framing.framing().encoder();
        let mut queue = SendQueue::default();
        encoder.begin(&mut queue);
        for message in messages {
            let before = queue.len();
            let (head, body) = message.split_at(message.len() / 2);
            let encoded = encoder.encode(head, message.slice_ref(body).into(), &mut queue);
            assert_eq!(encoded.is_ok(), self.framing.carries(message), "{encoded:?}");
            assert!(encoded.is_ok() || queue.len() == before, "a refused message left bytes");
        }
        queue.to_bytes().to_vec()
    }

    /// Feeds the bytes to a decoder in pieces. Returns the messages, and the end.
    fn decode(&self, wire: &[u8], pieces: &[usize]) -> (Vec<Bytes>, Result<(), FramingError>) {
        let decoder = self.framing.framing().decoder();
        pieces::decode(decoder, wire, pieces, |_, _| {})
    }

    /// Sends everything through, and checks what must hold:
    /// - the bytes are those that other programs write and expect;
    /// - undamaged, every message arrives as it was sent, in order;
    /// - whatever arrives, its cuts change neither the messages nor the end;
    /// - what comes out is what arrived: encoded again, it is the stream up to where it ends.
    pub fn check(&self) {
        let carried = || self.messages.iter().filter(|message| self.framing.carries(message));
        let mut wire = self.encode(&self.messages);
        let expected: Vec<u8> = carried().flat_map(|m| self.framing.expected(m)).collect();
        assert_eq!(wire, expected);
        if let Some((at, out, new)) = &self.damage {
            let at = at % (wire.len() + 1);
            let end = wire.len().min(at + out);
            wire.splice(at..end, new.iter().copied());
        }
        let (messages, end) = self.decode(&wire, &self.pieces);
        if self.damage.is_none() {
            assert!(messages.iter().eq(carried()), "other messages than were sent");
            assert_eq!(end, Ok(()));
        }
        assert_eq!(self.decode(&wire, &[usize::MAX]), (messages.clone(), end.clone()));
        let again = self.encode(&messages);
        assert!(wire.starts_with(&again), "messages that never arrived");
        match end {
            Ok(()) => assert_eq!(wire.len(), again.len()),
            Err(FramingError::CutOff { have }) => assert_eq!(wire.len(), again.len() + have),
            Err(_) => assert!(wire.len() > again.len()),
        }
    }
}
