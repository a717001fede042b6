//! The turn of a connection: streams that fail, that are paused or
//! closing, and buffers that must not leak bytes to another connection.

use super::reading::{TURN_MESSAGES, TURN_TIME};
use super::scene::{self, ID, Scene, frame, preface};
use super::sending::RECHECK_PAUSE;
use super::*;
use std::io::ErrorKind;
use std::time::Duration;

const OTHER: ConnectionId = ConnectionId::from_number(2);

/// Adds another peer, which has sent its preface.
fn another(scene: &mut Scene) -> scene::Peer {
    let (peer, now) = (scene::Peer::default(), scene.start);
    peer.says(&preface());
    scene.connections.add(OTHER, peer.clone(), Default::default(), true, now);
    assert!(matches!(scene.at(now)[..], [Event::Connected(OTHER)]));
    peer
}

#[test]
fn a_paused_connection_is_not_read() {
    let limits = Limits { queued: 1000, ..Limits::default() };
    let mut scene = Scene::begun(&limits);
    let now = scene.start;
    scene.peer.takes(false);
    scene.sends(501, now);
    assert!(scene.says(&frame(1), now).is_empty());
    // The message before is kept. This one stays in the system's buffer.
    assert!(scene.says(&frame(2), now).is_empty());
    assert!(scene.peer.has_unread_bytes());
    assert!(!scene.connections.is_busy());
}

/// A message is a slice of the buffer that it was read into, in whatever turn it is decoded.
#[test]
fn what_a_turn_leaves_is_decoded_where_it_was_read() {
    let mut scene = Scene::begun(&Limits::default());
    let (now, frame) = (scene.start, frame(100));
    let mut messages = Vec::new();
    let mut events = scene.says(&frame.repeat(3 * TURN_MESSAGES), now);
    while !events.is_empty() {
        messages.extend(events.into_iter().map(|event| match event {
            Event::Message(_, message) => message,
            event => panic!("{event:?}"),
        }));
        events = scene.at(now);
    }
    assert_eq!(messages.len(), 3 * TURN_MESSAGES);
    // The first read has filled the buffer. What is left after two turns is little, and is copied.
    for (at, pair) in messages[..2 * TURN_MESSAGES].windows(2).enumerate() {
        let distance = pair[1].as_ptr().addr() - pair[0].as_ptr().addr();
        assert_eq!(distance, frame.len(), "message {at} of {TURN_MESSAGES} in a turn");
    }
}

/// The queue counts messages with their headers of 8 bytes.
#[test]
fn at_half_of_the_limit_reading_goes_on_and_writable_is_reported_and_not_above() {
    let limits = Limits { queued: 1000, ..Limits::default() };
    let mut scene = Scene::begun(&limits);
    let now = scene.start;
    scene.peer.takes(false);
    scene.sends(992, now);
    let refused = scene.connections.send(ID, &[], Bytes::new()).unwrap_err();
    assert!(matches!(refused.refusal, Refusal::Full { queued: 1000, limit: 1000 }));
    assert!(scene.says(&frame(1), now).is_empty());
    scene.peer.takes_bytes(499);
    scene.connections.writable(ID);
    assert!(scene.at(now).is_empty(), "501 bytes wait");
    assert!(!scene.connections.is_busy());
    scene.peer.takes_bytes(1);
    scene.connections.writable(ID);
    let mut events = scene.at(now);
    events.extend(scene.at(now));
    assert!(matches!(events[..], [Event::Writable(ID), Event::Message(ID, _)]), "{events:?}");
}

/// A layer above hands over messages only while the queue is short. Here: half of the limit of the queue.
#[test]
fn the_room_of_a_layer_that_schedules_is_exact_and_it_is_told_of_more() {
    let limits = Limits { queued: 1000, ..Limits::default() };
    for (queued, has_room) in [(499, true), (500, true), (501, false)] {
        let mut scene = Scene::begun(&limits);
        let now = scene.start;
        scene.peer.takes(false);
        scene.sends(queued - 8, now);
        assert_eq!(scene.connections.has_room(ID), has_room, "{queued} bytes are queued");
        assert_eq!(scene.says(&frame(1), now).is_empty(), !has_room, "{queued}");
        scene.peer.takes_bytes(queued - 251);
        scene.connections.writable(ID);
        assert!(scene.at(now).is_empty(), "251 bytes are left of {queued}");
        scene.peer.takes_bytes(1);
        scene.connections.writable(ID);
        let mut events = scene.at(now);
        events.extend(scene.at(now));
        let expected = matches!(events[..], [Event::Writable(ID), Event::Message(ID, _)]);
        assert_eq!(expected, !has_room, "{queued}: {events:?}");
    }
}

