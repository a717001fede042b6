//! The framing of RESP: where a command ends, and its strings.

use bytes::{Bytes, BytesMut};
use msgpipe::Body;
use msgpipe::framing::{Decoder, Encoder, Framing, FramingError, SendQueue};

/// The framing of commands. A command is an array of strings.
pub struct Resp {
    /// The largest command in bytes.
    pub limit: usize,
}

/// The most strings of a command.
const STRINGS: usize = 1024;

impl Framing for Resp {
    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(Commands { limit: self.limit })
    }

    fn encoder(&self) -> Box<dyn Encoder> {
        Box::new(Replies)
    }

    fn limit(&self) -> usize {
        self.limit
    }
}

struct Commands {
    limit: usize,
}

impl Decoder for Commands {
    fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Bytes>, FramingError> {
        // What is behind the limit changes nothing, whether it has arrived or not.
        let most = self.limit.saturating_add(1);
        let front = &input[..input.len().min(most)];
        match strings(front, |_| {})? {
            Some(size) if size <= self.limit => Ok(Some(input.split_to(size).freeze())),
            None if front.len() <= self.limit => Ok(None),
            _ => Err(FramingError::TooLarge { size: most as u64, limit: self.limit }),
        }
    }
}

/// Passes the strings of the command at the front of `input` to `string`. Returns the size of the command, or
/// `None` if it is incomplete.
pub fn strings<'a>(
    input: &'a [u8],
    mut string: impl FnMut(&'a [u8]),
) -> Result<Option<usize>, FramingError> {
    let Some((count, mut at)) = number(input, b'*', STRINGS)? else { return Ok(None) };
    for _ in 0..count {
        let Some((size, digits)) = number(&input[at..], b'$', usize::MAX)? else { return Ok(None) };
        let begin = at + digits;
        let Some(end) = begin.checked_add(size).filter(|end| *end <= input.len()) else {
            return Ok(None);
        };
        let Some(next) = after_line_end(input, end)? else { return Ok(None) };
        string(&input[begin..end]);
        at = next;
    }
    Ok(Some(at))
}

/// The number after `mark`, and the number of bytes of the whole line: mark, number and line end. `None` if
/// the line is incomplete.
fn number(input: &[u8], mark: u8, most: usize) -> Result<Option<(usize, usize)>, FramingError> {
    if input.first().is_some_and(|first| *first != mark) {
        return Err(no_command(&input[..1]));
    }
    let mut number = 0usize;
    for (at, byte) in input.iter().enumerate().skip(1) {
        match byte {
            b'0'..=b'9' if at <= 9 => number = number * 10 + usize::from(byte - b'0'),
            b'\r' if at > 1 && number <= most => {
                return Ok(after_line_end(input, at)?.map(|next| (number, next)));
            }
            _ => return Err(no_command(&input[..=at])),
        }
    }
    Ok(None)
}

/// The position after the line end at `at`; `None` if the line end is incomplete.
fn after_line_end(input: &[u8], at: usize) -> Result<Option<usize>, FramingError> {
    const LINE_END: &[u8] = b"\r\n";
    let arrived = &input[at..input.len().min(at + LINE_END.len())];
    match arrived.iter().zip(LINE_END).position(|(is, should)| is != should) {
        None => Ok((arrived == LINE_END).then_some(at + LINE_END.len())),
        Some(wrong) => Err(no_command(&arrived[..=wrong])),
    }
}

fn no_command(bytes: &[u8]) -> FramingError {
    FramingError::Other(format!("no command of RESP: {:?}", String::from_utf8_lossy(bytes)))
}

/// Replies are sent unchanged.
struct Replies;

impl Encoder for Replies {
    fn encode<'a>(
        &mut self,
        head: &[u8],
        body: Body<'a>,
        out: &mut SendQueue<'a>,
    ) -> Result<(), FramingError> {
        out.put_slice(head);
        out.put_bytes(body);
        Ok(())
    }
}
