//! What each side is told of how calls end: once, with the reason, and nothing after it.

use super::pair::{Pair, carry, events, frames, kinds, message, messages, opening};
use crate::error::ErrorReply;
use crate::exchange::event::{Cancelled, End, Event, abort};
use crate::exchange::frame::Kind;
use crate::exchange::machine::{Config, OpenError, Opening, SendError};
use crate::exchange::metadata::Metadata;
use std::time::{Duration, Instant};

fn pair() -> Pair {
    Pair::new(Config::default())
}

fn aborted(id: u32, code: u16) -> Event {
    Event::Ended { id, end: End::Aborted { code } }
}

#[test]
fn the_peer_is_told_of_a_cancelled_call() {
    let mut pair = pair();
    let id = pair.call(true);
    pair.client.cancel(id);
    pair.pass();
    assert_eq!(events(&mut pair.server), [Event::Cancelled { id, why: Cancelled::Caller }]);
    assert_eq!(events(&mut pair.client), [aborted(id, abort::CANCELLED)]);
    // A second time it is nothing.
    pair.client.cancel(id);
    assert_eq!(frames(&mut pair.client, pair.now), []);
}

#[test]
fn the_peer_is_told_of_a_released_call() {
    let mut pair = pair();
    let [asked, replying] = [pair.call(false), pair.call(true)];
    pair.client.release(asked);
    pair.server.release(replying);
    pair.pass();
    let cancelled = Event::Cancelled { id: asked, why: Cancelled::Caller };
    assert_eq!(events(&mut pair.server), [cancelled]);
    assert_eq!(events(&mut pair.client), [aborted(replying, abort::FAILED)]);
}

#[test]
fn a_reply_that_was_ended_before_its_release_arrives() {
    let mut pair = pair();
    let id = pair.call(false);
    pair.server.send(id, message(9, true)).unwrap();
    pair.server.release(id);
    pair.pass();
    // The stop overtakes it.
    let told = events(&mut pair.client);
    let [Event::Stopped { .. }, Event::Message { arrived, .. }] = &told[..] else {
        panic!("{told:?}");
    };
    assert_eq!((arrived.body.len(), arrived.last), (9, true));
}

#[test]
fn the_peer_is_told_of_a_stop() {
    let mut pair = pair();
    let id = pair.call(false);
    pair.server.stop(id);
    pair.pass();
    assert_eq!(events(&mut pair.client), [Event::Stopped { id }]);
    assert_eq!(events(&mut pair.server), [aborted(id, abort::STOPPED)]);
    assert_eq!(pair.client.send(id, message(1, true)), Err(SendError::Closed));
    assert_eq!(pair.client.end(id), Err(SendError::Closed));
    // The other direction goes on.
    pair.server.send(id, message(1, true)).unwrap();
    pair.pass();
    assert_eq!(messages(&mut pair.client).len(), 1);
}

#[test]
fn the_code_of_an_abort_arrives_and_what_was_queued_does_not() {
    let mut pair = pair();
    let id = pair.call(false);
    pair.client.send(id, message(100, false)).unwrap();
    pair.client.abort(id, 77);
    assert_eq!(pair.client.send(id, message(1, true)), Err(SendError::Closed));
    assert_eq!(pair.client.held(), 0);
    pair.pass();
    assert_eq!(events(&mut pair.server), [aborted(id, 77)]);
}

/// The application of the peer never knows of the call.
#[test]
fn a_call_that_is_aborted_inside_its_first_message_is_over_at_once() {
    let mut pair = Pair::new(Config { piece: 10, piece_alone: 10, ..Config::default() });
    let id = pair.open(30, true);
    let first = pair.client.transmit(pair.now).unwrap();
    pair.server.receive(pair.now, first.to_bytes()).unwrap();
    assert_eq!((pair.server.peer_open(), pair.server.held()), (1, 10));
    pair.client.abort(id, 9);
    pair.pass();
    assert_eq!(events(&mut pair.server), []);
    assert_eq!((pair.server.peer_open(), pair.server.held()), (0, 0));
    assert_eq!(events(&mut pair.client), [aborted(id, abort::CANCELLED)]);
    assert_eq!((pair.client.own_open(), pair.client.room()), (0, Config::default().opens));
}

