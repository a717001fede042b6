//! Calls of one message each way that are sent and answered at once: when they may be, and what becomes of them.

use super::pair::{Pair, costing, events, frames, kinds, message, opening, windows};
use crate::exchange::event::{Cancelled, End, Event};
use crate::exchange::frame::{ENVELOPE_LEN, Kind};
use crate::exchange::machine::{Config, Machine, Opening, SendError};
use crate::exchange::metadata::Metadata;
use crate::exchange::outgoing::Message;
use crate::exchange::settings::Settings;
use crate::exchange::{MESSAGE_COST, Side};
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

/// The client calls at once: its request, which has not arrived.
#[track_caller]
fn begin(pair: &mut Pair, size: usize, time: Option<Duration>) -> (u32, Vec<u8>) {
    let deadline = time.map(|time| pair.now + time);
    let mut bytes = Vec::new();
    let put = |head: [u8; ENVELOPE_LEN]| {
        bytes = [&head[..], &vec![7; size]].concat();
        Ok::<_, ()>(())
    };
    let id = pair.client.open_now(5, size, deadline, pair.now, put);
    pair.client.check();
    (id.expect("it may be sent").unwrap(), bytes)
}

/// The client has called at once, and the server was told.
#[track_caller]
fn call(pair: &mut Pair, time: Option<Duration>) -> u32 {
    let (id, request) = begin(pair, 3, time);
    pair.server.receive(pair.now, request.into()).unwrap();
    pair.server.check();
    let told = events(&mut pair.server);
    let [Event::Request { id: its, method: 5, message: Some((body, charge)), last: true, .. }] =
        &told[..]
    else {
        panic!("{told:?}");
    };
    assert_eq!((*its, body.len()), (id, 3));
    pair.server.give_back(*charge);
    id
}

/// The server answers at once.
#[track_caller]
fn answer(pair: &mut Pair, id: u32) {
    let (whole, _) = pair.server.answer_now(id, 4).expect("it may be sent");
    let bytes = [&whole.head()[..], &[7; 4]].concat();
    pair.client.receive(pair.now, bytes.into()).unwrap();
    pair.client.check();
}

/// Nothing is left of the calls on either side.
#[track_caller]
fn check_rest(pair: &Pair) {
    pair.client.check_rest(&pair.server);
    pair.server.check_rest(&pair.client);
}

fn may_open(machine: &Machine<()>, size: usize) -> bool {
    machine.clone().open_now(0, size, None, Instant::now(), |_| Ok::<_, ()>(())).is_some()
}

fn may_answer(machine: &Machine<()>, id: u32, size: usize) -> bool {
    machine.clone().answer_now(id, size).is_some()
}

#[test]
fn the_size_of_what_is_sent_at_once_is_exact() {
    let of_body = Settings { body: 100, ..Settings::default() };
    let of_body = Config { assumed: of_body.clone(), settings: of_body, ..Config::default() };
    let of_piece = Config { piece_alone: 100, ..Config::default() };
    // No more than half of the window of a call.
    let of_call = windows(2 * (100 + MESSAGE_COST), 1 << 20);
    let of_connection = windows(1 << 20, 2 * (3 + MESSAGE_COST) + 100 + MESSAGE_COST - 1);
    for (most, config) in [(100, of_body), (100, of_piece), (100, of_call), (99, of_connection)] {
        let mut pair = Pair::new(config);
        let [id, _] = [call(&mut pair, None), call(&mut pair, None)];
        assert_eq!([most, most + 1].map(|size| may_open(&pair.client, size)), [true, false]);
        if most == 100 {
            let answers = [most, most + 1].map(|size| may_answer(&pair.server, id, size));
            assert_eq!(answers, [true, false]);
        }
    }
    let mut pair = Pair::new(Config::default());
    pair.client.set_largest_frame(ENVELOPE_LEN + 100);
    assert_eq!([100, 101].map(|size| may_open(&pair.client, size)), [true, false]);
}

#[test]
fn the_limits_of_open_calls_hold_for_requests_that_are_sent_at_once() {
    let of_peer = Settings { calls: 2, ..Settings::default() };
    let of_peer = Config { assumed: of_peer.clone(), settings: of_peer, ..Config::default() };
    for config in [of_peer, Config { opens: 2, ..Config::default() }] {
        let mut pair = Pair::new(config);
        let [first, second] = [call(&mut pair, None), call(&mut pair, None)];
        assert!(!may_open(&pair.client, 3));
        answer(&mut pair, second);
        assert!(may_open(&pair.client, 3));
        answer(&mut pair, first);
    }
    let mut pair = Pair::new(Config::default());
    pair.server.drain();
    pair.pass();
    assert!(!may_open(&pair.client, 3));
}

#[test]
fn a_reply_lets_the_request_go_that_waits() {
    let settings = Settings { calls: 1, ..Settings::default() };
    let mut pair = Pair::new(Config { assumed: settings.clone(), settings, ..Config::default() });
    let id = call(&mut pair, None);
    let waits = pair.open(3, true);
    assert_eq!(frames(&mut pair.client, pair.now), []);
    answer(&mut pair, id);
    let request = Kind::Request { method: 0, time: 0 };
    assert_eq!(kinds(&frames(&mut pair.client, pair.now)), [(request, waits)]);
}

