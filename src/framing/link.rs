//! The two directions of one connection, between bytes and messages. All transports share them.
//!
//! A transport asks the inbound direction where to read to, puts back what it read, takes messages
//! out of it, and sends what the outbound direction has queued. Bytes are kept only while a message
//! is incomplete or unsent.

use super::read_buffers::CHUNK_ROOM_MIN;
use super::{Decoder, Encoder, Framing, FramingError, ReadBuffers, SendQueue};
use crate::body::Body;
use bytes::{Bytes, BytesMut};

/// Undecoded bytes of up to this size are copied out of the read buffer, so that it can be reused.
const COPIED_MAX: usize = CHUNK_ROOM_MIN;

/// The inbound direction.
pub(crate) struct Inbound {
    decoder: Box<dyn Decoder>,
    /// The beginning of an incomplete message; empty and without memory when there is none.
    partial: BytesMut,
    /// The size of the largest message that has arrived.
    largest: usize,
    /// The size of the connection's own read buffer; 0 if it reads into the shared one.
    buffer_size: usize,
}

impl Inbound {
    pub fn new(framing: &dyn Framing) -> Inbound {
        Inbound { decoder: framing.decoder(), partial: BytesMut::new(), largest: 0, buffer_size: 0 }
    }

    /// The buffer for the next read: the kept bytes of an incomplete message, then room. It is the shared buffer,
    /// or the connection's own once that message has become long. [`Inbound::put_back`] returns it.
    ///
    /// The room grows with the bytes that have arrived, now or in an earlier message, never with an announced
    /// length.
    pub fn read_buffer(&mut self, buffers: &mut ReadBuffers) -> BytesMut {
        if self.partial.len() > COPIED_MAX {
            let mut buffer = std::mem::take(&mut self.partial);
            let arrived = buffer.len().max(self.largest);
            match self.decoder.missing() {
                0 => buffer.reserve(1),
                missing => {
                    (buffer, self.buffer_size) =
                        buffers.with_room(buffer, self.buffer_size, missing, arrived);
                }
            }
            self.buffer_size = self.buffer_size.max(buffer.capacity());
            return buffer;
        }
        let mut buffer = buffers.take_chunk(COPIED_MAX);
        buffer.extend_from_slice(&std::mem::take(&mut self.partial));
        buffer
    }

    /// The kept bytes of a connection whose turn has stopped, to be decoded before the next read. They may
    /// contain whole messages, so that the decoder does not know yet how many bytes are missing.
    /// [`Inbound::put_back`] returns them.
    pub fn take_undecoded(&mut self) -> BytesMut {
        self.buffer_size = self.buffer_size.max(self.partial.capacity());
        std::mem::take(&mut self.partial)
    }

    /// The next whole message in `input`.
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Bytes>, FramingError> {
        let before = input.len();
        let message = self.decoder.decode(input)?;
        if let Some(message) = &message {
            if input.len() == before {
                // The same message would be returned again and again.
                let problem = "the framing's decoder gave a message and took nothing off the input";
                return Err(FramingError::Other(problem.to_owned()));
            }
            self.largest = self.largest.max(message.len());
        }
        Ok(message)
    }

    /// Keeps the undecoded bytes of `input`, and returns the buffer.
    pub fn put_back(&mut self, input: BytesMut, buffers: &mut ReadBuffers) {
        if input.len() > COPIED_MAX {
            self.partial = input;
            return;
        }
        if !input.is_empty() {
            self.partial = BytesMut::from(&input[..]);
        }
        buffers.give_back(input, std::mem::take(&mut self.buffer_size));
    }

    /// Drops the kept bytes: nothing more is decoded.
    pub fn discard(&mut self) {
        self.partial = BytesMut::new();
    }

    /// The memory of the undecoded bytes, in bytes.
    pub fn kept(&self) -> usize {
        self.partial.capacity()
    }

    /// The size of the incomplete message, 0 if there is none. If the framing does not announce it: `unknown`, or
    /// the number of arrived bytes if that is more.
    pub fn message_size(&self, unknown: usize) -> usize {
        if self.decoder.finish(&self.partial).is_ok() {
            return 0;
        }
        match self.decoder.missing() {
            0 => unknown.max(self.partial.len()),
            missing => self.partial.len() + missing,
        }
    }