/// Whatever has asked for it: a system call that sends nothing is one too many.
#[test]
fn a_connection_is_flushed_once_in_a_turn() {
    let mut scene = Scene::begun(&Limits::default());
    let now = scene.start;
    scene.peer.takes(false);
    scene.sends(100, now);
    let before = scene.peer.writes();
    for _ in 0..3 {
        scene.connections.writable(ID);
    }
    assert!(scene.at(now).is_empty());
    assert_eq!(scene.peer.writes() - before, 1);
    scene.connections.writable(ID);
    assert!(scene.at(now).is_empty());
    assert_eq!(scene.peer.writes() - before, 2, "the next turn");
}

/// Large messages alone may wait together, so that one system call takes several; small ones beside them wait for less.
#[test]
fn a_layer_that_schedules_has_less_room_while_small_messages_are_beside_large_ones() {
    for (has_small, most) in [(false, 192 << 10), (true, 64 << 10)] {
        for (queued, has_room) in [(most - 1, true), (most, true), (most + 1, false)] {
            let mut scene = Scene::begun(&Limits::default());
            let now = scene.start;
            scene.peer.takes(false);
            scene.connections.limit_in_transit(ID, has_small);
            scene.sends(queued - 8, now);
            assert_eq!(scene.connections.has_room(ID), has_room, "{queued} of {most}");
            // It is told again when half of it is left.
            scene.peer.takes_bytes(queued - most / 2);
            scene.connections.writable(ID);
            let events = scene.at(now);
            let is_told = matches!(events[..], [Event::Writable(ID)]);
            assert_eq!(is_told, !has_room, "{queued} of {most}: {events:?}");
        }
    }
}

/// What is in the queue may be what holds the memory that it has begun to wait for.
#[test]
fn a_connection_that_waits_for_memory_waits_for_its_queue_first() {
    let most = 192 << 10;
    let limits = Limits { memory: 2 * most, ..Limits::default() };
    let mut scene = Scene::begun(&limits);
    let now = scene.start;
    scene.peer.takes(false);
    scene.sends(most + 1, now);
    let share = scene.connections.table[&ID].held.share().clone();
    let room = share.room();
    share.charge(room);
    scene.connections.wait_for_memory(ID);
    assert!(!scene.connections.has_room(ID));
    scene.peer.takes_bytes(most);
    scene.connections.writable(ID);
    // What has been sent is needed elsewhere at once.
    share.charge(most);
    let events = scene.at(now);
    assert!(matches!(events[..], [Event::Writable(ID)]), "{events:?}");
}

#[test]
fn a_closing_connection_is_neither_read_nor_reported_writable() {
    let limits = Limits { queued: 1000, ..Limits::default() };
    let mut scene = Scene::begun(&limits);
    let now = scene.start;
    scene.peer.takes(false);
    scene.sends(992, now);
    scene.connections.send(ID, &[], Bytes::new()).unwrap_err();
    scene.connections.close(ID, &Goodbye::new(0, ""), now);
    assert!(scene.says(&frame(1), now).is_empty());
    assert!(scene.peer.has_unread_bytes());
    scene.peer.takes_bytes(900);
    scene.connections.writable(ID);
    assert!(scene.at(now).is_empty());
    scene.peer.takes(true);
    scene.connections.writable(ID);
    assert!(matches!(scene.at(now)[..], [Event::Closed(ID, CloseReason::Local)]));
}

#[test]
fn writability_without_a_queue_is_nothing_to_do() {
    let mut scene = Scene::begun(&Limits::default());
    scene.connections.writable(ID);
    assert!(!scene.connections.is_busy());
}

#[test]
fn an_interrupted_read_or_write_is_done_again() {
    let mut scene = Scene::begun(&Limits::default());
    let now = scene.start;
    scene.peer.fails_to_be_read(ErrorKind::Interrupted);
    assert!(scene.says(&frame(1), now).is_empty());
    assert!(scene.connections.is_busy());
    assert!(matches!(scene.at(now)[..], [Event::Message(ID, _)]));

    let before = scene.peer.heard();
    scene.peer.fails_to_be_written_to(ErrorKind::Interrupted);
    scene.connections.send(ID, &[], Bytes::from_static(b"again")).unwrap();
    while scene.connections.is_busy() {
        assert!(scene.at(now).is_empty());
    }
    assert_eq!(scene.peer.heard(), before + 8 + 5);
}

#[test]
fn bytes_sent_before_a_close_are_read_and_a_failed_connection_is_closed_at_once() {
    for (error, is_heard) in [(ErrorKind::BrokenPipe, true), (ErrorKind::OutOfMemory, false)] {
        let mut scene = Scene::begun(&Limits::default());
        let now = scene.start;
        scene.peer.fails_to_be_written_to(error);
        scene.connections.send(ID, &[], Bytes::from_static(b"too late")).unwrap();
        let events = scene.at(now);
        assert_eq!(matches!(events[..], [Event::Closed(ID, CloseReason::Broken(_))]), !is_heard);
        assert_eq!(events.is_empty(), is_heard, "{events:?}");
        let heard = scene.says(&frame(1), now);
        assert_eq!(matches!(heard[..], [Event::Message(ID, _)]), is_heard, "{heard:?}");
        let gone = scene.connections.send(ID, &[], Bytes::new()).unwrap_err();
        assert_eq!(gone.refusal, Refusal::Closed);
    }
}

