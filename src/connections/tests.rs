//! Connections with scripted streams, for outcomes that a real system does not produce on demand.

use super::reading::{TURN_MESSAGES, TURN_TIME};
use super::sending::{FLUSHED_BESIDE, FLUSHED_MAX};
use super::*;
use crate::framing::{Layer, Native, SendQueue};
use std::cell::Cell;
use std::io::{self, ErrorKind};
use std::rc::Rc;
use std::time::Duration;

/// A client that always sends more, and reads as much as it may.
struct Endless {
    /// The bytes that it sends first, then the bytes that it repeats.
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
        // The same position in the stream, computed without the bytes before.
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

/// The messages of each connection in each turn; each message takes the application that long.
fn turns(count: usize, handler: Duration) -> Vec<[usize; 3]> {
    let mut now = Instant::now();
    let mut connections = connections(&Limits::default());
    for number in 0..3 {
        connections.add(id(number), Endless::new(true), Peer::default(), true, now);
    }
    let mut turn = |connections: &mut Connections<Endless>| {
        let mut heard = [0; 3];
        connections.begin_turn(now);
        while let Some(event) = connections.next(now) {
            if let Event::Message(from, _) = event {
                heard[from.number() as usize] += 1;
                now += handler;
            }
        }
        heard
    };
    (0..count).map(|_| turn(&mut connections)).collect()
}

#[test]
fn a_turn_has_a_limit_of_messages() {
    let heard = turns(100, Duration::ZERO);
    assert!(heard.iter().flatten().all(|&messages| messages <= TURN_MESSAGES), "{heard:?}");
    let all: Vec<usize> = (0..3).map(|who| heard.iter().map(|turn| turn[who]).sum()).collect();
    assert!(all.iter().all(|&messages| messages > 90 * TURN_MESSAGES), "{all:?}");
}

#[test]
fn a_turn_has_a_limit_of_the_applications_time_and_at_least_one_message() {
    let step = Duration::from_nanos(1);
    for (handler, messages) in
        [(TURN_TIME * 10, 1), (TURN_TIME, 1), (TURN_TIME - step, 2), (TURN_TIME / 4, 4)]
    {
        for heard in turns(20, handler) {
            // If the bytes of one read end inside a message, the turn ends there too.
            assert!(heard.iter().all(|&heard| heard <= messages), "{heard:?}, {handler:?}");
        }
        assert_eq!(turns(1, handler), [[messages; 3]], "{handler:?}");
    }
}

/// A client that reads everything.
struct Greedy {
    taken: Rc<Cell<usize>>,
}

impl ServerStream for Greedy {
    fn read(&mut self, _buffer: &mut BytesMut) -> io::Result<usize> {
        Err(ErrorKind::WouldBlock.into())
    }

