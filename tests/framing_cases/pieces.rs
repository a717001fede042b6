//! Brings a stream to a decoder in pieces.

use bytes::{Bytes, BytesMut};
use msgpipe::framing::{Decoder, FramingError};

/// When a decoder is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// It has given a message.
    Message,
    /// It has taken all there was, and more will come.
    Piece,
}

/// What comes out of `wire`, which arrives in pieces of these sizes, used in turn: the messages, and how
/// it ends. `look` sees the decoder in between.
pub fn decode(
    mut decoder: Box<dyn Decoder>,
    wire: &[u8],
    pieces: &[usize],
    look: impl Fn(&dyn Decoder, After),
) -> (Vec<Bytes>, Result<(), FramingError>) {
    let (mut input, mut messages) = (BytesMut::new(), Vec::new());
    let mut rest = wire;
    for piece in pieces.iter().copied().cycle() {
        let (now, later) = rest.split_at(piece.min(rest.len()));
        input.extend_from_slice(now);
        rest = later;
        loop {
            let capacity = input.capacity();
            let decoded = decoder.decode(&mut input);
            assert!(input.capacity() <= capacity, "the decoder made the buffer larger");
            match decoded {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => return (messages, Err(error)),
            }
            look(&*decoder, After::Message);
        }
        if rest.is_empty() {
            break;
        }
        look(&*decoder, After::Piece);
    }
    (messages, decoder.finish(&input))
}
