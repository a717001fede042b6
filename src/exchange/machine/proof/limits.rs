//! Each limit: what is just within it, and what is over it. And what a message carries besides its bytes.

use super::pair::{Pair, costing, events, frames, message, messages, opening, take, windows};
use crate::error::ErrorReply;
use crate::exchange::MESSAGE_COST;
use crate::exchange::event::{End, Event};
use crate::exchange::frame::{Frame, Kind};
use crate::exchange::ids::Side;
use crate::exchange::incoming::Arrived;
use crate::exchange::machine::{CONTROL_MAX, Config, Machine, OpenError, Opening, SendError};
use crate::exchange::metadata::Metadata;
use crate::exchange::outgoing::Message;
use crate::exchange::settings::Settings;
use std::time::{Duration, Instant};

const TIME: Duration = Duration::from_secs(1);

/// Of one piece, of several, and announced.
const SIZES: [usize; 5] = [0, 10, 20_000, 100_000, 3 << 20];

fn with_settings(settings: Settings) -> Config {
    Config { assumed: settings.clone(), settings, ..Config::default() }
}

#[test]
fn the_limit_of_open_calls_is_exact() {
    let mut pair = Pair::new(Config { opens: 3, ..Config::default() });
    for left in (1..=3).rev() {
        assert_eq!(pair.client.room(), left);
        pair.open(3, true);
    }
    let limit = 3;
    assert_eq!(pair.client.open(opening(3, true), ()), Err(OpenError::TooMany { limit }));
    pair.client.cancel(2);
    pair.open(3, true);
    assert_eq!(pair.client.room(), 0);
}

#[test]
fn calls_over_the_peers_limit_wait_for_the_end_of_others() {
    let mut pair = Pair::new(with_settings(Settings { calls: 2, ..Settings::default() }));
    let ids = [1, 2, 3].map(|_| pair.open(3, true));
    pair.pass();
    let arrived = messages(&mut pair.server);
    assert_eq!(arrived.iter().map(|it| it.0).collect::<Vec<_>>(), ids[..2]);
    pair.server.send(ids[1], message(1, true)).unwrap();
    pair.server.release(ids[1]);
    pair.pass();
    assert_eq!(messages(&mut pair.server)[0].0, ids[2]);
}

#[test]
fn the_settings_let_waiting_calls_go() {
    let settings = Settings { calls: 3, call_window: 1 << 20, ..Settings::default() };
    let settings = Settings { connection_window: 1 << 20, ..settings };
    let assumed =
        Settings { calls: 1, call_window: 200, connection_window: 300, ..settings.clone() };
    let config = Config { settings, assumed, ..Config::default() };
    let mut client = Machine::new(Side::Client, config);
    let ids = [400, 100, 100].map(|size| client.open(opening(size, false), ()).unwrap());
    let now = Instant::now();
    assert_eq!(frames(&mut client, now).len(), 1, "settings");
    let body = Settings { calls: 3, call_window: 1 << 20, ..Settings::default() }.encode();
    let settings = Frame { body, ..Frame::new(Kind::Settings, 0) };
    client.receive(now, settings.to_bytes()).unwrap();
    assert_eq!(frames(&mut client, now).iter().map(|it| it.id).collect::<Vec<_>>(), ids);
}

#[test]
fn the_limit_of_the_peers_calls_is_exact() {
    let mut server: Machine<()> =
        Machine::new(Side::Server, with_settings(Settings { calls: 2, ..Settings::default() }));
    let now = Instant::now();
    server.receive(now, Frame::new(Kind::Settings, 0).to_bytes()).unwrap();
    for id in [2, 4, 6] {
        let request = Frame::new(Kind::Request { method: 0, time: 0 }, id);
        server
            .receive(now, Frame { ends_message: true, ends_stream: true, ..request }.to_bytes())
            .unwrap();
    }
    assert_eq!(messages(&mut server).len(), 2);
    let refused = frames(&mut server, now);
    let kind = Kind::Error { code: ErrorReply::TOO_MANY_REQUESTS };
    assert!(refused.iter().any(|frame| (frame.kind, frame.id) == (kind, 6)));
}