/// The system does not report when the last bytes have been sent.
#[test]
fn a_closing_connection_is_checked_again_and_dropped_once_its_last_bytes_are_sent() {
    let mut scene = Scene::begun(&Limits::default());
    let now = scene.start;
    scene.peer.holds_last_bytes(true);
    scene.connections.close(ID, &Goodbye::new(7, ""), now);
    assert!(scene.at(now).is_empty());
    assert_eq!(scene.connections.deadline(), Some(now + RECHECK_PAUSE));
    assert!(scene.at(now + RECHECK_PAUSE).is_empty());
    assert_eq!(scene.connections.deadline(), Some(now + RECHECK_PAUSE * 2));
    scene.peer.holds_last_bytes(false);
    let events = scene.at(now + RECHECK_PAUSE * 2);
    assert!(matches!(events[..], [Event::Closed(ID, CloseReason::Local)]), "{events:?}");
    assert_eq!((scene.peer.goodbye(), scene.peer.is_aborted()), (Some(7), false));
}

/// All connections share one buffer for their reads.
#[test]
fn the_rest_of_a_closed_connection_reaches_no_other_one() {
    // Closed by the application, and because of invalid bytes.
    for damaged in [false, true] {
        let mut scene = Scene::begun(&Limits::default());
        let now = scene.start;
        let other = another(&mut scene);
        let mut said = frame(1).to_vec();
        said.extend(if damaged { vec![0xEE; 30] } else { frame(20).to_vec() });
        scene.peer.says(&said);
        scene.connections.readable(ID, false);
        scene.connections.begin_turn(now);
        assert!(matches!(scene.connections.next(now), Some(Event::Message(ID, _))));
        if !damaged {
            scene.connections.close(ID, &Goodbye::new(0, ""), now);
        }
        let events = scene.without_poll(now);
        assert!(matches!(events[..], [Event::Closed(ID, _)]), "{events:?}");
        other.says(&frame(3));
        scene.connections.readable(OTHER, false);
        let events = scene.at(now);
        let [Event::Message(OTHER, message)] = &events[..] else { panic!("{events:?}") };
        assert_eq!(message.len(), 3);
    }
}

/// However long it took until they were decoded.
#[test]
fn every_turn_gives_at_least_one_message() {
    let mut scene = Scene::begun(&Limits::default());
    let now = scene.start;
    scene.peer.says(&frame(1));
    scene.connections.readable(ID, false);
    scene.connections.begin_turn(now);
    assert!(matches!(scene.connections.step(now), Step::More));
    let late = scene.connections.step(now + TURN_TIME * 1000);
    assert!(matches!(late, Step::Event(Event::Message(ID, _))), "{late:?}");
}

#[test]
fn the_replies_of_a_turn_are_sent_before_the_turn_of_the_next_connection() {
    let mut scene = Scene::begun(&Limits::default());
    let now = scene.start;
    let other = another(&mut scene);
    scene.peer.says(&frame(0).repeat(TURN_MESSAGES * 2));
    other.says(&frame(0));
    scene.connections.readable(ID, false);
    scene.connections.readable(OTHER, false);
    scene.connections.begin_turn(now);
    let before = scene.peer.heard();
    for _ in 0..TURN_MESSAGES {
        assert!(matches!(scene.connections.next(now), Some(Event::Message(ID, _))));
        scene.connections.send(ID, &[], Bytes::new()).unwrap();
    }
    assert!(matches!(scene.connections.next(now), Some(Event::Message(OTHER, _))));
    assert_eq!(scene.peer.heard() - before, TURN_MESSAGES * 8);
}

/// The application has it then, and the charge must not block its reply.
#[test]
fn a_returned_message_is_no_longer_charged() {
    let mut scene = Scene::begun(&Limits::default());
    let now = scene.start;
    let large = frame(1 << 20);
    assert!(scene.says(&large[..large.len() - 1], now).is_empty());
    while scene.connections.is_busy() {
        assert!(scene.at(now).is_empty());
    }
    assert!(scene.connections.account.held() >= 1 << 20);
    scene.peer.says(&large[large.len() - 1..]);
    scene.connections.readable(ID, false);
    scene.connections.begin_turn(now + Duration::from_secs(1));
    assert!(matches!(scene.connections.next(now), Some(Event::Message(ID, _))));
    assert_eq!(scene.connections.account.held(), 0);
}
