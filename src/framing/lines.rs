//! The framing of text protocols: a message is a line.

use super::{Decoder, Encoder, Framing, FramingError, SendQueue};
use crate::body::Body;
use bytes::{Buf, Bytes, BytesMut};

/// What ends a line.
const LINE_FEED: u8 = b'\n';

/// A framing with one message per line. Each line ends with a line feed (`\n`), which is not a part of the
/// message. JSON lines and many control sockets use it.
///
/// Every other byte is unchanged, a carriage return before the line feed too. If peers end their lines with
/// `\r\n`, remove it with `line.strip_suffix(b"\r")`; to send such lines, end the message with `\r`. It
/// counts as a byte of the line.
///
/// A line has up to `limit` bytes without its line feed. A longer one ends the connection as soon as
/// one byte too many has arrived, with [`FramingError::TooLarge`] and the limit plus one as the size. A last
/// line without its line feed is [`FramingError::CutOff`], as it may be a part of a longer one. A message
/// that contains a line feed cannot be sent ([`FramingError::Other`]).
///
/// ```
/// use bytes::BytesMut;
/// use msgpipe::framing::{Framing, Lines, SendQueue};
///
/// let framing = Lines::new(1024);
/// let mut queue = SendQueue::default();
/// framing.encoder().encode(b"", "status".into(), &mut queue)?;
/// assert_eq!(queue.to_bytes(), "status\n");
/// assert!(framing.encoder().encode(b"", "two\nlines".into(), &mut queue).is_err());
///
/// let mut decoder = framing.decoder();
/// let mut wire = BytesMut::from("ready\r\n\nunfinis");
/// assert_eq!(decoder.decode(&mut wire)?.unwrap(), "ready\r");
/// assert_eq!(decoder.decode(&mut wire)?.unwrap(), "");
/// assert_eq!(decoder.decode(&mut wire)?, None);
/// # Ok::<_, msgpipe::framing::FramingError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lines {
    limit: usize,
}

impl Lines {
    /// The framing for lines of up to `limit` bytes without their line feed.
    pub const fn new(limit: usize) -> Lines {
        Lines { limit }
    }

    /// The longest line in bytes, without its line feed.
    pub const fn limit(&self) -> usize {
        self.limit
    }
}

impl Framing for Lines {
    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(LineDecoder { limit: self.limit, searched: 0 })
    }

    fn encoder(&self) -> Box<dyn Encoder> {
        Box::new(*self)
    }

    fn limit(&self) -> usize {
        self.limit()
    }

    /// Not a line feed.
    fn carries_any_bytes(&self) -> bool {
        false
    }
}

impl Encoder for Lines {
    fn encode<'a>(
        &mut self,
        head: &[u8],
        body: Body<'a>,
        out: &mut SendQueue<'a>,
    ) -> Result<(), FramingError> {
        let size = head.len() + body.len();
        if size > self.limit {
            return Err(FramingError::TooLarge { size: size as u64, limit: self.limit });
        }
        if head.contains(&LINE_FEED) || body.contains(&LINE_FEED) {
            let problem = "a message that contains a line feed cannot be sent as one line";
            return Err(FramingError::Other(problem.to_owned()));
        }
        out.put_slice(head);
        out.put_bytes(body);
        out.put_slice(&[LINE_FEED]);
        Ok(())
    }
}

#[derive(Debug)]
struct LineDecoder {
    limit: usize,
    /// The first bytes of the input that contain no line feed. A line that arrives in small pieces is
    /// searched once, not once for each piece.
    searched: usize,
}