#[test]
fn the_limit_of_a_body_is_exact() {
    for (size, fits) in [(99, true), (100, true), (101, false)] {
        let mut pair = Pair::new(with_settings(Settings { body: 100, ..Settings::default() }));
        assert_eq!(pair.client.open(opening(size, true), ()).is_ok(), fits, "{size}");
        let id = pair.open(1, false);
        let sent = pair.client.send(id, message(size, true));
        assert_eq!(sent, if fits { Ok(()) } else { Err(SendError::TooLarge { limit: 100 }) });
        pair.pass();
    }
}

#[test]
fn the_queue_of_a_call_is_limited_and_its_end_is_told() {
    let config = Config { queue: 300, ..Config::default() };
    let empty = MESSAGE_COST as usize;
    // Messages without bytes count.
    let queued = |bytes: usize| {
        let mut pair = Pair::new(config.clone());
        let id = pair.call(false);
        pair.client.send(id, message(bytes - 3 * empty, false)).unwrap();
        pair.client.send(id, message(0, false)).unwrap();
        pair.client.send(id, message(0, false)).unwrap();
        (pair, id)
    };
    let (mut full, id) = queued(300);
    assert_eq!(full.client.send(id, message(1, false)), Err(SendError::Full));
    // One below the limit another is taken.
    let (mut pair, id) = queued(299);
    pair.client.send(id, message(1, false)).unwrap();
    assert_eq!(pair.client.held(), 300 - 3 * empty);
    assert_eq!(pair.client.send(id, message(1, false)), Err(SendError::Full));
    pair.pass();
    assert_eq!(events(&mut pair.client), [Event::Drained { id }]);
    assert_eq!(pair.client.held(), 0);
    // The first is taken whatever its size; and nothing is told that nobody waits for.
    pair.client.send(id, message(1000, false)).unwrap();
    pair.pass();
    assert_eq!(events(&mut pair.client), []);
}

#[test]
fn credit_is_used_to_its_last_byte_and_given_at_half() {
    let mut pair = Pair::new(windows(1000, 1 << 30));
    let id = pair.open(costing(500), false);
    pair.client.send(id, message(costing(500), false)).unwrap();
    pair.client.send(id, message(0, true)).unwrap();
    pair.pass();
    let arrived = messages(&mut pair.server);
    assert_eq!(arrived.len(), 2);
    take(&mut pair.server, id, arrived[0].2);
    pair.pass();
    assert_eq!(messages(&mut pair.server).len(), 1);
}

#[test]
fn a_limit_that_is_lower_takes_no_credit_away() {
    let mut pair = Pair::new(windows(1000, 1000));
    let id = pair.call(false);
    for (kind, of) in [(Kind::Credit { limit: 10 }, id), (Kind::ConnectionCredit { limit: 10 }, 0)]
    {
        pair.client.receive(pair.now, Frame::new(kind, of).to_bytes()).unwrap();
        pair.client.check();
    }
    pair.client.send(id, message(costing(400), true)).unwrap();
    assert_eq!(frames(&mut pair.client, pair.now).len(), 1);
}

#[test]
fn notifications_that_nobody_takes_hold_back_what_follows() {
    let mut pair = Pair::new(windows(1000, 1000));
    pair.client.notify(message(costing(500), false)).unwrap();
    pair.client.notify(message(costing(440), false)).unwrap();
    let id = pair.open(costing(64), true);
    pair.pass();
    let arrived = messages(&mut pair.server);
    assert_eq!(arrived.iter().map(|it| it.0).collect::<Vec<_>>(), [0, 0]);
    take(&mut pair.server, 0, arrived[0].2);
    pair.pass();
    assert_eq!(messages(&mut pair.server)[0].0, id);
}

