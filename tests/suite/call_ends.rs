//! How the caller waits for calls, leaves them, and what it learns of those that were not begun, on every transport.

use crate::common::by_hand::by_hand;
use crate::common::serving::{Serving, limits};
use crate::common::{Backend, PATIENCE, pattern};
use msgpipe::exchange::{Event, Message};
use msgpipe::{Call, Client, CloseReason, Error, MessageServer, Request, Responder};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

crate::on_every_transport!(
    a_wait_with_a_limit_ends_and_the_call_goes_on,
    a_cancelled_call_is_cancelled_at_the_server,
    a_detached_call_refuses_a_large_reply_and_the_rest_of_parts,
    one_of_several_calls_is_waited_for,
    one_of_several_calls_is_waited_for_beside_a_reading_thread,
    a_request_that_waits_for_its_turn_is_not_begun_at_its_deadline,
    a_request_that_waits_for_its_turn_is_not_begun_after_a_close,
    a_request_that_waits_for_its_turn_is_not_begun_after_a_drain,
    a_request_of_which_the_rest_was_not_sent_is_not_begun,
);
crate::on_named_transports!(
    a_detached_call_is_carried_out_and_leaves_nothing,
    only_calls_of_one_connection_are_waited_for_together,
);

/// The calls that every server takes at once: the next one waits in the client.
const AT_ONCE: usize = 128;

/// A server that passes its requests on, and a client of it.
fn deferring<B: Backend>(backend: &B) -> (Serving, mpsc::Receiver<(Request, Responder)>, Client) {
    draining_for(backend, Duration::from_millis(100))
}

fn draining_for<B: Backend>(
    backend: &B,
    drain: Duration,
) -> (Serving, mpsc::Receiver<(Request, Responder)>, Client) {
    let (tell, requests) = mpsc::channel();
    let mut few = limits();
    (few.in_flight, few.drain) = (AT_ONCE, drain);
    let serving = Serving::start(backend.serve_calls(&few).unwrap(), move |request, responder| {
        // The test may have ended.
        let _ = tell.send((request, responder));
    });
    (serving, requests, backend.client(&limits()).unwrap())
}

fn next(requests: &mpsc::Receiver<(Request, Responder)>) -> (Request, Responder) {
    requests.recv_timeout(PATIENCE).unwrap()
}

#[track_caller]
fn eventually(mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "it never came to be");
        thread::yield_now();
    }
}

fn a_wait_with_a_limit_ends_and_the_call_goes_on<B: Backend>() {
    let backend = B::new();
    let (_serving, requests, client) = deferring(&backend);
    let mut call = client.start("question").unwrap();
    let (request, responder) = next(&requests);
    for limit in [Duration::ZERO, Duration::from_millis(5)] {
        assert!(call.wait_within(limit).is_none());
    }
    assert!(!request.is_cancelled());
    responder.reply("answer");
    assert_eq!(call.wait_within(PATIENCE).unwrap().unwrap(), "answer");
    assert!(call.wait_within(PATIENCE).is_none() && call.try_wait().is_none());
    assert!(matches!(call.wait(), Err(Error::Misuse { .. })));
    // The deadline of the call is an end, and not only a limit.
    let mut late = client.with_timeout(Duration::from_millis(5)).start("").unwrap();
    assert!(matches!(late.wait_within(PATIENCE), Some(Err(Error::Deadline { .. }))));
}

fn a_cancelled_call_is_cancelled_at_the_server<B: Backend>() {
    let backend = B::new();
    let (_serving, requests, client) = deferring(&backend);
    client.start("question").unwrap().cancel();
    let (request, _responder) = next(&requests);
    eventually(|| request.is_cancelled());
}

fn a_detached_call_is_carried_out_and_leaves_nothing<B: Backend>() {
    let backend = B::new();
    let (_serving, requests, _) = deferring(&backend);
    let mut one = limits();
    one.in_flight = 1;
    let client = backend.client(&one).unwrap();
    for round in 0..3 {
        client.start("do it").unwrap().detach();
        let (request, responder) = next(&requests);
        // It still counts.
        assert!(matches!(client.start("too many"), Err(Error::TooManyCalls { .. })));
        assert!(!request.is_cancelled());
        match round {
            0 => responder.reply("done"),
            1 => responder.reply(Err::<(), _>("not done")),
            _ => drop(responder),
        }
        let mut begun = None;
        eventually(|| {
            begun = client.start("next").ok();
            begun.is_some()
        });
        next(&requests).1.reply("the next");
        assert_eq!(begun.unwrap().wait().unwrap(), "the next");
    }
    // Its reply may have arrived before.
    let mut other = client.start("over").unwrap();
    next(&requests).1.reply("already");
    assert!(other.wait_within(PATIENCE).is_some());
    other.detach();
    assert!(client.start("").is_ok());
}

