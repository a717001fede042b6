//! Memory for requests: what is refused without it, and what is known of requests that have not arrived wholly.

use super::pair::{Pair, carry, events, frames, kinds, message, messages};
use crate::error::ErrorReply;
use crate::exchange::event::{End, Event};
use crate::exchange::frame::Kind;
use crate::exchange::machine::Config;
use crate::exchange::settings::Settings;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// A message of over 500 bytes is announced.
fn pair() -> Pair {
    let settings = Settings { call_window: 1128, ..Settings::default() };
    let assumed = settings.clone();
    Pair::new(Config { settings, assumed, piece: 100, piece_alone: 100, ..Config::default() })
}

/// The next frame of the client arrives.
#[track_caller]
fn arrives(pair: &mut Pair) {
    let frame = pair.client.transmit(pair.now).expect("there is a frame");
    pair.server.receive(pair.now, frame.to_bytes()).unwrap();
    pair.server.check();
}

/// The code of the error that is the only outcome of a call.
fn refused(pair: &mut Pair, id: u32) -> Option<u16> {
    let told = events(&mut pair.client);
    told.into_iter().find_map(|event| match event {
        Event::Ended { id: its, end: End::Error(error) } if its == id => Some(error.code),
        _ => None,
    })
}

#[test]
fn without_memory_no_request_is_begun() {
    let mut pair = pair();
    for last in [true, false] {
        pair.server.set_full(true);
        let id = pair.open(3, last);
        pair.pass();
        assert_eq!(messages(&mut pair.server), []);
        assert_eq!(refused(&mut pair, id), Some(ErrorReply::TOO_MANY_REQUESTS));
        pair.server.set_full(false);
        pair.call(last);
    }
    // Who is told to wait would come again.
    pair.server.set_full(true);
    pair.server.drain();
    let id = pair.open(3, true);
    carry(&mut pair.client, &mut pair.server, pair.now);
    pair.pass();
    assert_eq!(refused(&mut pair, id), Some(ErrorReply::STOPPING));
}

#[test]
fn without_memory_a_request_that_has_not_arrived_wholly_is_refused_unless_it_was_admitted() {
    let mut pair = pair();
    let whole = pair.call(true);
    // The application has the first message of it.
    let begun = pair.call(false);
    pair.client.send(begun, message(450, true)).unwrap();
    let part = pair.open(450, true);
    let [announced, admitted] = [pair.open(600, true), pair.open(600, true)];
    // They take turns: three pieces of two messages, and both announcements.
    for _ in 0..7 {
        arrives(&mut pair);
    }
    assert!(pair.server.is_announced(announced));
    pair.server.admit(admitted);
    carry(&mut pair.server, &mut pair.client, pair.now);
    for _ in 0..3 {
        arrives(&mut pair);
    }
    events(&mut pair.server);
    assert_eq!((pair.server.partials(), pair.server.peer_open()), (3, 5));
    pair.server.set_full(false);
    assert_eq!((pair.server.partials(), pair.server.peer_open()), (3, 5));
    let held = pair.server.held();
    for _ in 0..2 {
        pair.server.set_full(true);
        pair.server.check();
        assert_eq!((pair.server.peer_open(), pair.server.refused_open), (4, 1));
        assert_eq!(pair.server.held(), held - 400);
    }
    let sent = kinds(&frames(&mut pair.server.clone(), pair.now));
    let error = Kind::Error { code: ErrorReply::TOO_MANY_REQUESTS };
    assert_eq!(sent, [(error, part), (Kind::Stop, part)]);
    pair.pass();
    let arrived: Vec<u32> = messages(&mut pair.server).iter().map(|it| it.0).collect();
    assert_eq!(arrived, [begun, admitted]);
    assert_eq!(refused(&mut pair, part), Some(ErrorReply::TOO_MANY_REQUESTS));
    assert_eq!((pair.server.partials(), pair.server.refused_open), (0, 0));
    // It was only asked for.
    pair.server.admit(announced);
    pair.pass();
    assert_eq!(messages(&mut pair.server)[0].0, announced);
    for id in [whole, begun, announced, admitted] {
        pair.server.send(id, message(1, true)).unwrap();
    }
    pair.pass();
    assert_eq!(messages(&mut pair.client).len(), 4);
}

#[test]
fn pieces_are_counted_as_they_arrive() {
    let mut pair = pair();
    let counted = |pair: &Pair| (pair.server.piece_bytes(), pair.server.partials());
    pair.call(true);
    assert_eq!(counted(&pair), (0, 0), "a message that has arrived wholly");
    pair.open(250, true);
    for (bytes, partials) in [(100, 1), (200, 1), (250, 0)] {
        arrives(&mut pair);
        assert_eq!(counted(&pair), (bytes, partials));
    }
    let announced = pair.open(600, true);
    pair.pass();
    assert_eq!(counted(&pair), (250, 0), "nothing of it has come");
    pair.server.admit(announced);
    assert_eq!(counted(&pair), (250, 1), "it is owed");
    pair.pass();
    assert_eq!(counted(&pair), (850, 0));
    // What is refused is owed as well.
    pair.server.set_full(true);
    pair.open(250, true);
    arrives(&mut pair);
    assert_eq!((pair.server.partials(), pair.server.held()), (1, 0));
    pair.pass();
    assert_eq!(pair.server.partials(), 0);
}

#[test]
fn the_oldest_piece_is_the_first_of_the_message_that_is_late() {
    let mut pair = pair();
    let begin = pair.now;
    let at = |times: u32| Some(begin + times * SECOND);
    let announced = pair.open(600, true);
    arrives(&mut pair);
    assert_eq!(pair.server.oldest_piece(), None, "nothing of it has come");
    for _ in [1, 2] {
        pair.open(250, true);
    }
    // The two take turns.
    for (times, oldest) in [(1, 1), (2, 1), (3, 1), (4, 1), (5, 2)] {
        pair.now = begin + times * SECOND;
        arrives(&mut pair);
        assert_eq!(pair.server.oldest_piece(), at(oldest), "{times}");
    }
    arrives(&mut pair);
    assert_eq!(pair.server.oldest_piece(), None, "all are whole");
    pair.server.admit(announced);
    carry(&mut pair.server, &mut pair.client, pair.now);
    assert_eq!(pair.server.oldest_piece(), None);
    for times in [6, 7] {
        pair.now = begin + times * SECOND;
        arrives(&mut pair);
        assert_eq!(pair.server.oldest_piece(), at(6));
    }
    pair.client.cancel(announced);
    pair.pass();
    assert_eq!(pair.server.oldest_piece(), None);
}
