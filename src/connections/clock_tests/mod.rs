//! The time limits, exactly at each limit. The time is passed in, so no test waits.

use super::clock::GRACE;
use super::scene::{self, ID, Scene, frame, preface};
use super::*;
use crate::framing::GoodbyeCode;
use std::time::Duration;

/// The tested limit.
const LIMIT: Duration = Duration::from_secs(7);
const STEP: Duration = Duration::from_nanos(1);
const LONG: Duration = Duration::from_secs(1000);

fn limits(preface: Duration, message_time: Duration, idle: Option<Duration>) -> Limits {
    let write_stall = LONG * 1000;
    Limits { preface, message_time, idle, write_stall, ..Limits::default() }
}

/// Checks that the connection ends exactly `limit` after `from`, to the nanosecond, with the goodbye `code`.
fn ends_after_the_limit(
    prepare: impl Fn() -> (Scene, Instant),
    is_the_reason: impl Fn(&CloseReason) -> bool,
    code: u16,
) {
    for (after, ends) in [(LIMIT - STEP, false), (LIMIT, true), (LIMIT + STEP, true)] {
        let (mut scene, from) = prepare();
        assert_eq!(scene.connections.deadline(), Some(from + LIMIT));
        match &scene.at(from + after)[..] {
            [] => assert!(!ends, "it goes on after {after:?}"),
            [Event::Closed(ID, reason)] => {
                assert!(ends && is_the_reason(reason), "{reason} after {after:?}");
            }
            events => panic!("{events:?} after {after:?}"),
        }
        assert_eq!(scene.peer.goodbye(), ends.then_some(code));
        assert_eq!(scene.connections.clock.len(), usize::from(!ends));
    }
}

fn is_slow(with: &'static str) -> impl Fn(&CloseReason) -> bool {
    move |reason| matches!(reason, CloseReason::Slow { what, waited: LIMIT } if *what == with)
}

#[test]
fn the_time_for_a_preface_is_exact() {
    let limits = limits(LIMIT, LONG, None);
    let silent = || {
        let scene = Scene::new(&limits);
        let start = scene.start;
        (scene, start)
    };
    ends_after_the_limit(silent, is_slow("preface"), GoodbyeCode::TOO_SLOW);
    // A peer that has sent a part has no more time than a silent one.
    let begun = || {
        let mut scene = Scene::new(&limits);
        let start = scene.start;
        assert!(scene.says(&preface()[..15], start + LIMIT - STEP).is_empty());
        (scene, start)
    };
    ends_after_the_limit(begun, is_slow("preface"), GoodbyeCode::TOO_SLOW);
}

#[test]
fn a_preface_in_time_ends_its_deadline() {
    let mut scene = Scene::new(&limits(LIMIT, LONG, None));
    let start = scene.start;
    assert!(scene.says(&preface(), start + LIMIT - STEP).is_empty());
    assert!(scene.at(start + LIMIT).is_empty());
    assert!(scene.at(start + LONG * 1000).is_empty());
    assert_eq!(scene.connections.deadline(), None);
}

#[test]
fn the_time_for_a_message_is_exact_and_counts_from_its_first_byte() {
    let limits = limits(LONG, LIMIT, None);
    let dripping = || {
        let mut scene = Scene::begun(&limits);
        let from = scene.start + Duration::from_secs(100);
        // Each byte arrives in time, but the message does not.
        for (seconds, byte) in frame(100)[..6].iter().enumerate() {
            let now = from + Duration::from_secs(seconds as u64);
            assert!(scene.says(&[*byte], now).is_empty());
        }
        (scene, from)
    };
    ends_after_the_limit(dripping, is_slow("message"), GoodbyeCode::TOO_SLOW);
}

