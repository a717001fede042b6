//! Connections with streams that do what no system can be made to do on demand.

use super::*;
use crate::framing::{Layer, Native, SendQueue};
use std::io::ErrorKind;
use std::time::Duration;

/// A client that always has more to be read, and takes as much as it is allowed to.
struct Endless {
    /// What it says first, then what it says again and again.
    first: Bytes,
    again: Bytes,
    said: usize,
    takes: bool,
}

impl Endless {
    fn new(takes: bool) -> Endless {
        let mut encoder = framing().encoder();
        let (mut first, mut again) = (SendQueue::default(), SendQueue::default());
        encoder.begin(&mut first);
        encoder.encode(b"", "ten bytes!".into(), &mut again).unwrap();
        Endless { first: first.to_bytes(), again: again.to_bytes(), said: 0, takes }
    }
}

impl ServerStream for Endless {
    /// Fills the buffer, whatever its size: a frame may begin in one read and end in the next.
    fn read(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        let room = buffer.capacity() - buffer.len();
        let stream = self.first.iter().chain(self.again.iter().cycle());
        let period = self.again.len();
        // The same place in the stream, without going through all that was said before.
        let skip = match self.said.checked_sub(self.first.len()) {
            Some(again) => self.first.len() + again % period,
            None => self.said,
        };
        buffer.extend(stream.skip(skip).take(room));
        self.said += room;
        Ok(room)
    }

    fn write(&mut self, queue: &mut SendQueue) -> io::Result<usize> {
        if !self.takes {
            return Err(ErrorKind::WouldBlock.into());
        }
        let len = queue.len();
        queue.advance(len);
        Ok(len)
    }
}

fn framing() -> Native {
    Native::new(Layer::Messages, 1 << 20)
}

fn connections(limits: &Limits) -> Connections<Endless> {
    Connections::new(Arc::new(framing()), limits)
}

fn id(number: u64) -> ConnectionId {
    ConnectionId::from_number(number)
}

/// More messages than one read can hold.
const MANY: usize = 100_000;

#[test]
fn each_ready_connection_has_one_read_in_a_turn() {
    let mut connections = connections(&Limits::default());
    for number in 0..3 {
        connections.add(id(number), Endless::new(true), Peer::default(), true, Instant::now());
    }
    for _ in 0..3 {
        connections.begin_turn(Instant::now());
        let mut heard = [0; 3];
        while let Some(event) = connections.next(Instant::now()) {
            if let Event::Message(from, message) = event {
                assert_eq!(message, "ten bytes!");
                heard[from.number() as usize] += 1;
            }
            assert!(heard.iter().all(|&messages| messages < MANY), "the turn does not end");
        }
        assert!(heard.iter().all(|&messages| messages > 0), "somebody had no read: {heard:?}");
        assert!(connections.is_busy());
    }
}

#[test]
fn who_takes_nothing_is_not_read_past_half_of_the_limit() {
    let limits =
        Limits { queued: 10_000, write_stall: Duration::from_secs(1), ..Limits::default() };
    let mut connections = connections(&limits);
    connections.add(id(0), Endless::new(false), Peer::default(), true, Instant::now());
    let start = Instant::now();
    connections.begin_turn(start);
    let mut answered = 0;
    while let Some(event) = connections.next(start) {
        if let Event::Message(from, message) = event {
            connections.send(from, b"", message).unwrap();
            answered += 1;
        }
    }
    // Answers of 18 bytes with their header, and what the framing begins with.
    assert!((5_000..5_100).contains(&(answered * 18 + 16)), "{answered} messages were read");
    // It stays so until it is closed, at the deadline and not before.
    assert_eq!(connections.deadline(), Some(start + limits.write_stall));
    let just_before = start + limits.write_stall - Duration::from_nanos(1);
    connections.begin_turn(just_before);
    assert!(connections.next(just_before).is_none());
    connections.begin_turn(start + limits.write_stall);
    let closed = connections.next(start + limits.write_stall);
    assert!(matches!(closed, Some(Event::Closed(_, CloseReason::Unread { .. }))), "{closed:?}");
    assert_eq!(connections.deadline(), None);
}

#[test]
fn the_limit_of_what_is_queued_is_exact() {
    let limits = Limits { queued: 1_000, ..Limits::default() };
    let mut connections = connections(&limits);
    connections.add(id(0), Endless::new(false), Peer::default(), false, Instant::now());
    while connections.next(Instant::now()).is_some() {}
    // The framing begins with 16 bytes, and each message has a header of 8.
    let fill = |connections: &mut Connections<Endless>, queued: usize| {
        connections.send(id(0), b"", vec![0; queued - 16 - 8].into()).unwrap();
    };
    fill(&mut connections, 999);
    // One byte below the limit a message of any size is taken; above it none is.
    connections.send(id(0), b"", vec![0; 500_000].into()).unwrap();
    let refused = connections.send(id(0), b"", Bytes::new()).unwrap_err();
    assert!(
        matches!(refused.refusal, Refusal::Full { queued: 501_007, limit: 1_000 }),
        "{refused}"
    );

    for (queued, fits) in [(999, true), (1_000, false), (1_001, false)] {
        let mut connections = self::connections(&limits);
        connections.add(id(0), Endless::new(false), Peer::default(), false, Instant::now());
        fill(&mut connections, queued);
        assert_eq!(connections.send(id(0), b"", Bytes::new()).is_ok(), fits, "{queued} queued");
    }
}
