//! The limits of calls: number, size and memory, on every transport.

use crate::common::serving::{Serving, limits};
use crate::common::{Backend, PATIENCE, pattern};
use bytes::Bytes;
use msgpipe::{Error, ErrorReply, Limits};
use std::thread::{self};
use std::time::{Duration, Instant};

crate::on_every_transport!(
    the_limit_of_calls_in_flight_is_exact_at_the_client,
    the_limit_of_sizes_is_exact_for_requests_and_replies,
    large_calls_in_flight_do_not_block_each_other,
    many_large_deferred_replies_are_held_until_they_are_read,
    replies_of_the_largest_size_given_at_once_arrive,
    the_memory_for_replies_has_a_limit,
);
crate::on_named_transports!(
    the_limit_of_calls_in_flight_is_exact_at_the_server,
    a_client_with_a_tiny_limit_is_answered_or_closed,
    late_replies_of_abandoned_calls_free_their_slots,
);
fn the_limit_of_calls_in_flight_is_exact_at_the_client<B: Backend>() {
    let backend = B::new();
    let mut held = Vec::new();
    let _serving = Serving::start(backend.serve_calls(&limits()).unwrap(), move |_, responder| {
        held.push(responder);
        if held.len() == 3 {
            held.drain(..).for_each(|responder| responder.reply("done"));
        }
    });
    let mut limits = limits();
    limits.in_flight = 3;
    let client = backend.client(&limits).unwrap();
    for _ in 0..3 {
        // They are held until the third arrives.
        let mut calls: Vec<_> = (0..2).map(|_| client.start("call").unwrap()).collect();
        let mut batch = client.batch();
        batch.add("one").add("one too many");
        match batch.send().unwrap_err() {
            Error::TooManyCalls { limit: 3, request, .. } => assert_eq!(request, "one too many"),
            error => panic!("{error}"),
        }
        // No request of that batch has begun.
        calls.push(client.start("call").unwrap());
        for call in calls {
            assert_eq!(call.wait().unwrap(), "done");
        }
    }
}

fn the_limit_of_calls_in_flight_is_exact_at_the_server<B: Backend>() {
    let backend = B::new();
    let mut server_limits = limits();
    server_limits.in_flight = 3;
    let mut held = Vec::new();
    let server = backend.serve_calls(&server_limits).unwrap();
    let _serving = Serving::start(server, move |request, responder| match &request.body()[..] {
        b"hold" => held.push(responder),
        b"free" => {
            held.drain(..).for_each(|responder| responder.reply("done"));
            responder.reply("freed");
        }
        _ => unreachable!(),
    });
    let client = backend.client(&limits()).unwrap();
    let held: Vec<_> = (0..2).map(|_| client.start("hold").unwrap()).collect();
    // Two are held, so this one is the third: still allowed.
    let third = client.start("hold").unwrap();
    match client.call("free").unwrap_err() {
        Error::Answered { reply, .. } => assert_eq!(reply.code, ErrorReply::TOO_MANY_REQUESTS),
        error => panic!("{error}"),
    }
    // It was refused and not begun: the others are unaffected. Another connection has its own limit.
    let other = backend.client(&limits()).unwrap();
    assert_eq!(other.call("free").unwrap(), "freed");
    for call in held.into_iter().chain([third]) {
        assert_eq!(call.wait().unwrap(), "done");
    }
    assert_eq!(client.call("free").unwrap(), "freed");
}