#[test]
fn each_message_has_its_own_time() {
    let mut scene = Scene::begun(&limits(LONG, LIMIT, None));
    let (frame, mut from) = (frame(100), scene.start);
    for _ in 0..10 {
        assert!(scene.says(&frame[..50], from).is_empty());
        let in_time = from + LIMIT - STEP;
        // Its end arrives with the beginning of the next message, which starts the time anew.
        let events = scene.says(&[&frame[50..], &frame[..1]].concat(), in_time);
        assert!(matches!(&events[..], [Event::Message(ID, _)]), "{events:?}");
        assert!(scene.at(from + LIMIT).is_empty(), "the time of the one before goes on");
        let events = scene.says(&frame[1..], in_time + LIMIT - STEP);
        assert!(matches!(&events[..], [Event::Message(ID, _)]), "{events:?}");
        from = in_time + LIMIT;
    }
    assert!(scene.at(from + LONG * 10).is_empty(), "between messages there is no limit");
}

/// The peer reads a little each time: within `write_stall`, but never everything.
#[test]
fn the_time_for_closing_is_exact_whatever_is_read_meanwhile() {
    let limits = Limits { closing: LIMIT, write_stall: LIMIT / 2, ..Limits::default() };
    for (after, ends) in [(LIMIT - STEP, false), (LIMIT, true), (LIMIT + STEP, true)] {
        let mut scene = Scene::begun(&limits);
        let from = scene.start + LONG;
        scene.peer.takes(false);
        scene.sends(1000, from);
        scene.connections.close(ID, &Goodbye::new(0, "bye"), from);
        let mut now = from;
        while now < from + LIMIT - LIMIT / 4 {
            scene.peer.takes_bytes(1);
            scene.connections.writable(ID);
            assert!(scene.at(now).is_empty(), "it has ended after {:?}", now - from);
            now += LIMIT / 4;
        }
        let events = scene.at(from + after);
        let closed = matches!(events[..], [Event::Closed(ID, CloseReason::Local)]);
        assert_eq!(closed, ends, "{events:?}");
        assert_eq!(scene.peer.is_aborted(), ends);
    }
}

#[test]
fn an_aborted_connection_ends_at_once() {
    let mut scene = Scene::begun(&Limits::default());
    let now = scene.start;
    scene.peer.takes(false);
    scene.sends(1000, now);
    scene.connections.abort(ID);
    assert!(matches!(scene.at(now)[..], [Event::Closed(ID, CloseReason::Local)]));
    assert!(scene.peer.is_aborted());
    assert_eq!((scene.connections.len(), scene.connections.deadline()), (0, None));
    assert_eq!(scene.connections.account.held(), 0);
}

/// The cost of the checks of peers that do not read grows linearly with their number.
#[test]
fn a_peer_that_does_not_read_is_checked_at_its_deadline_and_not_before() {
    const MANY: u64 = 1000;
    let limits = Limits { write_stall: LIMIT, ..Limits::default() };
    let mut scene = Scene::begun(&limits);
    let start = scene.start;
    let stalled = scene::Peer::default();
    stalled.takes(false);
    for number in 2..MANY + 2 {
        let id = ConnectionId::from_number(number);
        let now = start + STEP * number as u32;
        scene.connections.add(id, stalled.clone(), Default::default(), false, now);
        scene.at(now);
    }
    let before = stalled.writes();
    let mut closed = 0;
    for number in 2..MANY + 2 {
        closed += scene.at(start + LIMIT + STEP * number as u32).len() as u64;
    }
    assert_eq!(closed, MANY);
    assert!(stalled.writes() - before <= 3 * MANY, "{} writes", stalled.writes() - before);
}

fn is_idle(reason: &CloseReason) -> bool {
    matches!(reason, CloseReason::Idle { waited: LIMIT })
}

#[test]
fn the_idle_limit_is_exact_and_counts_from_the_last_message() {
    let limits = limits(LONG, LONG, Some(LIMIT));
    let heard = || {
        let mut scene = Scene::begun(&limits);
        let from = scene.start + LIMIT - STEP;
        assert_eq!(scene.says(&frame(1), from).len(), 1);
        // So that the check of the earlier deadline has been made.
        assert!(scene.at(scene.start + LIMIT).is_empty());
        (scene, from)
    };
    ends_after_the_limit(heard, is_idle, GoodbyeCode::IDLE);
    let told = || {
        let mut scene = Scene::begun(&limits);
        let from = scene.start + LIMIT - STEP;
        scene.sends(1, from);
        assert!(scene.at(scene.start + LIMIT).is_empty());
        (scene, from)
    };
    ends_after_the_limit(told, is_idle, GoodbyeCode::IDLE);
}

