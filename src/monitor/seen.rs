//! What a server has seen, as the parts of a reply to [`TAP`](super::TAP).

use crate::exchange::ENVELOPE_LEN;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const FROM_CLIENT: u8 = 0;
const TO_CLIENT: u8 = 1;
const CONNECTED: u8 = 2;
const CLOSED: u8 = 3;

/// The bytes before what was seen.
const HEAD_LEN: usize = 25;

/// Something that a server has seen: a part of the reply to [`TAP`](super::TAP).
///
/// ```no_run
/// use msgpipe::monitor::{Seen, TAP};
/// let client = msgpipe::Client::connect("com.example.notes")?;
/// for part in client.with_method(TAP).stream("")? {
///     if let Some(seen) = Seen::decode(part?) {
///         println!("{seen}"); // connection 3 > request 2, method 7, 80 bytes
///     }
/// }
/// # Ok::<_, msgpipe::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Seen {
    /// Counts what was seen, from 0. After a gap something was dropped, as the reader was too slow.
    pub number: u64,
    /// When it was seen, by the server's clock, in whole microseconds.
    pub at: SystemTime,
    /// The number of the [connection](crate::ConnectionId).
    pub connection: u64,
    /// What it was.
    pub what: What,
}

/// What was [seen](Seen).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum What {
    /// A client has connected: its [peer](crate::Peer) as text.
    Connected(String),
    /// A connection has ended: the reason as text.
    Closed(String),
    /// A frame of a client.
    FromClient(Frame),
    /// A frame to a client, when it was given to the transport.
    ToClient(Frame),
}

/// A frame of the calls layer, as far as it is shown. `docs/PROTOCOL.md`, "Envelope", says what the fields are.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Frame {
    /// The kind.
    pub kind: u8,
    /// The flags.
    pub flags: u8,
    /// The code of an error or an abort, else 0.
    pub code: u16,
    /// The call, the lane, or 0 for the connection.
    pub id: u32,
    /// The first number: the method of a request.
    pub first: u32,
    /// The second number: the milliseconds of a request, 0 for no limit.
    pub second: u32,
    /// The size of the whole frame in bytes.
    pub size: u32,
    /// What follows the envelope, as much of it as the server [shows](super::Monitor).
    pub rest: Bytes,
}

impl Seen {
    /// Reads a part. `None` for one that is too short, or of a kind that this version does not know: to be skipped.
    pub fn decode(mut part: Bytes) -> Option<Seen> {
        let number = part.try_get_u64_le().ok()?;
        let micros = part.try_get_u64_le().ok()?;
        let connection = part.try_get_u64_le().ok()?;
        let what = match part.try_get_u8().ok()? {
            CONNECTED => What::Connected(String::from_utf8_lossy(&part).into_owned()),
            CLOSED => What::Closed(String::from_utf8_lossy(&part).into_owned()),
            FROM_CLIENT => What::FromClient(Frame::decode(part)?),
            TO_CLIENT => What::ToClient(Frame::decode(part)?),
            _ => return None,
        };
        let at = UNIX_EPOCH.checked_add(Duration::from_micros(micros))?;
        Some(Seen { number, at, connection, what })
    }

    /// The head of a part, for what `kind` says.
    fn encode(number: u64, connection: u64, kind: u8, room: usize) -> BytesMut {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut part = BytesMut::with_capacity(HEAD_LEN + room);
        part.put_u64_le(number);
        part.put_u64_le(u64::try_from(at.as_micros()).unwrap_or(u64::MAX));
        part.put_u64_le(connection);
        part.put_u8(kind);
        part
    }

    /// A client has connected, or has gone.
    pub(crate) fn change(number: u64, connection: u64, is_connected: bool, text: &str) -> Bytes {
        let kind = if is_connected { CONNECTED } else { CLOSED };
        let mut part = Seen::encode(number, connection, kind, text.len());
        part.put(text.as_bytes());
        part.freeze()
    }

    /// A frame, whose bytes are these slices, of which `shown` are shown.
    pub(crate) fn frame(
        number: u64,
        connection: u64,
        to_client: bool,
        slices: [&[u8]; 2],
        shown: usize,
    ) -> Bytes {
        let size = slices[0].len() + slices[1].len();
        let kind = if to_client { TO_CLIENT } else { FROM_CLIENT };
        let mut part = Seen::encode(number, connection, kind, 4 + shown.min(size));
        part.put_u32_le(u32::try_from(size).unwrap_or(u32::MAX));
        let mut left = shown;
        for slice in slices {
            let shown = &slice[..slice.len().min(left)];
            part.put(shown);
            left -= shown.len();
        }
        part.freeze()
    }
}

