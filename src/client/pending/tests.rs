//! Threads that share the calls of a client.

use super::*;
use crate::exchange::{Machine, Metadata, Side};
use crate::framing::{Native, Outbound, SendQueue};
use std::sync::Arc;
use std::time::Duration;

fn pending() -> Pending {
    Pending::new(Config { opens: 8, ..Config::default() })
}

/// Begins that many calls.
fn begin(pending: &Pending, count: usize) -> Option<Vec<u32>> {
    let (mut outbound, mut queue) = (Outbound::new(&Native::for_calls(100)), SendQueue::default());
    let mut filler = Filler::new(&mut outbound, &mut queue, 0, 100);
    let now = Instant::now();
    let (deadline, metadata) = (Some(now + Duration::from_secs(60)), &Metadata::default());
    let terms =
        Terms { began: now, deadline, method: 0, metadata, has_parts: false, is_kept: false };
    pending.begin(&vec![Body::from("ask"); count], terms, &mut filler).ok()
}

fn begun(pending: &Pending) -> u32 {
    begin(pending, 1).unwrap()[0]
}

#[test]
fn a_thread_that_stops_waiting_is_removed() {
    let pending = pending();
    let (leader, follower) = (begun(&pending), begun(&pending));
    assert!(pending.lead_or_follow(&[leader], None));
    for _ in 0..3 {
        let soon = Instant::now() + Duration::from_millis(1);
        assert!(!pending.lead_or_follow(&[follower], Some(soon)));
        assert!(pending.lock().followers.is_empty());
    }
}

/// The call is in the list, and its thread does not wait yet.
#[test]
fn a_thread_about_to_wait_gets_the_lead_too() {
    let pending = pending();
    let (leader, follower) = (begun(&pending), begun(&pending));
    assert!(pending.lead_or_follow(&[leader], None));
    pending.lock().followers.push_back(follower);
    pending.stop_leading();
    let deadline = Instant::now() + Duration::from_secs(60);
    pending.follow(&[follower], Some(deadline));
    assert!(Instant::now() < deadline, "it was not offered the lead");
}

#[test]
fn the_lead_passes_to_a_waiting_thread() {
    let pending = Arc::new(pending());
    let (leader, follower) = (begun(&pending), begun(&pending));
    assert!(pending.lead_or_follow(&[leader], None));
    let waiting = thread::spawn({
        let pending = pending.clone();
        move || assert!(pending.lead_or_follow(&[follower], None), "the offer was dropped")
    });
    while pending.lock().followers.is_empty() {
        thread::yield_now();
    }
    pending.stop_leading();
    waiting.join().unwrap();
    assert!(pending.lock().led && pending.lock().followers.is_empty());
}

#[test]
fn a_call_says_that_the_server_ended_while_it_was_open() {
    let reset = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    let other = std::io::Error::other("something else");
    let ended = "the server has ended while this call was open";
    let reasons = [
        (CloseReason::PeerClosed, format!("the connection broke: {ended}")),
        (reset.into(), format!("the connection broke: {ended}: ")),
        (other.into(), "the connection broke: something else".to_owned()),
    ];
    for (reason, text) in reasons {
        let pending = pending();
        let call = begun(&pending);
        pending.close(&reason);
        let Some((Outcome::Closed(said), _, _)) = pending.collect(call) else { panic!("{reason}") };
        assert!(said.to_string().starts_with(&text), "{said}");
    }
}

#[test]
fn parts_wait_up_to_a_limit_which_the_last_of_them_may_exceed() {
    const COST: usize = crate::exchange::MESSAGE_COST as usize;
    let metadata = &Metadata::default();
    for (first, fits) in [(UPLOAD_MAX - 1, true), (UPLOAD_MAX, false), (UPLOAD_MAX + 1, false)] {
        let config = Config { opens: 8, queue: 1 << 20, ..Config::default() };
        let mut server = Machine::<()>::new(Side::Server, config.clone());
        let (pending, now) = (Pending::new(config), Instant::now());
        let settings = server.transmit(now).unwrap().to_bytes();
        pending.lock().machine.receive(now, settings).unwrap();
        let terms = Terms {
            began: now,
            deadline: None,
            method: 0,
            metadata,
            has_parts: false,
            is_kept: false,
        };
        let id = pending.begin_stream(terms).unwrap();
        pending.send_part(id, vec![7; first - COST].into()).unwrap();
        assert_eq!(pending.has_room(id, UPLOAD_MAX), fits, "{first}");
        match pending.send_part(id, vec![7; 100_000].into()) {
            Ok(()) => assert!(fits, "{first}"),
            Err(PartRefused::Full(part)) => assert!(!fits && part.len() == 100_000, "{first}"),
            Err(other) => panic!("{other:?}"),
        }
        assert!(!pending.has_room(id, UPLOAD_MAX));
    }
}

#[test]
fn calls_begin_together_or_not_at_all() {
    let pending = pending();
    for (count, begins) in [(7, true), (2, false), (1, true), (1, false), (0, true)] {
        let ids = begin(&pending, count).map(|ids| ids.len());
        assert_eq!(ids, begins.then_some(count));
    }
}