impl Decoder for LineDecoder {
    fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Bytes>, FramingError> {
        // The line feed of the longest line is the last byte that matters.
        let end = input.len().min(self.limit.saturating_add(1));
        let found = input[self.searched..end].iter().position(|&byte| byte == LINE_FEED);
        let Some(at) = found.map(|at| self.searched + at) else {
            if end > self.limit {
                return Err(FramingError::TooLarge { size: end as u64, limit: self.limit });
            }
            self.searched = end;
            return Ok(None);
        };
        self.searched = 0;
        let line = input.split_to(at).freeze();
        input.advance(1);
        Ok(Some(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 1000;

    fn decoder() -> Box<dyn Decoder> {
        Lines::new(LIMIT).decoder()
    }

    #[test]
    fn the_limit_is_exact_in_both_directions() {
        for size in [0, 1, LIMIT - 1, LIMIT, LIMIT + 1] {
            let too_large = FramingError::TooLarge { size: size as u64, limit: LIMIT };
            let mut queue = SendQueue::default();
            let encoded =
                Lines::new(LIMIT).encoder().encode(b"", vec![b'x'; size].into(), &mut queue);
            let mut input = BytesMut::from(&vec![b'x'; size][..]);
            input.extend_from_slice(b"\n");
            let decoded = decoder().decode(&mut input);
            if size <= LIMIT {
                assert_eq!((encoded, queue.len()), (Ok(()), size + 1));
                assert_eq!(decoded.unwrap().unwrap().len(), size);
                assert!(input.is_empty());
            } else {
                assert_eq!((encoded, queue.len()), (Err(too_large.clone()), 0));
                assert_eq!(decoded, Err(too_large));
            }
        }
    }

    #[test]
    fn a_line_without_an_end_is_refused_at_one_byte_over_the_limit() {
        for size in [LIMIT - 1, LIMIT, LIMIT + 1, LIMIT + 1000] {
            let mut input = BytesMut::from(&vec![b'x'; size][..]);
            let decoded = decoder().decode(&mut input);
            let too_large = FramingError::TooLarge { size: LIMIT as u64 + 1, limit: LIMIT };
            assert_eq!(decoded, if size <= LIMIT { Ok(None) } else { Err(too_large) }, "{size}");
        }
    }

    #[test]
    fn without_a_limit_a_line_may_have_any_length() {
        let mut decoder = Lines::new(usize::MAX).decoder();
        let mut input = BytesMut::from("line");
        assert_eq!(decoder.decode(&mut input), Ok(None));
        input.extend_from_slice(b"\n");
        assert_eq!(decoder.decode(&mut input), Ok(Some("line".into())));
    }

    #[test]
    fn no_byte_is_searched_twice() {
        let mut decoder = decoder();
        let mut input = BytesMut::from("begin");
        assert_eq!(decoder.decode(&mut input), Ok(None));
        // A second search of these bytes would find this one.
        input[0] = LINE_FEED;
        input.extend_from_slice(b" end");
        assert_eq!(decoder.decode(&mut input), Ok(None));
        input.extend_from_slice(b"\nnext\n");
        assert_eq!(decoder.decode(&mut input), Ok(Some("\negin end".into())));
        // The search of the next line starts at its first byte.
        assert_eq!(decoder.decode(&mut input), Ok(Some("next".into())));
    }

    #[test]
    fn every_other_byte_is_kept() {
        let line: Bytes = (0..=255).filter(|&byte| byte != LINE_FEED).collect();
        let mut queue = SendQueue::default();
        let mut encoder = Lines::new(LIMIT).encoder();
        encoder.encode(&line[..100], line.slice(100..).into(), &mut queue).unwrap();
        encoder.encode(b"", "\r".into(), &mut queue).unwrap();
        let mut input = BytesMut::from(&queue.to_bytes()[..]);
        let mut decoder = decoder();
        assert_eq!(decoder.decode(&mut input), Ok(Some(line)));
        assert_eq!(decoder.decode(&mut input), Ok(Some("\r".into())));
    }

    #[test]
    fn a_message_that_holds_a_line_feed_is_refused() {
        for (head, body) in [("a\nb", "c"), ("a", "b\n"), ("", "\n")] {
            let mut queue = SendQueue::default();
            let mut encoder = Lines::new(LIMIT).encoder();
            let refused = encoder.encode(head.as_bytes(), body.into(), &mut queue);
            assert!(matches!(refused, Err(FramingError::Other(_))), "{refused:?}");
            assert!(queue.is_empty());
        }
    }

    #[test]
    fn a_last_line_without_its_end_is_cut_off() {
        let mut decoder = decoder();
        let mut input = BytesMut::from("whole\npart");
        assert_eq!(decoder.decode(&mut input), Ok(Some("whole".into())));
        assert_eq!(decoder.decode(&mut input), Ok(None));
        assert_eq!(decoder.finish(&input), Err(FramingError::CutOff { have: 4 }));
        assert_eq!(decoder.finish(b""), Ok(()));
    }
}
