//! Passes a stream to a decoder in pieces.

use bytes::{Bytes, BytesMut};
use msgpipe::framing::{Decoder, FramingError};

/// When a decoder is inspected.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// It has returned a message.
    Message,
    /// It has consumed a piece, and more pieces follow.
    Piece,
}

/// The messages in `wire`, and its end. It arrives in pieces of these sizes, used in turn. `inspect` is called
/// with the decoder in between.
pub fn decode(
    mut decoder: Box<dyn Decoder>,
    wire: &[u8],
    pieces: &[usize],
    inspect: impl Fn(&dyn Decoder, After),
) -> (Vec<Bytes>, Result<(), FramingError>) {
    let (mut input, mut messages) = (BytesMut::new(), Vec::new());
    let mut rest = wire;
    for piece in pieces.iter().copied().cycle() {
        let (piece, later) = rest.split_at(piece.min(rest.len()));
        input.extend_from_slice(piece);
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
            inspect(&*decoder, After::Message);
        }
        if rest.is_empty() {
            break;
        }
        inspect(&*decoder, After::Piece);
    }
    (messages, decoder.finish(&input))
}
