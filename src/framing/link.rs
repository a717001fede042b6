//! One connection's two directions, between bytes and messages: what every transport shares.
//!
//! A transport asks the inbound direction where to read to, puts back what it read, takes messages
//! out of it, and sends what the outbound direction has queued. Bytes are kept only while a message
//! is incomplete or unsent.

use super::{Decoder, Encoder, Framing, FramingError, SendQueue};
use bytes::{Bytes, BytesMut};

/// How much is read at once, in bytes. 64 KiB is what the systems hold in a socket or a pipe by
/// default, within a factor of four.
pub(crate) const READ_CHUNK: usize = 64 * 1024;

/// A shared read buffer is continued while at least this much of it is free.
const READ_ROOM: usize = READ_CHUNK / 4;

/// Leftovers of up to this size are copied out of the buffer they came in, so as not to hold it.
const COPY_OUT: usize = READ_ROOM;

/// The inbound direction.
pub(crate) struct Inbound {
    decoder: Box<dyn Decoder>,
    /// The beginning of an incomplete message; empty and without memory when there is none.
    partial: BytesMut,
}

impl Inbound {
    pub fn new(framing: &dyn Framing) -> Inbound {
        Inbound {
            decoder: framing.decoder(),
            partial: BytesMut::new(),
        }
    }

    /// Gives the buffer for the next read, with room in it and what is kept of an incomplete
    /// message at its front: `shared`, or the link's own once that message has become long. Goes
    /// back in with [`Inbound::put_back`].
    ///
    /// The room grows with what has arrived, never with what the peer announced.
    pub fn read_buffer(&mut self, shared: &mut BytesMut) -> BytesMut {
        if self.partial.len() > COPY_OUT {
            let mut buffer = std::mem::take(&mut self.partial);
            let earned = buffer.len();
            buffer.reserve(self.decoder.missing().clamp(1, earned));
            return buffer;
        }
        let mut buffer = std::mem::take(shared);
        if buffer.capacity() - buffer.len() < READ_ROOM + COPY_OUT {
            buffer.reserve(READ_CHUNK);
        }
        buffer.extend_from_slice(&std::mem::take(&mut self.partial));
        buffer
    }

    /// The next whole message in `input`.
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Bytes>, FramingError> {
        self.decoder.decode(input)
    }

    /// Keeps what is left of `input` until there is more, and gives the shared buffer back.
    pub fn put_back(&mut self, mut input: BytesMut, shared: &mut BytesMut) {
        if input.len() > COPY_OUT {
            self.partial = input;
            return;
        }
        if !input.is_empty() {
            self.partial = BytesMut::from(&input[..]);
            input.clear();
        }
        // What has grown beyond a chunk was made for one large message: it is let go.
        if input.capacity() <= READ_CHUNK && shared.capacity() == 0 {
            *shared = input;
        }
    }

    /// The stream has ended: says whether it may end here.
    pub fn finish(&self) -> Result<(), FramingError> {
        self.decoder.finish(&self.partial)
    }

    /// The largest message that the peer takes, once it has said so.
    pub fn peer_limit(&self) -> Option<usize> {
        self.decoder.peer_limit()
    }
}

/// The outbound direction.
pub(crate) struct Outbound {
    encoder: Box<dyn Encoder>,
    /// What waits to be sent.
    pub queue: SendQueue,
}

impl Outbound {
    /// An outbound direction whose queue holds what the framing begins with.
    pub fn new(framing: &dyn Framing) -> Outbound {
        let mut outbound = Outbound {
            encoder: framing.encoder(),
            queue: SendQueue::default(),
        };
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
        let size = head.len() + body.len();
        if let Some(limit) = peer_limit.filter(|&limit| size > limit) {
            return Err(FramingError::TooLarge {
                size: size as u64,
                limit,
            });
        }
        self.encoder.encode(head, body, &mut self.queue)
    }

    /// Queues why this side closes.
    pub fn goodbye(&mut self, code: u16, text: &str) {
        self.encoder.goodbye(code, text, &mut self.queue);
    }
}