/// `message_time` applies meanwhile, and idleness counts from the end of the message.
#[test]
fn a_peer_that_is_sending_a_message_is_not_idle() {
    let limits = limits(LONG, LONG, Some(LIMIT));
    let sent_slowly = || {
        let mut scene = Scene::begun(&limits);
        let (message, start) = (frame(1), scene.start);
        assert!(scene.says(&message[..8], start + LIMIT - STEP).is_empty());
        assert!(scene.at(start + LIMIT * 2).is_empty());
        let end = start + LIMIT * 3;
        assert_eq!(scene.says(&message[8..], end).len(), 1);
        (scene, end)
    };
    ends_after_the_limit(sent_slowly, is_idle, GoodbyeCode::IDLE);
}

#[test]
fn by_default_there_is_no_idle_limit() {
    let mut scene = Scene::begun(&Limits::default());
    let start = scene.start;
    assert!(scene.at(start + Duration::from_secs(365 * 24 * 3600)).is_empty());
    assert_eq!(scene.connections.deadline(), None);
    assert_eq!(scene.says(&frame(1), start + Duration::from_secs(366 * 24 * 3600)).len(), 1);
}

/// Time in which the server does not read because of backpressure does not count.
#[test]
fn the_time_for_a_message_does_not_count_while_it_is_not_read() {
    let mut limits = limits(LONG, LIMIT, None);
    limits.queued = 1000;
    let frame = frame(100);
    let paused = || {
        let mut scene = Scene::begun(&limits);
        let start = scene.start;
        assert!(scene.says(&frame[..10], start).is_empty());
        scene.peer.takes(false);
        scene.sends(501, start);
        assert!(scene.says(&frame[10..20], start + LIMIT - STEP).is_empty());
        // It is checked at the deadline, which does not count while it is paused.
        assert!(scene.at(start + LIMIT).is_empty());
        assert!(scene.at(start + LONG).is_empty());
        scene.peer.takes(true);
        scene.connections.writable(ID);
        assert!(scene.at(start + LONG).is_empty());
        while scene.connections.is_busy() {
            assert!(scene.at(start + LONG).is_empty());
        }
        (scene, start + LONG)
    };
    ends_after_the_limit(paused, is_slow("message"), GoodbyeCode::TOO_SLOW);
    let (mut scene, from) = paused();
    assert_eq!(scene.says(&frame[20..], from + LIMIT - STEP).len(), 1);
    assert!(scene.at(from + LIMIT).is_empty());
}

/// The cost of the clock does not grow with the number of messages.
#[test]
fn a_connection_has_one_entry_in_the_clock_however_much_it_sends() {
    let mut scene = Scene::begun(&limits(LONG, LIMIT, Some(LONG)));
    let other = ConnectionId::from_number(2);
    let start = scene.start;
    scene.connections.add(other, scene::Peer::default(), Default::default(), false, start);
    assert_eq!(scene.at(start).len(), 1);
    let frame = frame(100);
    let mut heard = 0;
    for message in 0..10_000 {
        let now = start + STEP * message;
        heard += scene.says(&frame[..60], now).len();
        heard += scene.says(&frame[60..], now).len();
        scene.sends(1, now);
        assert_eq!(scene.connections.clock.len(), 2);
    }
    assert_eq!(heard, 10_000);
    scene.connections.close(ID, &Goodbye::new(0, ""), start);
    assert!(matches!(scene.at(start)[..], [Event::Closed(ID, _)]));
    assert_eq!(scene.connections.clock.len(), 1, "it stays behind its connection");
}