    /// Whether the peer's preface has arrived.
    pub fn has_begun(&self) -> bool {
        self.decoder.has_begun()
    }

    /// The stream has ended: an error if it may not end here.
    pub fn finish(&self) -> Result<(), FramingError> {
        self.decoder.finish(&self.partial)
    }

    /// The largest message that the peer accepts, once its preface has arrived.
    pub fn peer_limit(&self) -> Option<usize> {
        self.decoder.peer_limit()
    }
}

/// The outbound direction.
pub(crate) struct Outbound {
    encoder: Box<dyn Encoder>,
    /// The send queue.
    pub queue: SendQueue<'static>,
}

impl Outbound {
    /// A new outbound direction, with the preface in its queue.
    pub fn new(framing: &dyn Framing) -> Outbound {
        let mut outbound = Outbound { encoder: framing.encoder(), queue: SendQueue::default() };
        outbound.encoder.begin(&mut outbound.queue);
        outbound
    }

    /// Queues a message, unless it is over this side's limit or the peer's.
    pub fn encode(
        &mut self,
        head: &[u8],
        body: Bytes,
        peer_limit: Option<usize>,
    ) -> Result<(), FramingError> {
        put(&mut *self.encoder, &mut self.queue, head, body.into(), peer_limit)
    }

    /// As [`encode`](Outbound::encode), into another queue.
    pub fn encode_into<'a>(
        &mut self,
        queue: &mut SendQueue<'a>,
        head: &[u8],
        body: Body<'a>,
        peer_limit: Option<usize>,
    ) -> Result<(), FramingError> {
        put(&mut *self.encoder, queue, head, body, peer_limit)
    }

    /// Queues a goodbye.
    pub fn goodbye(&mut self, code: u16, text: &str) {
        self.encoder.goodbye(code, text, &mut self.queue);
    }
}