#[test]
fn nothing_is_overtaken_by_what_is_sent_at_once() {
    let new = Machine::new(Side::Client, Config::default());
    assert!(!may_open(&new, 3), "settings are to be sent");
    // A message that may be sent.
    let mut pair = Pair::new(windows(2000, 1000));
    let [id, other] = [pair.call(false), call(&mut pair, None)];
    let both = |pair: &Pair| (may_open(&pair.client, 3), may_answer(&pair.server, other, 3));
    assert_eq!(both(&pair), (true, true));
    pair.client.send(id, message(1, false)).unwrap();
    pair.server.send(id, message(1, false)).unwrap();
    assert_eq!(both(&pair), (false, false));
    pair.pass();
    assert_eq!(both(&pair), (true, true));
    // One that waits for credit of the connection.
    for machine in [&mut pair.client, &mut pair.server] {
        machine.send(id, message(costing(machine.credit.left() + 1), false)).unwrap();
        frames(machine, pair.now);
        assert_eq!(machine.lists.waiting.len(), 1);
    }
    assert_eq!(both(&pair), (false, false));
    // A request that waits for the settings, as it is larger than what is assumed.
    let assumed = Settings { call_window: 200, ..Settings::default() };
    let mut new = Machine::new(Side::Client, Config { assumed, ..Config::default() });
    frames(&mut new, pair.now);
    assert!(may_open(&new, 3));
    new.open(opening(400, true), ()).unwrap();
    assert_eq!(frames(&mut new, pair.now), []);
    assert!(!may_open(&new, 3), "ids only go up");
}

#[test]
fn a_request_that_cannot_be_written_opens_nothing() {
    let mut pair = Pair::new(Config::default());
    let deadline = Some(pair.now + SECOND);
    let failed = pair.client.open_now(5, 3, deadline, pair.now, |_| Err("no room"));
    assert_eq!(failed, Some(Err("no room")));
    assert_eq!((pair.client.own_open(), pair.client.next_id()), (0, 2));
    assert_eq!(pair.client.next_deadline(), None);
    check_rest(&pair);
}

#[test]
fn a_request_that_was_not_sent_is_undone() {
    let settings = Settings { calls: 3, ..Settings::default() };
    let config = Config { assumed: settings.clone(), settings, opens: 4, ..Config::default() };
    let mut pair = Pair::new(config);
    let [begun, ..] = [3, 4, 5].map(|size| (begin(&mut pair, size, None).0, size));
    // The peer takes no more at once.
    let queued = pair.open(6, true);
    assert_eq!(pair.client.undo_open(queued, 6), Some(()));
    for (id, size) in [(begun.0 + 4, 5), (begun.0 + 2, 4), begun] {
        assert_eq!(pair.client.undo_open(id, size), Some(()));
        assert_eq!(pair.client.owner(id), None);
        pair.client.check();
    }
    assert_eq!((frames(&mut pair.client, pair.now), events(&mut pair.client)), (vec![], vec![]));
    assert_eq!(pair.client.room(), 4);
    check_rest(&pair);
    for _ in 0..3 {
        call(&mut pair, None);
    }
}

#[test]
fn a_call_is_released_once_what_is_kept_for_it_says_so() {
    let mut pair = Pair::new(Config::default());
    let [first, second] = [call(&mut pair, None), call(&mut pair, None)];
    for id in [first, second] {
        assert_eq!(pair.client.release_if(id, |()| false), None);
        answer(&mut pair, id);
        assert_eq!(pair.client.release_if(id, |()| false), None);
        assert_eq!(pair.client.owner(id), Some(&mut ()));
        assert_eq!(pair.client.release_if(id, |()| true), Some(()));
        assert_eq!(pair.client.release_if(id, |()| true), None);
    }
    assert_eq!(frames(&mut pair.client, pair.now), []);
    check_rest(&pair);
    // Whoever is done before the reply has come does not wait for it.
    let third = call(&mut pair, None);
    assert_eq!(pair.client.release_if(third, |()| true), Some(()));
    assert_eq!(kinds(&frames(&mut pair.client, pair.now)), [(Kind::Cancel, third)]);
}

#[test]
fn only_calls_of_the_peer_are_answered() {
    let mut pair = Pair::new(Config::default());
    let id = call(&mut pair, None);
    assert!(pair.client.answer_now(id, 4).is_none());
    answer(&mut pair, id);
    assert!(pair.server.answer_now(id, 4).is_none(), "it was answered");
    assert!(pair.client.answer_now(id, 4).is_none());
    assert_eq!(pair.client.release(id), Some(()));
    check_rest(&pair);
}