/// The application was busy for longer than the limits. All peers kept them, but the server did not poll.
#[test]
fn time_in_which_the_server_did_not_poll_does_not_count() {
    let mut limits = limits(LIMIT, LIMIT, Some(LIMIT));
    limits.write_stall = LIMIT;
    let late = LONG;

    // A preface.
    let mut scene = Scene::new(&limits);
    scene.peer.says(&preface());
    scene.peer.says(&frame(1));
    assert!(scene.without_poll(scene.start + late).is_empty());
    scene.connections.readable(ID, false);
    let events = scene.at(scene.start + late);
    assert!(matches!(&events[..], [Event::Message(ID, _)]), "{events:?}");

    // An incomplete message, and an idle time until its end.
    let mut scene = Scene::begun(&limits);
    assert!(scene.says(&frame(10)[..9], scene.start).is_empty());
    scene.peer.says(&frame(10)[9..]);
    assert!(scene.without_poll(scene.start + late).is_empty());
    scene.connections.readable(ID, false);
    let events = scene.at(scene.start + late);
    assert!(matches!(&events[..], [Event::Message(ID, _)]), "{events:?}");

    // Bytes that are seen only some polls later.
    let mut scene = Scene::begun(&limits);
    assert!(scene.says(&frame(10)[..9], scene.start).is_empty());
    assert!(scene.at(scene.start + late).is_empty());
    let events = scene.says(&frame(10)[9..], scene.start + late + GRACE - STEP);
    assert!(matches!(&events[..], [Event::Message(ID, _)]), "{events:?}");

    // A message that takes several reads.
    let mut scene = Scene::begun(&limits);
    let large = frame(1 << 20);
    assert!(scene.says(&large[..9], scene.start).is_empty());
    scene.peer.says(&large[9..]);
    scene.connections.readable(ID, false);
    let now = scene.start + late;
    let mut events = scene.at(now);
    assert!(events.is_empty(), "it was read at once");
    while events.is_empty() {
        assert!(scene.connections.is_busy());
        events = scene.at(now);
    }
    assert!(matches!(&events[..], [Event::Message(ID, _)]), "{events:?}");

    // The same, exactly at the deadline of a server that is not late.
    let mut scene = Scene::begun(&limits);
    assert!(scene.says(&large[..9], scene.start).is_empty());
    scene.peer.says(&large[9..]);
    scene.connections.readable(ID, false);
    let now = scene.start + LIMIT;
    let mut events = scene.at(now);
    while events.is_empty() {
        assert!(scene.connections.is_busy());
        events = scene.at(now);
    }
    assert!(matches!(&events[..], [Event::Message(ID, _)]), "{events:?}");

    // A peer that reads, and one that has read.
    let mut scene = Scene::begun(&limits);
    let start = scene.start;
    scene.peer.takes(false);
    scene.sends(100, start);
    scene.peer.takes(true);
    assert!(scene.without_poll(start + LIMIT).is_empty());
    scene.connections.writable(ID);
    let events = scene.at(start + LIMIT - STEP);
    assert!(events.is_empty(), "{events:?}");
    assert_eq!(scene.connections.deadline(), Some(start + LIMIT), "only its silence is waited for");
}

/// It gets the extra time only once.
#[test]
fn a_late_peer_of_a_late_server_is_closed_all_the_same() {
    for (after, ends) in [(GRACE - STEP, false), (GRACE, true)] {
        let mut scene = Scene::begun(&limits(LONG, LIMIT, None));
        let late = scene.start + LIMIT + Duration::from_secs(1);
        assert!(scene.says(&frame(10)[..1], scene.start).is_empty());
        assert!(scene.says(&frame(10)[1..2], late).is_empty());
        assert!(scene.says(&frame(10)[2..3], late + after / 2).is_empty());
        let events = scene.at(late + after);
        let closed = matches!(events[..], [Event::Closed(ID, CloseReason::Slow { .. })]);
        assert_eq!(closed, ends, "{events:?}");
    }
}
