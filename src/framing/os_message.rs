//! No framing: a message is what the operating system delivers as one.

use super::{Carrier, Decoder, Encoder, Framing, FramingError, SendQueue};
use crate::body::Body;
use bytes::{Bytes, BytesMut};

/// Messages without a header: each is one message of the operating system, a message of a
/// message-mode pipe on Windows, a record of a `SOCK_SEQPACKET` socket on Linux. Existing programs that were
/// written against a classic pipe server use it.
///
/// A message has from 1 byte up to the limit. Messages are neither split nor merged, however many are sent
/// before one is read. Linux sends no message that does not fit into the socket's send buffer (`socket(7)`,
/// wmem_default): by default 212 960 bytes. The sender refuses a larger one, like one over the limit.
///
/// **An empty message is the end of the stream.** A record socket has no other sign for it, and on pipes
/// Go's and others' `CloseWrite` sends it: the receiver answers the open requests, and closes. So an empty
/// message cannot be sent.
///
/// ```no_run
/// use msgpipe::framing::OsMessage;
/// use msgpipe::{Endpoint, ServerOptions};
///
/// let endpoint = Endpoint::pipe(r"\\.\pipe\an.old.name")?;
/// let server = ServerOptions::new().framing(OsMessage::new(64 * 1024)).bind_messages(&endpoint)?;
/// # Ok::<_, msgpipe::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OsMessage {
    limit: usize,
}

impl OsMessage {
    /// Messages of up to `limit` bytes, or of fewer if the system has a lower limit.
    pub const fn new(limit: usize) -> OsMessage {
        OsMessage { limit }
    }
}

impl Framing for OsMessage {
    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(*self)
    }

    fn encoder(&self) -> Box<dyn Encoder> {
        Box::new(*self)
    }

    fn limit(&self) -> usize {
        self.limit
    }

    fn carrier(&self) -> Carrier {
        Carrier::Messages
    }
}

impl Decoder for OsMessage {
    fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Bytes>, FramingError> {
        match input.len() {
            0 => Ok(None),
            size if size > self.limit => {
                Err(FramingError::TooLarge { size: size as u64, limit: self.limit })
            }
            _ => Ok(Some(input.split().freeze())),
        }
    }
}

impl Encoder for OsMessage {
    fn encode<'a>(
        &mut self,
        head: &[u8],
        body: Body<'a>,
        out: &mut SendQueue<'a>,
    ) -> Result<(), FramingError> {
        let size = head.len() + body.len();
        if size == 0 {
            let text =
                "an empty message would be taken for the end of the stream: send at least one byte";
            return Err(FramingError::Other(text.to_owned()));
        }
        if size > self.limit {
            return Err(FramingError::TooLarge { size: size as u64, limit: self.limit });
        }
        out.put_message(if head.is_empty() { body } else { [head, &body].concat().into() });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::IoSlice;

    #[test]
    fn sizes_are_between_one_and_the_limit() {
        let mut framing = OsMessage::new(100);
        for (size, taken) in [(0, false), (1, true), (99, true), (100, true), (101, false)] {
            let (message, mut queue) = (Bytes::from(vec![7; size]), SendQueue::default());
            let encoded =
                framing.encode(&message[..size / 2], message.slice(size / 2..).into(), &mut queue);
            assert_eq!(encoded.is_ok(), taken, "{size} bytes");
            assert_eq!(queue.len(), if taken { size } else { 0 });
            let decoded = framing.decode(&mut BytesMut::from(&message[..]));
            match size {
                0 => assert_eq!(decoded, Ok(None)),
                101 => assert_eq!(decoded, Err(FramingError::TooLarge { size: 101, limit: 100 })),
                _ => assert_eq!(decoded, Ok(Some(message))),
            }
        }
    }

    #[test]
    fn each_message_is_a_piece_of_its_own() {
        let (mut framing, mut queue) = (OsMessage::new(10_000), SendQueue::default());
        let sizes = [1, 2, 4095, 4096, 4097, 1];
        for size in sizes {
            framing.encode(&[], vec![size as u8; size].into(), &mut queue).unwrap();
        }
        let mut slices = [IoSlice::new(&[]); 16];
        let filled = queue.slices(&mut slices);
        assert_eq!(slices[..filled].iter().map(|slice| slice.len()).collect::<Vec<_>>(), sizes);
    }
}