    fn write(&mut self, queue: &mut SendQueue) -> io::Result<usize> {
        let len = queue.len().min(FLUSH_MOST);
        queue.advance(len);
        self.taken.set(self.taken.get() + len);
        Ok(len)
    }
}

#[test]
fn a_peer_that_reads_as_fast_as_it_is_sent_to_has_its_turn_and_no_more() {
    let mut connections = Connections::new(Arc::new(framing()), &Limits::default());
    let taken = Rc::new(Cell::new(0));
    let stream = Greedy { taken: taken.clone() };
    let now = Instant::now();
    connections.add(id(0), stream, Peer::default(), false, now);
    connections.begin_turn(now);
    while connections.next(now).is_some() {}
    let size = FLUSH_MOST * 3 + 100_000;
    connections.send(id(0), b"", vec![1; size].into()).unwrap();
    let mut turns = Vec::new();
    while connections.is_busy() {
        let before = taken.get();
        connections.flushes = 1; // of as many connections as there are
        while connections.next(now).is_some() {}
        turns.push(taken.get() - before);
        connections.begin_turn(now);
    }
    assert_eq!(turns, [FLUSH_MOST, FLUSH_MOST, FLUSH_MOST, 100_000 + 8]);
}

/// An application that sends again as soon as there is room.
#[test]
fn sending_again_and_again_to_one_peer_does_not_keep_the_backend_from_polling() {
    let limits = Limits { queued: 1000, ..Limits::default() };
    let mut connections = Connections::new(Arc::new(framing()), &limits);
    let now = Instant::now();
    let stream = Greedy { taken: Rc::default() };
    connections.add(id(0), stream, Peer::default(), false, now);
    connections.begin_turn(now);
    let mut sent = 0;
    loop {
        while connections.send(id(0), b"", vec![1; 500].into()).is_ok() {
            sent += 1;
        }
        assert!(sent < 1_000_000, "the turn does not end");
        if connections.next(now).is_none() {
            break;
        }
    }
}

/// Each connection is sent something in a turn. Who has been sent something is sent more only up to a number of bytes: the system
/// is polled then, since requests may have arrived meanwhile. With small messages beside large ones it is less.
#[test]
fn a_turn_sends_something_to_each_and_a_limited_number_of_bytes_again() {
    const HEADER: usize = 8;
    let around = |most: usize| [(most - 1, true), (most, false), (most + 1, false)];
    let alone = around(FLUSHED_MAX).map(|(first, again)| (false, first, again));
    let beside = around(FLUSHED_BESIDE).map(|(first, again)| (true, first, again));
    for (has_small, first, again) in alone.into_iter().chain(beside) {
        let mut connections = Connections::new(Arc::new(framing()), &Limits::default());
        let (now, taken) = (Instant::now(), Rc::new(Cell::new(0)));
        for number in 0..2 {
            let stream = Greedy { taken: taken.clone() };
            connections.add(id(number), stream, Peer::default(), false, now);
        }
        connections.limit_in_transit(id(0), has_small);
        connections.begin_turn(now);
        while connections.next(now).is_some() {}
        connections.begin_turn(now);
        taken.set(0);
        let send = |connections: &mut Connections<Greedy>, to: u64, size: usize| {
            connections.send(id(to), b"", vec![1; size - HEADER].into()).unwrap();
            while connections.next(now).is_some() {}
        };
        send(&mut connections, 0, first);
        assert_eq!(taken.get(), first);
        // The other one has its turn, whatever was sent before.
        send(&mut connections, 1, 500);
        assert_eq!(taken.get(), first + 500);
        let limit = taken.get();
        taken.set(0);
        connections.begin_turn(now);
        send(&mut connections, 0, first);
        send(&mut connections, 0, 500);
        assert_eq!(taken.get(), if again { first + 500 } else { first }, "{first} of {limit}");
        assert_eq!(connections.is_busy(), !again);
        connections.begin_turn(now);
        while connections.next(now).is_some() {}
        assert_eq!(taken.get(), first + 500);
    }
}

#[test]
fn the_peer_of_a_closed_connection_is_known_until_the_next_event() {
    let mut connections = connections(&Limits::default());
    let peer = Peer { pid: Some(4711), ..Peer::default() };
    let now = Instant::now();
    for number in 0..2 {
        connections.add(id(number), Endless::new(true), peer.clone(), false, now);
        assert!(matches!(connections.next(now), Some(Event::Connected(_))));
    }
    for number in 0..2 {
        connections.close(id(number), &Goodbye::new(0, ""), now);
    }
    for number in 0..2 {
        let event = connections.next(now);
        assert!(matches!(event, Some(Event::Closed(gone, _)) if gone == id(number)), "{event:?}");
        assert_eq!(connections.peer(id(number)), Some(&peer));
    }
    assert!(connections.next(now).is_none());
    assert_eq!((connections.peer(id(0)), connections.peer(id(1))), (None, None));
    assert_eq!(connections.closed_peers.len(), 0);
}

#[test]
fn a_peer_that_reads_nothing_is_not_read_past_half_of_the_limit() {
    let limits =
        Limits { queued: 10_000, write_stall: Duration::from_secs(1), ..Limits::default() };
    let mut connections = connections(&limits);
    connections.add(id(0), Endless::new(false), Peer::default(), true, Instant::now());
    let start = Instant::now();
    let mut answered = 0;
    while connections.is_busy() {
        connections.begin_turn(start);
        while let Some(event) = connections.next(start) {
            if let Event::Message(from, message) = event {
                connections.send(from, b"", message).unwrap();
                answered += 1;
            }
        }
    }
    // Replies of 18 bytes with their header, and the preface.
    assert!((5_000..5_100).contains(&(answered * 18 + 16)), "{answered} messages were read");
    // This does not change until it is closed at the deadline.
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
    // The preface has 16 bytes, and each message a header of 8.
    let fill = |connections: &mut Connections<Endless>, queued: usize| {
        connections.send(id(0), b"", vec![0; queued - 16 - 8].into()).unwrap();
    };
    fill(&mut connections, 999);
    // One byte below the limit a message of any size is accepted; above it none.
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

/// Otherwise the next message would need new memory.
#[test]
fn a_refused_message_gives_the_lent_memory_back() {
    let mut connections = connections(&Limits::default());
    connections.add(id(0), Endless::new(true), Peer::default(), false, Instant::now());
    while connections.next(Instant::now()).is_some() {}
    // After the preface its queue is empty.
    connections.send(id(0), b"", "hello".into()).unwrap();
    while connections.next(Instant::now()).is_some() {}
    let memory = |connections: &Connections<Endless>| {
        (connections.send_memory.as_ptr(), connections.send_memory.capacity())
    };
    let before = memory(&connections);
    assert_ne!(before.1, 0, "the memory of a queue that was sent is kept");
    let too_large = vec![0; (1 << 20) + 1].into();
    let refused = connections.send(id(0), b"", too_large).unwrap_err();
    assert!(matches!(refused.refusal, Refusal::Framing(_)), "{refused}");
    assert_eq!(memory(&connections), before);
}