impl Frame {
    fn decode(mut part: Bytes) -> Option<Frame> {
        if part.len() < 4 + ENVELOPE_LEN {
            return None;
        }
        let size = part.get_u32_le();
        let (kind, flags, code) = (part.get_u8(), part.get_u8(), part.get_u16_le());
        let (id, first, second) = (part.get_u32_le(), part.get_u32_le(), part.get_u32_le());
        Some(Frame { kind, flags, code, id, first, second, size, rest: part })
    }

    /// The name of the kind; `unknown` for those that this version does not know.
    ///
    /// ```
    /// # let part = [&[0; 24][..], &[0, 16, 0, 0, 0, 6, 0, 0, 0, 2], &[0; 11]].concat();
    /// # let seen = msgpipe::monitor::Seen::decode(part.into()).unwrap();
    /// # let msgpipe::monitor::What::FromClient(frame) = &seen.what else { panic!() };
    /// assert_eq!((frame.kind, frame.kind_name()), (6, "cancel"));
    /// assert_eq!(seen.to_string(), "connection 0 > cancel 2, 16 bytes");
    /// ```
    pub fn kind_name(&self) -> &'static str {
        match self.kind {
            1 => "request",
            2 => "data",
            3 => "error",
            4 => "abort",
            5 => "stop",
            6 => "cancel",
            7 => "credit",
            8 => "connection credit",
            9 => "admit",
            10 => "drain",
            11 => "settings",
            _ => "unknown",
        }
    }
}

/// One line: kind, call, and what this kind has of method, time, code, limit and size.
impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind_name())?;
        if self.id != 0 {
            write!(f, " {}", self.id)?;
        }
        match self.kind {
            1 => {
                if self.first != 0 {
                    write!(f, ", method {}", self.first)?;
                }
                if self.second != 0 {
                    write!(f, ", {} ms", self.second)?;
                }
            }
            2 if self.first != 0 => write!(f, ", method {}", self.first)?,
            3 | 4 => write!(f, ", code {}", self.code)?,
            7 | 8 => {
                let limit = u64::from(self.second) << 32 | u64::from(self.first);
                write!(f, ", up to {limit}")?;
            }
            _ => {}
        }
        write!(f, ", {} bytes", self.size)?;
        match self.kind {
            1..=3 if self.flags & 2 != 0 => f.write_str(", the last"),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "connection {} ", self.connection)?;
        match &self.what {
            What::Connected(peer) => write!(f, "connected: {peer}"),
            What::Closed(reason) => write!(f, "closed: {reason}"),
            What::FromClient(frame) => write!(f, "> {frame}"),
            What::ToClient(frame) => write!(f, "< {frame}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_of_a_frame_has_its_limit() {
        let (head, body) = ([1; ENVELOPE_LEN], [2; 10]);
        for (shown, rest) in [(16, 0), (17, 1), (25, 9), (26, 10), (27, 10)] {
            let part = Seen::frame(7, 3, true, [&head, &body], shown);
            let seen = Seen::decode(part).unwrap();
            let What::ToClient(frame) = seen.what else { panic!("{seen:?}") };
            assert_eq!((seen.number, seen.connection, frame.size), (7, 3, 26));
            assert_eq!((frame.rest.len(), frame.id), (rest, 0x0101_0101), "{shown}");
        }
    }

    #[test]
    fn parts_that_are_cut_or_unknown_are_skipped() {
        let part = Seen::frame(0, 0, false, [&[0; ENVELOPE_LEN], &[]], ENVELOPE_LEN);
        assert!(Seen::decode(part.clone()).is_some());
        for len in 0..part.len() {
            assert_eq!(Seen::decode(part.slice(..len)), None, "{len}");
        }
        let mut unknown = part.to_vec();
        unknown[HEAD_LEN - 1] = 9;
        assert_eq!(Seen::decode(unknown.into()), None);
        let text = Seen::decode(Seen::change(1, 2, true, "process 3")).unwrap();
        assert_eq!(text.to_string(), "connection 2 connected: process 3");
    }
}