/// Both sides know a deadline: each ends the call when it passes on its own clock.
fn with_deadline(pair: &mut Pair, time: Duration) -> u32 {
    let deadline = Some(pair.now + time);
    let opening = Opening { deadline, ..opening(3, true) };
    let id = pair.client.open(opening, ()).unwrap();
    pair.pass();
    let told = events(&mut pair.server);
    assert!(matches!(&told[..], [Event::Request { deadline: its, .. }] if *its == deadline));
    id
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_deadline_is_exact_and_the_peer_is_told() {
    let mut pair = pair();
    let id = with_deadline(&mut pair, SECOND);
    assert_eq!(pair.client.next_deadline(), Some(pair.now + SECOND));
    pair.client.expire(pair.now + SECOND - Duration::from_nanos(1));
    assert_eq!(events(&mut pair.client), []);
    pair.client.expire(pair.now + SECOND);
    assert_eq!(events(&mut pair.client), [Event::Expired { id, sent: true }]);
    // A reply that was on its way is not reported.
    pair.server.send(id, message(5, false)).unwrap();
    pair.pass();
    assert_eq!(events(&mut pair.server), [Event::Cancelled { id, why: Cancelled::Caller }]);
    assert_eq!(events(&mut pair.client), []);
    assert_eq!(pair.client.held() + pair.server.held(), 0);
}

#[test]
fn a_deadline_passes_at_the_peer_too() {
    let mut pair = pair();
    let id = with_deadline(&mut pair, SECOND);
    pair.server.expire(pair.now + SECOND - Duration::from_nanos(1));
    assert_eq!(events(&mut pair.server), []);
    pair.server.expire(pair.now + SECOND);
    assert_eq!(events(&mut pair.server), [Event::Cancelled { id, why: Cancelled::Deadline }]);
    assert_eq!(pair.server.send(id, message(1, true)), Err(SendError::Closed));
    pair.pass();
    assert_eq!(events(&mut pair.client), [aborted(id, abort::DEADLINE)]);
}

#[test]
fn each_deadline_passes_at_its_time() {
    let mut pair = pair();
    let ids = [3, 1, 2].map(|times| with_deadline(&mut pair, times * SECOND));
    for (times, at) in [(1, 1), (2, 2), (3, 0)] {
        pair.client.expire(pair.now + times * SECOND);
        assert_eq!(events(&mut pair.client), [Event::Expired { id: ids[at], sent: true }]);
    }
    assert_eq!(pair.client.next_deadline(), None);
}

#[test]
fn a_deadline_is_passed_on_in_milliseconds_and_never_too_short() {
    for (micros, told) in [(1, 1), (999, 1), (1000, 1), (1001, 2), (5_000_000, 5000)] {
        let mut pair = pair();
        let deadline = Some(pair.now + Duration::from_micros(micros));
        pair.client.open(Opening { deadline, ..opening(3, true) }, ()).unwrap();
        let kind = Kind::Request { method: 0, time: told };
        assert_eq!(kinds(&frames(&mut pair.client, pair.now)), [(kind, 2)], "{micros} us");
    }
    let mut late = pair();
    let deadline = Some(late.now);
    late.client.open(Opening { deadline, ..opening(3, true) }, ()).unwrap();
    let sent = kinds(&frames(&mut late.client, late.now + SECOND));
    assert_eq!(sent, [(Kind::Request { method: 0, time: 1 }, 2)], "0 would be no limit");
}

#[test]
fn a_cancelled_call_is_reported_once() {
    let mut pair = pair();
    let id = with_deadline(&mut pair, SECOND);
    pair.client.cancel(id);
    pair.pass();
    pair.server.expire(pair.now + SECOND);
    pair.server.close();
    assert_eq!(events(&mut pair.server), [Event::Cancelled { id, why: Cancelled::Caller }]);
}

#[test]
fn the_end_of_the_connection_is_told_of_each_open_call_once() {
    let mut pair = pair();
    let ids = [pair.call(true), pair.call(false)];
    let unsent = pair.open(3, true);
    let closed = |id, sent| Event::Ended { id, end: End::Closed { sent } };
    for _ in 0..2 {
        pair.client.close();
        pair.server.close();
    }
    let told = events(&mut pair.client);
    assert_eq!(told, [closed(ids[0], true), closed(ids[1], true), closed(unsent, false)]);
    let cancelled = ids.map(|id| Event::Cancelled { id, why: Cancelled::Closed });
    assert_eq!(events(&mut pair.server), cancelled);
    for id in [ids[0], ids[1], unsent] {
        let owners = (pair.client.release(id), pair.server.release(id));
        assert!(owners.0.is_some());
    }
    assert_eq!((pair.client.own_open(), pair.server.peer_open()), (0, 0));
}

#[test]
fn a_side_that_drains_goes_on_with_what_has_begun_and_begins_nothing() {
    let mut pair = pair();
    let begun = pair.call(false);
    let on_its_way = pair.open(3, false);
    pair.server.drain();
    pair.server.drain();
    carry(&mut pair.client, &mut pair.server, pair.now);
    let sent = frames(&mut pair.server, pair.now);
    assert_eq!(sent.iter().filter(|frame| frame.kind == Kind::Drain).count(), 1);
    for frame in sent {
        pair.client.receive(pair.now, frame.to_bytes()).unwrap();
    }
    pair.server.drain();
    assert_eq!(frames(&mut pair.server, pair.now), []);
    let told = events(&mut pair.client);
    let [Event::Draining, Event::Ended { id, end: End::Error(error) }, Event::Stopped { id: its }] =
        &told[..]
    else {
        panic!("{told:?}");
    };
    assert_eq!((*id, *its, error.code), (on_its_way, on_its_way, ErrorReply::STOPPING));
    assert_eq!(events(&mut pair.server), []);
    assert_eq!(pair.client.open(opening(3, true), ()), Err(OpenError::Draining));
    pair.client.send(begun, message(4, true)).unwrap();
    pair.pass();
    assert_eq!(messages(&mut pair.server).len(), 1);
}

#[test]
fn room_that_nobody_has_asked_for_changes_nothing() {
    let mut pair = pair();
    let id = pair.call(false);
    let now = Instant::now();
    let admit = crate::exchange::frame::Frame::new(Kind::Admit, id).to_bytes();
    pair.client.receive(now, admit).unwrap();
    pair.client.send(id, message(100, true)).unwrap();
    pair.pass();
    assert_eq!(messages(&mut pair.server).len(), 1);
    // It has cost credit as any other.
    assert_eq!(pair.client.credit.sums().1, pair.server.window.sums().0);
}

#[test]
fn the_metadata_of_a_request_arrive_whenever_its_first_message_is_given() {
    let metadata = Metadata::default().with(b"key", b"value").unwrap();
    for is_sent_before in [true, false] {
        let mut pair = pair();
        let bare = Opening { metadata: metadata.clone(), message: None, ..opening(0, false) };
        let id = pair.client.open(bare, ()).unwrap();
        if is_sent_before {
            pair.pass();
        }
        pair.client.send(id, message(3, false)).unwrap();
        pair.client.send(id, message(4, true)).unwrap();
        pair.pass();
        let told = events(&mut pair.server);
        let Some(Event::Request { metadata: its, .. }) = told.first() else { panic!("{told:?}") };
        assert_eq!(*its, metadata, "sent before: {is_sent_before}");
    }
}