#[test]
fn a_peer_that_reads_no_control_frames_is_not_read() {
    let calls = CONTROL_MAX as u32 + 10;
    let mut server: Machine<()> = Machine::new(Side::Server, Config::default());
    let now = Instant::now();
    server.receive(now, Frame::new(Kind::Settings, 0).to_bytes()).unwrap();
    server.drain();
    for number in 1..calls {
        assert_eq!(server.is_flooded(), number as usize > CONTROL_MAX, "{number}");
        let request = Frame::new(Kind::Request { method: 0, time: 0 }, 2 * number);
        server
            .receive(now, Frame { ends_message: true, ends_stream: true, ..request }.to_bytes())
            .unwrap();
    }
    assert!(frames(&mut server, now).len() > CONTROL_MAX);
    assert!(!server.is_flooded());
}

/// Around all ids: one of the first calls is still open.
#[test]
fn ids_begin_again_after_the_last_and_an_open_one_is_passed_over() {
    let mut pair = Pair::new(Config::default());
    let open = pair.call(false);
    for last in [0x7FFF_FFFE, u32::MAX - 3] {
        pair.client.own_ids.opened(last);
        pair.server.peer_ids.opened(last);
    }
    let ids: Vec<u32> = (0..3).map(|_| pair.call(true)).collect();
    assert_eq!((open, &ids[..]), (2, &[u32::MAX - 1, 4, 6][..]));
}

fn metadata() -> Metadata {
    Metadata::default().with(b"trace", &[9; 500]).unwrap()
}

/// Whole, in pieces, and announced; they cost credit as bodies do.
#[test]
fn metadata_and_methods_arrive_with_their_message() {
    for size in SIZES {
        let mut pair = Pair::new(Config { piece_alone: 5000, ..Config::default() });
        let mut sent = Message { metadata: metadata(), ..message(size, false) };
        let opened = Opening { method: 5, message: Some(sent.clone()), ..Opening::default() };
        let id = pair.client.open(opened, ()).unwrap();
        let told = admitted(&mut pair, id, false);
        let [Event::Request { method: 5, metadata: its, message: Some((body, charge)), .. }] =
            &told[..]
        else {
            panic!("{size}: {told:?}");
        };
        assert_eq!((its, body.len()), (&metadata(), size));
        take(&mut pair.server, id, *charge);
        sent.last = true;
        pair.server.send(id, sent.clone()).unwrap();
        let Some(Event::Message { arrived, .. }) = admitted(&mut pair, id, true).pop() else {
            panic!("{size}: no reply");
        };
        arrives(&arrived, &sent);
        (sent.method, sent.last) = (6, false);
        pair.client.notify(sent.clone()).unwrap();
        let Some(Event::Notification { arrived }) = admitted(&mut pair, 0, false).pop() else {
            panic!("{size}: no notification");
        };
        arrives(&arrived, &sent);
        let used = pair.client.credit.sums().1;
        assert_eq!(pair.server.window.sums().0, used, "{size}: they count differently");
    }
}

#[track_caller]
fn arrives(arrived: &Arrived, sent: &Message) {
    assert_eq!((&arrived.metadata, arrived.method), (&sent.metadata, sent.method));
    assert_eq!((&arrived.body, arrived.last), (&sent.body, sent.last));
}

/// Frames pass, and what is announced is admitted. What the receiver was told.
fn admitted(pair: &mut Pair, id: u32, to_client: bool) -> Vec<Event> {
    pair.pass();
    let of = |pair: &mut Pair| events(if to_client { &mut pair.client } else { &mut pair.server });
    let told = of(pair);
    if !matches!(told[..], [Event::Announced { .. }]) {
        return told;
    }
    if to_client { &mut pair.client } else { &mut pair.server }.admit(id);
    pair.pass();
    of(pair)
}