fn the_limit_of_sizes_is_exact_for_requests_and_replies<B: Backend>() {
    let backend = B::new();
    let mut small = limits();
    small.message = 5_000;
    // The request is a number: the size of the reply.
    let server = backend.serve_calls(&limits()).unwrap();
    let _serving = Serving::start(server, |request, responder| {
        let size = String::from_utf8_lossy(&request.body()).parse().unwrap_or(request.body().len());
        responder.reply(pattern(size, 9));
    });
    let client = backend.client(&small).unwrap();
    for size in [4_999, 5_000, 5_001] {
        let reply = client.call(size.to_string());
        match reply {
            Ok(reply) => assert!(size <= 5_000 && reply == pattern(size, 9)),
            Err(Error::Answered { reply, .. }) => {
                assert_eq!(reply.code, ErrorReply::REPLY_TOO_LARGE, "{reply}");
                assert_eq!(size, 5_001);
            }
            Err(error) => panic!("{error}"),
        }
        let request = client.call(vec![b'x'; size]);
        match request {
            Ok(reply) => assert!(size <= 5_000 && reply.len() == size),
            Err(Error::TooLarge { size: refused, limit: 5_000, message, .. }) => {
                assert_eq!((size, refused, message.len()), (5_001, 5_001, 5_001));
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn large_calls_in_flight_do_not_block_each_other<B: Backend>() {
    let backend = B::new();
    let _serving = Serving::echo(&backend, &limits());
    let client = backend.client(&limits()).unwrap();
    let requests: Vec<_> = (0..24).map(|seed| pattern(400_000, seed)).collect();
    let mut batch = client.batch();
    for request in &requests {
        batch.add(request);
    }
    for (request, call) in requests.iter().zip(batch.send().unwrap()) {
        assert!(call.wait().unwrap() == *request);
    }
}

/// All replies are given at once, and exceed the send queue of one connection.
fn many_large_deferred_replies_are_held_until_they_are_read<B: Backend>() {
    const CALLS: usize = 40;
    let backend = B::new();
    let mut held = Vec::new();
    let _serving =
        Serving::start(backend.serve_calls(&limits()).unwrap(), move |request, responder| {
            held.push((request, responder));
            if held.len() == CALLS {
                let all = std::mem::take(&mut held);
                thread::spawn(move || {
                    for (request, responder) in all {
                        let seed = request.body()[0];
                        responder.reply(pattern(200_000, seed));
                    }
                });
            }
        });
    let client = backend.client(&limits()).unwrap();
    let calls: Vec<_> = (0..CALLS as u8).map(|seed| client.start(vec![seed]).unwrap()).collect();
    for (seed, call) in calls.into_iter().enumerate() {
        assert!(call.wait().unwrap() == pattern(200_000, seed as u8));
    }
}

/// The error reply for a reply that is too large has to fit too.
fn a_client_with_a_tiny_limit_is_answered_or_closed<B: Backend>() {
    let backend = B::new();
    let _serving = Serving::start(backend.serve_calls(&limits()).unwrap(), |_, responder| {
        responder.reply(pattern(1000, 0));
    });
    for room in [0, 8, 9, 100, 999] {
        let mut small = limits();
        small.message = room;
        let client = backend.client(&small).unwrap();
        match client.call("").unwrap_err() {
            Error::Answered { reply, .. } => {
                assert_eq!(reply.code, ErrorReply::REPLY_TOO_LARGE);
                assert!(reply.text.contains(&room.to_string()), "{room}: {reply}");
            }
            error => panic!("{room}: {error}"),
        }
    }
}

/// Their replies have to be read for that, even if no thread waits for one.
fn late_replies_of_abandoned_calls_free_their_slots<B: Backend>() {
    let backend = B::new();
    let _serving = Serving::echo(&backend, &limits());
    for places in [1, 2, 100] {
        let mut limits = limits();
        limits.in_flight = places;
        let client = backend.client(&limits).unwrap();
        let started = Instant::now();
        for _ in 0..3 {
            (0..places).for_each(|_| drop(client.start("nobody waits for this")));
            let _ = client.with_timeout(Duration::ZERO).call("nor for this");
            // Once the late replies have arrived, there is a free place.
            while let Err(error) = client.call("but for this") {
                assert!(matches!(error, Error::TooManyCalls { .. }), "{error}");
                assert!(started.elapsed() < PATIENCE, "no place was given back");
                thread::yield_now();
            }
        }
    }
}

/// More replies than fit into the queue, given at once, to a client that only reads.
fn replies_of_the_largest_size_given_at_once_arrive<B: Backend>() {
    const REPLIES: usize = 6;
    let backend = B::new();
    let size = Limits::default().message;
    let reply = Bytes::from(pattern(size, 3));
    let mut waiting = Vec::new();
    let answer = reply.clone();
    let server = backend.serve_calls(&Limits::default()).unwrap();
    let _serving = Serving::start(server, move |_, responder| {
        waiting.push(responder);
        if waiting.len() == REPLIES {
            waiting.drain(..).for_each(|responder| responder.reply(answer.clone()));
        }
    });
    let client = backend.client(&Limits::default()).unwrap();
    thread::scope(|scope| {
        for _ in 0..REPLIES {
            scope.spawn(|| assert!(client.call("").unwrap() == reply));
        }
    });
}

/// A reply without memory becomes an error reply, and the others arrive.
fn the_memory_for_replies_has_a_limit<B: Backend>() {
    const REPLIES: usize = 20;
    let backend = B::new();
    let mut server_limits = limits();
    (server_limits.message, server_limits.memory) = (1 << 20, 8 << 20);
    let server = backend.serve_calls(&server_limits).unwrap();
    let mut waiting = Vec::new();
    let _serving = Serving::start(server, move |_, responder| {
        waiting.push(responder);
        if waiting.len() == REPLIES {
            waiting.drain(..).for_each(|responder| responder.reply(vec![7; 1 << 20]));
        }
    });
    let client = backend.client(&limits()).unwrap();
    let calls: Vec<_> = (0..REPLIES).map(|_| client.start("").unwrap()).collect();
    let (mut arrived, mut dropped) = (0, 0);
    for call in calls {
        match call.wait() {
            Ok(reply) => arrived += usize::from(reply.len() == 1 << 20),
            Err(Error::Answered { reply, .. }) => {
                assert_eq!(reply.code, ErrorReply::REPLY_DROPPED, "{reply}");
                dropped += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    // Eight fit, and those in the system's buffer.
    assert_eq!(arrived + dropped, REPLIES);
    assert!((8..=10).contains(&arrived), "{arrived} arrived");
    // The server works as before.
    let calls: Vec<_> = (0..REPLIES).map(|_| client.start("").unwrap()).collect();
    assert!(calls.into_iter().map(|call| call.wait()).filter(Result::is_ok).count() >= 8);
}
