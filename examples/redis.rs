//! A server for existing clients of RESP, the protocol of Redis: a few of its commands on
//! a map in memory, over the message layer with a custom framing.
//!
//! ```text
//! cargo run --release --example redis -- /tmp/resp/socket     # in a directory of your own
//! redis-cli -s /tmp/resp/socket set greeting hello
//! redis-benchmark -s /tmp/resp/socket -t get
//! ```
//!
//! A message is a whole command (`*2\r\n$3\r\nGET\r\n$8\r\ngreeting\r\n`); a reply is sent without a frame.
//! `scripts/compare-with-redis` measures it against redis-server.

use bytes::{Bytes, BytesMut};
use msgpipe::framing::{Decoder, Encoder, Framing, FramingError, SendQueue};
use msgpipe::{Body, Endpoint, Event, MessageServer, ServerOptions};
use std::collections::HashMap;

/// The framing of commands. A command is an array of strings.
struct Resp {
    /// The largest command in bytes.
    limit: usize,
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
        match strings(input, |_| {})? {
            Some(size) if size <= self.limit => Ok(Some(input.split_to(size).freeze())),
            None if input.len() <= self.limit => Ok(None),
            _ => Err(FramingError::TooLarge { size: input.len() as u64, limit: self.limit }),
        }
    }
}

/// Passes the strings of the command at the front of `input` to `string`. Returns the size of the command, or
/// `None` if it is incomplete.
fn strings<'a>(
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
    match LINE_END.starts_with(arrived) {
        true => Ok((arrived == LINE_END).then_some(at + LINE_END.len())),
        false => Err(no_command(arrived)),
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

#[derive(Default)]
struct Store {
    values: HashMap<Bytes, Bytes>,
}

impl Store {
    fn answer(&mut self, command: &[u8]) -> Bytes {
        let mut words = [&b""[..]; 3];
        let mut count = 0;
        let read = strings(command, |string| {
            if let Some(word) = words.get_mut(count) {
                *word = string;
            }
            count += 1;
        });
        debug_assert!(matches!(read, Ok(Some(_))), "the framing gives whole commands");
        let is = |name: &str| words[0].eq_ignore_ascii_case(name.as_bytes());
        match count {
            1 if is("ping") => Bytes::from_static(b"+PONG\r\n"),
            2 if is("get") => self.values.get(words[1]).map_or(NIL, |value| bulk(value)),
            3 if is("set") => {
                let copy = Bytes::copy_from_slice;
                self.values.insert(copy(words[1]), copy(words[2]));
                Bytes::from_static(b"+OK\r\n")
            }
            _ => Bytes::from_static(b"-ERR a command that is not served here\r\n"),
        }
    }
}

const NIL: Bytes = Bytes::from_static(b"$-1\r\n");

fn bulk(value: &[u8]) -> Bytes {
    let mut reply = format!("${}\r\n", value.len()).into_bytes();
    reply.extend_from_slice(value);
    reply.extend_from_slice(b"\r\n");
    reply.into()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("redis PATH_OF_THE_SOCKET")?;
    let options = ServerOptions::new().framing(Resp { limit: 1 << 20 });
    let mut server = options.bind_messages(&Endpoint::path(path)?)?;
    println!("listening at {}", server.endpoint());
    let mut store = Store::default();
    while let Some(event) = server.poll(None)? {
        if let Event::Message(client, command) = event {
            let answer = store.answer(&command);
            // This fails only if the client has disconnected, or leaves a megabyte of replies unread.
            if server.send(client, answer).is_err() {
                server.abort(client);
            }
        }
    }
    Ok(())
}