/// What is done with a call whose reply has come changes nothing.
#[test]
fn a_call_that_has_its_reply_is_over() {
    type Change = fn(&mut Machine<()>, u32, Instant);
    let changes: [Change; 7] = [
        |_, _, _| {},
        |client, id, _| client.cancel(id),
        |client, id, _| client.stop(id),
        |client, id, _| client.abort(id, 9),
        |client, id, _| assert_eq!(client.send(id, message(1, true)), Err(SendError::Closed)),
        |client, _, now| client.expire(now + SECOND),
        |client, _, _| client.close(),
    ];
    for (number, change) in changes.iter().enumerate() {
        let mut pair = Pair::new(Config::default());
        let id = call(&mut pair, Some(SECOND));
        answer(&mut pair, id);
        let told = events(&mut pair.client);
        assert!(matches!(&told[..], [Event::Message { arrived, .. }] if arrived.last));
        change(&mut pair.client, id, pair.now);
        pair.client.check();
        assert_eq!(frames(&mut pair.client, pair.now), [], "{number}");
        assert_eq!((events(&mut pair.client), pair.client.own_open()), (vec![], 0), "{number}");
        assert_eq!(pair.client.release(id), Some(()), "{number}");
        check_rest(&pair);
    }
}

/// They are whole frames, and have no entry with queues.
#[test]
fn metadata_of_whole_messages_arrive_and_cost_credit() {
    let mut pair = Pair::new(Config::default());
    let metadata = Metadata::default().with(b"trace", &[9; 500]).unwrap();
    let sent = Message { metadata: metadata.clone(), ..message(3, true) };
    let deadline = Some(pair.now + SECOND);
    let message = Some(sent.clone());
    let opening = Opening { method: 5, deadline, message, ..Opening::default() };
    let asked = pair.client.open(opening, ()).unwrap();
    pair.pass();
    let told = events(&mut pair.server);
    let [Event::Request { method: 5, metadata: its, deadline: until, message, last: true, .. }] =
        &told[..]
    else {
        panic!("{told:?}");
    };
    assert_eq!((its, *until, pair.server.entries()), (&metadata, deadline, 0));
    let (_, charge) = message.as_ref().expect("it has a message");
    assert_eq!(pair.server.window.held(), 3 + metadata.len() as u64 + MESSAGE_COST);
    pair.server.give_back(*charge);
    assert_eq!(pair.server.window.held(), 0);
    assert_eq!(pair.client.credit.sums().1, pair.server.window.sums().0);
    pair.server.expire(pair.now + SECOND);
    let late = Event::Cancelled { id: asked, why: Cancelled::Deadline };
    assert_eq!(events(&mut pair.server), [late]);
    // The reply to a call that was sent at once.
    let id = call(&mut pair, None);
    pair.server.send(id, sent.clone()).unwrap();
    pair.server.release(id);
    let reply = frames(&mut pair.server, pair.now);
    for frame in &reply {
        pair.client.receive(pair.now, frame.to_bytes()).unwrap();
    }
    let told = events(&mut pair.client);
    let arrived = told.iter().find_map(|event| match event {
        Event::Message { id: its, arrived } if *its == id => Some(arrived),
        _ => None,
    });
    let arrived = arrived.expect("a reply");
    assert_eq!((&arrived.metadata, &arrived.body, arrived.last), (&metadata, &sent.body, true));
    assert_eq!(pair.server.credit.sums().1, pair.client.window.sums().0);
    assert_eq!((pair.client.window.held(), pair.client.entries()), (0, 1), "only the first call");
}

/// As of any reply: the side that waits for it asked for it.
#[test]
fn a_reply_of_several_pieces_holds_no_credit_of_the_connection() {
    let mut pair = Pair::new(Config { piece_alone: 100, ..Config::default() });
    let id = call(&mut pair, None);
    pair.server.send(id, message(250, true)).unwrap();
    let pieces = frames(&mut pair.server, pair.now);
    assert_eq!(pieces.len(), 3);
    for piece in pieces {
        pair.client.receive(pair.now, piece.to_bytes()).unwrap();
        assert_eq!(pair.client.window.held(), 0);
    }
}

#[test]
fn the_deadline_of_each_is_kept() {
    let mut pair = Pair::new(Config::default());
    let ids = [3, 1, 2].map(|times| call(&mut pair, Some(times * SECOND)));
    let mut closes = pair.client.clone();
    for (times, at) in [(1, 1), (2, 2), (3, 0)] {
        let (now, id) = (pair.now + times * SECOND, ids[at]);
        assert_eq!(
            (pair.client.next_deadline(), pair.server.next_deadline()),
            (Some(now), Some(now))
        );
        pair.server.expire(now - Duration::from_nanos(1));
        assert_eq!(events(&mut pair.server), []);
        pair.server.expire(now);
        assert_eq!(events(&mut pair.server), [Event::Cancelled { id, why: Cancelled::Deadline }]);
        pair.client.expire(now);
        assert_eq!(events(&mut pair.client), [Event::Expired { id, sent: true }]);
    }
    closes.close();
    let end = |id| Event::Ended { id, end: End::Closed { sent: true } };
    assert_eq!(events(&mut closes), ids.map(end));
}