fn a_detached_call_refuses_a_large_reply_and_the_rest_of_parts<B: Backend>() {
    let backend = B::new();
    let mut one = limits();
    one.in_flight = 1;
    let (mut server, client) = by_hand(&backend, &limits(), &one);
    for is_large in [true, false] {
        client.start("do it").unwrap().detach();
        let (id, _) = server.request();
        let part = Message::new(pattern(3 << 20, 1).into(), false);
        let part = if is_large { part } else { Message::new("a".into(), false) };
        server.machine.send(id, part).unwrap();
        // The client reads when it has to: at its limit.
        let mut begun = None;
        server.until(|_| {
            begun = client.start("next").ok();
            begun.is_some()
        });
        server.event(|event| matches!(event, Event::Stopped { id: stopped } if *stopped == id));
        server.machine.release(id);
        let (id, _) = server.request();
        server.reply(id, "the next");
        assert_eq!(begun.unwrap().wait().unwrap(), "the next");
    }
}

fn one_of_several_calls_is_waited_for<B: Backend>() {
    let backend = B::new();
    let (_serving, requests, client) = deferring(&backend);
    let names = ["one", "two", "three"];
    let mut calls: Vec<_> = names.iter().map(|name| client.start(*name).unwrap()).collect();
    let mut responders: Vec<_> = names.iter().map(|_| next(&requests).1).collect();
    for limit in [Duration::ZERO, Duration::from_millis(5)] {
        assert_eq!(Call::wait_any(&mut calls, Some(limit)).unwrap(), None);
    }
    for (index, left) in [(1, 2), (1, 1), (0, 0)] {
        responders.remove(index).reply(format!("{left}"));
        assert_eq!(Call::wait_any(&mut calls, None).unwrap(), Some(index));
        assert_eq!(calls.remove(index).wait().unwrap(), format!("{left}"));
    }
    // The deadline of one is its end.
    let late = client.with_timeout(Duration::from_millis(5)).start("late").unwrap();
    let mut calls = [client.start("open").unwrap(), late];
    assert_eq!(Call::wait_any(&mut calls, None).unwrap(), Some(1));
    assert!(matches!(calls[1].try_wait(), Some(Err(Error::Deadline { .. }))));
    // It is passed over now.
    assert_eq!(Call::wait_any(&mut calls, Some(Duration::ZERO)).unwrap(), None);
}

fn one_of_several_calls_is_waited_for_beside_a_reading_thread<B: Backend>() {
    let backend = B::new();
    let (_serving, requests, client) = deferring(&backend);
    for round in 0..50 {
        let leader = client.start("leader").unwrap();
        let mut calls = [client.start("a").unwrap(), client.start("b").unwrap()];
        let [first, a, b] = [next(&requests).1, next(&requests).1, next(&requests).1];
        thread::scope(|scope| {
            scope.spawn(move || assert_eq!(leader.wait().unwrap(), "first"));
            let any = scope.spawn(|| Call::wait_any(&mut calls, None).unwrap());
            // The reading thread ends before, after, or not until the other has what it waits for.
            if round % 2 == 0 {
                first.reply("first");
                b.reply("b");
            } else {
                b.reply("b");
                first.reply("first");
            }
            assert_eq!(any.join().unwrap(), Some(1));
        });
        a.reply("a");
    }
}

fn only_calls_of_one_connection_are_waited_for_together<B: Backend>() {
    let backend = B::new();
    let (_serving, requests, client) = deferring(&backend);
    let other = backend.client(&limits()).unwrap();
    let mut calls = [client.start("").unwrap(), other.start("").unwrap()];
    assert!(matches!(Call::wait_any(&mut calls, None), Err(Error::Misuse { .. })));
    assert!(matches!(Call::wait_any(&mut [], None), Err(Error::Misuse { .. })));
    let mut one = [client.with_timeout(PATIENCE).start("").unwrap(), client.start("").unwrap()];
    (0..4).for_each(|_| next(&requests).1.reply(""));
    for _ in 0..2 {
        let index = Call::wait_any(&mut one, None).unwrap().unwrap();
        assert_eq!(one[index].try_wait().unwrap().unwrap(), "");
    }
    let error = Call::wait_any(&mut one, None).unwrap_err();
    assert!(error.to_string().contains("no call to wait for"), "{error}");
}