#[test]
fn metadata_of_a_call_without_a_message_arrive() {
    let mut pair = Pair::new(Config::default());
    let opened = Opening { method: 5, metadata: metadata(), ..Opening::default() };
    let id = pair.client.open(opened, ()).unwrap();
    pair.pass();
    let told = events(&mut pair.server);
    let [Event::Request { method: 5, metadata: its, message: None, last: false, .. }] = &told[..]
    else {
        panic!("{told:?}");
    };
    assert_eq!(*its, metadata());
    let error = ErrorReply::new(7, "no").with_details(vec![1, 2]);
    pair.server.fail(id, error.clone()).unwrap();
    pair.pass();
    assert_eq!(events(&mut pair.client), [Event::Ended { id, end: End::Error(error) }]);
}

/// What is held of a message that arrives in pieces is counted, and dropped when nobody waits for it.
#[test]
fn what_nobody_waits_for_is_not_held() {
    let mut pair = Pair::new(Config { piece: 100, piece_alone: 100, ..Config::default() });
    let id = pair.call(false);
    pair.client.send(id, message(1000, false)).unwrap();
    // The memory doubles as the pieces come, up to the size of the message.
    for held in [100, 200, 400, 400, 800, 800, 800, 800, 1000] {
        let piece = pair.client.transmit(pair.now).unwrap();
        pair.server.receive(pair.now, piece.to_bytes()).unwrap();
        assert_eq!(pair.server.held(), held);
        assert_eq!(pair.server.calls[&id].incoming.capacity(), held, "as it is counted");
    }
    pair.server.stop(id);
    assert_eq!(pair.server.held(), 0);
    let piece = pair.client.transmit(pair.now).unwrap();
    pair.server.receive(pair.now, piece.to_bytes()).unwrap();
    assert_eq!((pair.server.held(), pair.server.window.held()), (0, 0));
}

/// However a call ends inside a message, the credit of the connection comes back.
#[test]
fn the_credit_of_an_incomplete_message_comes_back() {
    type End = fn(&mut Pair, u32);
    let ends: [End; 6] = [
        |pair, id| assert!(pair.server.release(id).is_none(), "no owner was set"),
        |pair, id| pair.server.stop(id),
        |pair, id| pair.client.abort(id, 9),
        |pair, id| pair.client.cancel(id),
        |pair, id| assert!(pair.client.release(id).is_some()),
        |pair, _| pair.server.expire(pair.now + TIME),
    ];
    for (number, end) in ends.iter().enumerate() {
        let mut pair = Pair::new(Config { piece: 100, piece_alone: 100, ..Config::default() });
        let deadline = Some(pair.now + TIME);
        let id = pair.client.open(Opening { deadline, ..opening(3, false) }, ()).unwrap();
        pair.pass();
        let charge = messages(&mut pair.server)[0].2;
        take(&mut pair.server, id, charge);
        pair.client.send(id, message(1000, true)).unwrap();
        let piece = pair.client.transmit(pair.now).unwrap();
        pair.server.receive(pair.now, piece.to_bytes()).unwrap();
        assert_eq!(pair.server.window.held(), 1000 + MESSAGE_COST);
        end(&mut pair, id);
        pair.pass();
        assert_eq!((pair.server.window.held(), pair.server.held()), (0, 0), "{number}");
    }
}

#[test]
fn what_has_come_of_a_reply_goes_with_its_call() {
    type End = fn(&mut Pair, u32);
    let ends: [End; 3] = [
        |pair, id| assert!(pair.client.release(id).is_some()),
        |pair, id| pair.client.stop(id),
        |pair, _| pair.client.expire(pair.now + TIME),
    ];
    for end in ends {
        let mut pair = Pair::new(Config { piece: 100, piece_alone: 100, ..Config::default() });
        let deadline = Some(pair.now + TIME);
        let id = pair.client.open(Opening { deadline, ..opening(3, true) }, ()).unwrap();
        pair.pass();
        pair.server.send(id, message(1000, true)).unwrap();
        let piece = pair.server.transmit(pair.now).unwrap();
        pair.client.receive(pair.now, piece.to_bytes()).unwrap();
        assert_eq!(pair.client.held(), 100);
        end(&mut pair, id);
        assert_eq!(pair.client.held(), 0);
    }
}