fn put<'a>(
    encoder: &mut dyn Encoder,
    queue: &mut SendQueue<'a>,
    head: &[u8],
    body: Body<'a>,
    peer_limit: Option<usize>,
) -> Result<(), FramingError> {
    let size = head.len() + body.len();
    if let Some(limit) = peer_limit.filter(|&limit| size > limit) {
        return Err(FramingError::TooLarge { size: size as u64, limit });
    }
    encoder.encode(head, body, queue)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framing::{Layer, LengthPrefix, Lines, Native, READ_CHUNK};

    const LIMIT: usize = 64 << 20;

    fn native() -> Native {
        Native::new(Layer::Messages, LIMIT)
    }

    /// All framings of this crate.
    fn framings() -> [Box<dyn Framing>; 3] {
        let length_prefix = LengthPrefix::big_endian(LIMIT);
        [Box::new(native()), Box::new(length_prefix), Box::new(Lines::new(LIMIT))]
    }

    /// Feeds `wire` in pieces of up to `piece` bytes. Returns the messages, and the largest size of a read buffer
    /// beyond twice the arrived bytes.
    fn feed(framing: &dyn Framing, wire: &[u8], piece: usize) -> (Vec<Bytes>, usize) {
        let mut inbound = Inbound::new(framing);
        let (mut shared, mut messages) = (ReadBuffers::default(), Vec::new());
        let (mut arrived, mut excess) = (0, 0);
        while arrived < wire.len() {
            let mut buffer = inbound.read_buffer(&mut shared);
            let room = buffer.capacity() - buffer.len();
            assert!(room > 0);
            excess = excess.max(buffer.capacity().saturating_sub(2 * arrived));
            let end = wire.len().min(arrived + piece.min(room));
            buffer.extend_from_slice(&wire[arrived..end]);
            arrived = end;
            while let Some(message) = inbound.decode(&mut buffer).unwrap() {
                messages.push(message);
            }
            inbound.put_back(buffer, &mut shared);
        }
        assert_eq!(inbound.finish().is_ok(), inbound.partial.is_empty());
        (messages, excess)
    }

    fn wire(framing: &dyn Framing, messages: &[Bytes]) -> Bytes {
        let mut outbound = Outbound::new(framing);
        messages.iter().for_each(|message| outbound.encode(&[], message.clone(), None).unwrap());
        outbound.queue.to_bytes()
    }

    #[test]
    fn memory_grows_with_what_arrived_not_with_what_was_announced() {
        for framing in &framings() {
            let framing = &**framing;
            let announced = wire(framing, &[vec![1; LIMIT].into()]);
            for arrived in [30, COPIED_MAX, READ_CHUNK, 3 * READ_CHUNK] {
                let (messages, excess) = feed(framing, &announced[..arrived], usize::MAX);
                assert!(messages.is_empty());
                assert!(excess <= 2 * READ_CHUNK, "{excess} bytes more after {arrived}");
            }
        }
    }

    #[test]
    fn no_more_is_allocated_for_a_message_than_it_takes() {
        for size in [100_000, 300_000, 600_000, 1_000_000] {
            let stream = wire(&native(), &[vec![1; size].into()]);
            let mut inbound = Inbound::new(&native());
            let (mut shared, mut at) = (ReadBuffers::default(), 0);
            loop {
                let mut buffer = inbound.read_buffer(&mut shared);
                let end = stream.len().min(at + (buffer.capacity() - buffer.len()).min(50_000));
                buffer.extend_from_slice(&stream[at..end]);
                at = end;
                let arrived = inbound.decode(&mut buffer).unwrap();
                inbound.put_back(buffer, &mut shared);
                if arrived.is_some() {
                    break;
                }
                let most = size + size / 8 + READ_CHUNK;
                assert!(inbound.kept() <= most, "{} bytes for {size}", inbound.kept());
            }
        }
    }

    #[test]
    fn room_for_a_message_like_one_before_is_made_at_once() {
        let message = Bytes::from(vec![1; 1 << 20]);
        let stream = wire(&native(), &[message.clone(), message.clone()]);
        let mut inbound = Inbound::new(&native());
        let mut shared = ReadBuffers::default();
        let (mut reads, mut at) = ([0, 0], 0);
        for reads in &mut reads {
            let mut arrived = None;
            while arrived.is_none() {
                let mut buffer = inbound.read_buffer(&mut shared);
                let room = buffer.capacity() - buffer.len();
                let end = stream.len().min(at + room);
                buffer.extend_from_slice(&stream[at..end]);
                at = end;
                *reads += 1;
                arrived = inbound.decode(&mut buffer).unwrap();
                inbound.put_back(buffer, &mut shared);
            }
            assert_eq!(arrived, Some(message.clone()));
        }
        assert!(reads[0] > 4 && reads[1] <= 2, "{reads:?} reads");
    }

    #[test]
    fn messages_larger_than_every_buffer_arrive_in_any_pieces() {
        let sizes =
            [COPIED_MAX - 1, COPIED_MAX, COPIED_MAX + 1, READ_CHUNK, 3 * READ_CHUNK, 0, 1 << 20];
        let sent: Vec<Bytes> = sizes.iter().map(|&size| vec![size as u8; size].into()).collect();
        for framing in &framings() {
            for piece in [1000, 4096, COPIED_MAX, usize::MAX] {
                assert_eq!(feed(&**framing, &wire(&**framing, &sent), piece).0, sent);
            }
        }
    }

    /// A decoder that returns empty messages without end.
    struct Endless;

    impl Decoder for Endless {
        fn decode(&mut self, _input: &mut BytesMut) -> Result<Option<Bytes>, FramingError> {
            Ok(Some(Bytes::new()))
        }
    }

    #[test]
    fn a_message_that_takes_no_input_is_an_error() {
        let decoder = Box::new(Endless);
        let mut inbound = Inbound { decoder, partial: BytesMut::new(), largest: 0, buffer_size: 0 };
        let decoded = inbound.decode(&mut BytesMut::from("bytes"));
        assert!(matches!(decoded, Err(FramingError::Other(_))), "{decoded:?}");
    }

    #[test]
    fn between_messages_nothing_is_kept() {
        let mut inbound = Inbound::new(&native());
        let mut shared = ReadBuffers::default();
        let mut buffer = inbound.read_buffer(&mut shared);
        buffer.extend_from_slice(&wire(&native(), &[vec![1; 3000].into()]));
        assert!(inbound.decode(&mut buffer).unwrap().is_some());
        assert!(inbound.decode(&mut buffer).unwrap().is_none());
        inbound.put_back(buffer, &mut shared);
        assert_eq!(inbound.partial.capacity(), 0);
        assert!(shared.chunk().capacity() > 0, "the buffer was not shared");
    }
}
