//! The framing of many protocols: the message's length as four bytes, then the message.

use super::{Decoder, Encoder, Framing, FramingError, SendQueue};
use crate::body::Body;
use bytes::{Buf, Bytes, BytesMut};

/// Bytes of the length on the wire.
const HEADER_LEN: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ByteOrder {
    Big,
    Little,
}

/// A framing with the length before each message, an unsigned number of 32 bits. SSH agents and many custom
/// protocols use it.
///
/// It has no preface, no check and no goodbye: a peer does not learn why its connection ends, and
/// bytes of another protocol are read as a length. A length over the limit is refused before
/// anything is stored. An empty message is allowed.
///
/// ```
/// use bytes::BytesMut;
/// use msgpipe::framing::{Framing, FramingError, LengthPrefix, SendQueue};
///
/// const FRAMING: LengthPrefix = LengthPrefix::big_endian(64 * 1024);
///
/// let mut queue = SendQueue::default();
/// FRAMING.encoder().encode(b"", "hello".into(), &mut queue)?;
/// assert_eq!(queue.to_bytes(), "\0\0\0\x05hello");
///
/// let mut wire = BytesMut::from("\0\0\0\x05hello\0\x01\0\x01");
/// let mut decoder = FRAMING.decoder();
/// assert_eq!(decoder.decode(&mut wire)?.unwrap(), "hello");
/// let too_large = FramingError::TooLarge { size: 65_537, limit: 65_536 };
/// assert_eq!(decoder.decode(&mut wire), Err(too_large));
/// # Ok::<_, FramingError>(())
/// ```
///
/// Both ends take it in their options:
///
/// ```no_run
/// use msgpipe::framing::LengthPrefix;
/// use msgpipe::{ClientOptions, ServerOptions};
///
/// let framing = LengthPrefix::little_endian(1 << 20).counting_header();
/// let server = ServerOptions::new().framing(framing).bind_messages("com.example.old")?;
/// let client = ClientOptions::new().framing(framing).connect_messages("com.example.old")?;
/// # Ok::<_, msgpipe::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LengthPrefix {
    order: ByteOrder,
    /// What the length counts besides the message: its own four bytes, or 0.
    counted: u32,
    limit: usize,
}

impl LengthPrefix {
    /// The length's most significant byte comes first ("network byte order"). Messages have up to
    /// `limit` bytes, without the length itself; see [`limit`](LengthPrefix::limit).
    pub const fn big_endian(limit: usize) -> LengthPrefix {
        LengthPrefix { order: ByteOrder::Big, counted: 0, limit }
    }

    /// The length's least significant byte comes first. Messages have up to `limit` bytes, without
    /// the length itself; see [`limit`](LengthPrefix::limit).
    pub const fn little_endian(limit: usize) -> LengthPrefix {
        LengthPrefix { order: ByteOrder::Little, counted: 0, limit }
    }

    /// The same framing, with a length that counts its own four bytes too. A length below four is an error
    /// of the peer.
    ///
    /// ```
    /// use msgpipe::framing::{Framing, LengthPrefix, SendQueue};
    /// let mut queue = SendQueue::default();
    /// let framing = LengthPrefix::big_endian(1024).counting_header();
    /// framing.encoder().encode(b"", "hello".into(), &mut queue)?;
    /// assert_eq!(queue.to_bytes(), "\0\0\0\x09hello");
    /// # Ok::<_, msgpipe::framing::FramingError>(())
    /// ```
    pub const fn counting_header(self) -> LengthPrefix {
        LengthPrefix { counted: HEADER_LEN as u32, ..self }
    }

    /// The largest message in bytes, without the length before it: the given limit, or the largest that 32
    /// bits can express if that is less.
    ///
    /// ```
    /// use msgpipe::framing::LengthPrefix;
    /// assert_eq!(LengthPrefix::big_endian(1024).counting_header().limit(), 1024);
    /// ```
    pub const fn limit(&self) -> usize {
        let most = (u32::MAX - self.counted) as usize;
        if self.limit < most { self.limit } else { most }
    }

    /// The size of the message after this header. Checked against the limit before a byte of the message is
    /// stored.
    fn size(&self, header: [u8; HEADER_LEN]) -> Result<usize, FramingError> {
        let length = match self.order {
            ByteOrder::Big => u32::from_be_bytes(header),
            ByteOrder::Little => u32::from_le_bytes(header),
        };
        let Some(size) = length.checked_sub(self.counted) else {
            let problem = format!("a length of {length}, which should count its own 4 bytes");
            return Err(FramingError::Other(problem));
        };
        match size as usize {
            size if size <= self.limit() => Ok(size),
            _ => Err(FramingError::TooLarge { size: size.into(), limit: self.limit() }),
        }
    }

    /// The header before a message of this size.
    fn header(&self, size: usize) -> Result<[u8; HEADER_LEN], FramingError> {
        if size > self.limit() {
            return Err(FramingError::TooLarge { size: size as u64, limit: self.limit() });
        }
        // The limit leaves room for `counted`.
        let length = size as u32 + self.counted;
        Ok(match self.order {
            ByteOrder::Big => length.to_be_bytes(),
            ByteOrder::Little => length.to_le_bytes(),
        })
    }
}

impl Framing for LengthPrefix {
    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(LengthDecoder { framing: *self, size: None, missing: HEADER_LEN })
    }

    fn encoder(&self) -> Box<dyn Encoder> {
        Box::new(*self)
    }

    fn limit(&self) -> usize {
        self.limit()
    }
}

impl Encoder for LengthPrefix {
    fn encode<'a>(
        &mut self,
        head: &[u8],
        body: Body<'a>,
        out: &mut SendQueue<'a>,
    ) -> Result<(), FramingError> {
        out.put_slice(&self.header(head.len() + body.len())?);
        out.put_slice(head);
        out.put_bytes(body);
        Ok(())
    }
}