/// As many calls as are sent, and one that waits in the client.
fn one_too_many(
    client: &Client,
    requests: &mpsc::Receiver<(Request, Responder)>,
) -> (Vec<Call>, Vec<Responder>, Call) {
    let calls: Vec<_> = (0..AT_ONCE).map(|_| client.start("held").unwrap()).collect();
    let responders = (0..AT_ONCE).map(|_| next(requests).1).collect();
    let waiting = client.with_timeout(Duration::from_millis(50)).start("waits").unwrap();
    (calls, responders, waiting)
}

fn a_request_that_waits_for_its_turn_is_not_begun_at_its_deadline<B: Backend>() {
    let backend = B::new();
    let (_serving, requests, client) = deferring(&backend);
    let (calls, mut responders, waiting) = one_too_many(&client, &requests);
    let error = waiting.wait().unwrap_err();
    assert!(matches!(error, Error::Deadline { .. }) && error.is_not_begun(), "{error}");
    responders.drain(..).for_each(|responder| responder.reply("done"));
    calls.into_iter().for_each(|call| assert_eq!(call.wait().unwrap(), "done"));
    // One that was sent is another matter.
    let late = client.with_timeout(Duration::from_millis(20)).start("sent").unwrap();
    let (request, _responder) = next(&requests);
    assert_eq!(request.body(), "sent", "what was not begun is never sent");
    let error = late.wait().unwrap_err();
    assert!(matches!(error, Error::Deadline { .. }) && !error.is_not_begun(), "{error}");
}

fn a_request_that_waits_for_its_turn_is_not_begun_after_a_close<B: Backend>() {
    let backend = B::new();
    let (_serving, requests, client) = deferring(&backend);
    let (calls, _responders, _) = one_too_many(&client, &requests);
    let waiting = client.start("waits").unwrap();
    client.close();
    let error = waiting.wait().unwrap_err();
    let Error::Closed { reason: CloseReason::Local, .. } = &error else { panic!("{error}") };
    assert!(error.is_not_begun(), "{error}");
    for call in calls {
        let error = call.wait().unwrap_err();
        assert!(matches!(error, Error::Closed { .. }) && !error.is_not_begun(), "{error}");
    }
    assert!(client.call("later").unwrap_err().is_not_begun());
}

/// The server ends while it holds some, or answers all of them.
fn a_request_that_waits_for_its_turn_is_not_begun_after_a_drain<B: Backend>() {
    for (answers, drain) in [(false, Duration::from_millis(100)), (true, PATIENCE)] {
        let backend = B::new();
        let (serving, requests, client) = draining_for(&backend, drain);
        let (calls, mut responders, _) = one_too_many(&client, &requests);
        let waiting = client.start("waits").unwrap();
        let ending = thread::spawn(move || drop(serving));
        let error = waiting.wait().unwrap_err();
        assert!(error.is_not_begun(), "{error}");
        assert!(matches!(error, Error::Answered { .. }), "before the end: {error}");
        if answers {
            responders.drain(..).for_each(|responder| responder.reply("done"));
        }
        for call in calls {
            let ended = call.wait();
            match answers {
                true => assert_eq!(ended.unwrap(), "done"),
                false => assert!(!ended.unwrap_err().is_not_begun()),
            }
        }
        ending.join().unwrap();
    }
}

fn a_request_of_which_the_rest_was_not_sent_is_not_begun<B: Backend>() {
    let backend = B::new();
    let (mut server, client) = by_hand(&backend, &limits(), &limits());
    server.settle();
    // It is announced, and never admitted.
    let ask =
        |client: &Client| client.with_timeout(Duration::from_millis(50)).start(pattern(3 << 20, 1));
    let call = thread::scope(|scope| {
        let asking = scope.spawn(|| ask(&client).unwrap());
        server.until(|_| asking.is_finished());
        asking.join().unwrap()
    });
    let announced = server.event(|event| matches!(event, Event::Announced { .. }));
    let Event::Announced { id, .. } = announced else { panic!("{announced:?}") };
    let error = call.wait().unwrap_err();
    assert!(matches!(error, Error::Deadline { .. }) && error.is_not_begun(), "{error}");
    // The server learns that nothing follows: its rest is not sent later.
    server.machine.admit(id);
    let reply = client.start("next").unwrap();
    let (next, body) = server.request();
    assert_eq!(body, "next");
    server.reply(next, "fine");
    assert_eq!(reply.wait().unwrap(), "fine");
    // After an abort of the connection the same.
    let call = thread::scope(|scope| {
        let asking = scope.spawn(|| client.start(pattern(3 << 20, 1)).unwrap());
        server.until(|_| asking.is_finished());
        asking.join().unwrap()
    });
    let id = server.id;
    server.messages.abort(id);
    server.until(|server| server.ended.is_some());
    let error = call.wait().unwrap_err();
    assert!(matches!(error, Error::Closed { .. }) && error.is_not_begun(), "{error}");
}