#[derive(Debug)]
struct LengthDecoder {
    framing: LengthPrefix,
    /// The size of the next message, once its header has been taken off the input.
    size: Option<usize>,
    /// See [`Decoder::missing`]; never more than the rest of one message.
    missing: usize,
}

impl Decoder for LengthDecoder {
    fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Bytes>, FramingError> {
        let size = match self.size {
            Some(size) => size,
            None => {
                let Some(&header) = input.first_chunk() else {
                    self.missing = HEADER_LEN - input.len();
                    return Ok(None);
                };
                let size = self.framing.size(header)?;
                input.advance(HEADER_LEN);
                self.size = Some(size);
                size
            }
        };
        if input.len() < size {
            self.missing = size - input.len();
            return Ok(None);
        }
        self.size = None;
        Ok(Some(input.split_to(size).freeze()))
    }

    fn missing(&self) -> usize {
        self.missing
    }

    fn finish(&self, left: &[u8]) -> Result<(), FramingError> {
        let header = if self.size.is_some() { HEADER_LEN } else { 0 };
        match header + left.len() {
            0 => Ok(()),
            have => Err(FramingError::CutOff { have }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 1000;

    fn all_kinds(limit: usize) -> [LengthPrefix; 4] {
        let (big, little) = (LengthPrefix::big_endian(limit), LengthPrefix::little_endian(limit));
        [big, little, big.counting_header(), little.counting_header()]
    }

    fn header(framing: LengthPrefix, length: u32) -> [u8; HEADER_LEN] {
        match framing.order {
            ByteOrder::Big => length.to_be_bytes(),
            ByteOrder::Little => length.to_le_bytes(),
        }
    }

    #[test]
    fn the_limit_is_exact_in_both_directions() {
        for framing in all_kinds(LIMIT) {
            for size in [0, 1, LIMIT - 1, LIMIT, LIMIT + 1] {
                let too_large = FramingError::TooLarge { size: size as u64, limit: LIMIT };
                let mut queue = SendQueue::default();
                let encoded = framing.encoder().encode(b"", vec![7; size].into(), &mut queue);
                let mut input = BytesMut::from(&header(framing, size as u32 + framing.counted)[..]);
                input.resize(HEADER_LEN + size, 7);
                let wire = input.clone();
                let decoded = framing.decoder().decode(&mut input);
                if size <= LIMIT {
                    assert_eq!((encoded, queue.to_bytes()), (Ok(()), wire.freeze()));
                    assert_eq!(decoded.unwrap().unwrap().len(), size);
                } else {
                    assert_eq!((encoded, queue.len()), (Err(too_large.clone()), 0));
                    assert_eq!(decoded, Err(too_large));
                }
            }
        }
    }

    #[test]
    fn a_length_over_the_limit_is_refused_by_its_header_alone() {
        for framing in all_kinds(LIMIT) {
            for length in [LIMIT as u32 + framing.counted + 1, u32::MAX] {
                let mut input = BytesMut::from(&header(framing, length)[..]);
                let size = u64::from(length - framing.counted);
                let too_large = FramingError::TooLarge { size, limit: LIMIT };
                assert_eq!(framing.decoder().decode(&mut input), Err(too_large));
            }
        }
    }

    #[test]
    fn a_length_that_counts_its_header_is_four_or_more() {
        for framing in &all_kinds(LIMIT)[2..] {
            for length in [0, 3, 4, 5] {
                let mut input = BytesMut::from(&header(*framing, length)[..]);
                let decoded = framing.decoder().decode(&mut input);
                match length {
                    4 => assert_eq!(decoded, Ok(Some(Bytes::new()))),
                    5 => assert_eq!(decoded, Ok(None)),
                    _ => assert!(matches!(decoded, Err(FramingError::Other(_))), "{decoded:?}"),
                }
            }
        }
    }

    #[test]
    fn the_limit_is_at_most_what_the_length_can_express() {
        let most = u32::MAX as usize;
        for (framing, least_over) in all_kinds(usize::MAX).into_iter().zip([0, 0, 4, 4]) {
            assert_eq!(framing.limit(), most - least_over);
            assert_eq!(framing.header(framing.limit()), Ok([0xFF; 4]));
        }
        // On 32-bit systems usize has no larger value.
        if let Some(over) = most.checked_add(1) {
            let refused = LengthPrefix::big_endian(over).header(over);
            assert!(matches!(refused, Err(FramingError::TooLarge { .. })), "{refused:?}");
        }
    }

    #[test]
    fn the_missing_bytes_are_exact() {
        for framing in all_kinds(LIMIT) {
            let mut queue = SendQueue::default();
            framing.encoder().encode(b"he", "llo".into(), &mut queue).unwrap();
            let wire = queue.to_bytes();
            let mut decoder = framing.decoder();
            let mut input = BytesMut::new();
            assert_eq!((decoder.missing(), decoder.finish(&input)), (4, Ok(())));
            for (at, byte) in wire.iter().enumerate() {
                assert_eq!(decoder.decode(&mut input), Ok(None), "at {at}");
                assert_eq!(decoder.missing(), if at < 4 { 4 - at } else { 9 - at }, "at {at}");
                let end = if at == 0 { Ok(()) } else { Err(FramingError::CutOff { have: at }) };
                assert_eq!(decoder.finish(&input), end, "at {at}");
                input.extend_from_slice(&[*byte]);
            }
            assert_eq!(decoder.decode(&mut input), Ok(Some("hello".into())));
            assert_eq!(decoder.finish(&input), Ok(()));
        }
    }
}
