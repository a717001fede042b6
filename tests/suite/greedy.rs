//! Greedy clients: they take as much as possible of the handler's time and the server's memory.

use crate::common::raw::{calls_begin, request};
use crate::common::{Backend, PATIENCE, Raw, pattern};
use bytes::Bytes;
use msgpipe::{Error, Limits, Responder, Server};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

crate::on_every_transport!(requests_in_flight_stay_within_the_memory_limit,);
crate::on_named_transports!(
    a_flood_of_requests_does_not_delay_another_clients_one,
    requests_of_a_disconnected_client_are_not_begun,
    unread_replies_stay_within_the_memory_limit,
);

/// More requests than one read returns.
const FLOOD: u32 = 5000;

/// The time of a handler: longer than one client's turn.
const WORK: Duration = Duration::from_millis(1);

fn work() {
    let until = Instant::now() + WORK;
    while Instant::now() < until {
        std::hint::spin_loop();
    }
}

/// A preface and `count` requests with a body of one byte, in one piece.
fn flood(requests: u32) -> Bytes {
    let mut words = calls_begin();
    (0..requests).for_each(|id| words.extend(request(id, b"f")));
    words.into()
}

/// Sends a flood from a separate thread, as far as the server reads.
fn flooding(mut raw: Raw, requests: u32) -> thread::JoinHandle<Raw> {
    thread::spawn(move || {
        raw.write(&flood(requests));
        raw
    })
}

/// The other client sends a request while the first one of the flood is being handled.
fn a_flood_of_requests_does_not_delay_another_clients_one<B: Backend>() {
    let backend = B::new();
    let server = backend.serve_calls(&Limits::default()).unwrap();
    let stopper = server.stopper();
    let (raw, client) = (backend.raw(), backend.client(&Limits::default()).unwrap());
    let flooding = flooding(raw, FLOOD);
    let (mut handled, mut asked, mut before) = (0, None, None);
    server
        .serve(|request| {
            work();
            if request.body() == "mine" {
                before = Some(handled);
                stopper.stop();
            } else {
                handled += 1;
                // Both are clients of this server, in any order.
                if handled == 10 {
                    asked = Some(client.start("mine").unwrap());
                    handled = 0;
                }
            }
            ""
        })
        .unwrap();
    // A turn of one request each; and a pipe reports arrived bytes with a delay.
    let before = before.expect("it was never asked");
    assert!(before <= 4, "{before} requests of the flood went before it");
    drop(flooding.join().unwrap());
}

fn requests_of_a_disconnected_client_are_not_begun<B: Backend>() {
    let backend = B::new();
    let server = backend.serve_calls(&Limits::default()).unwrap();
    let stopper = server.stopper();
    let (raw, client) = (backend.raw(), backend.client(&Limits::default()).unwrap());
    // As many as fit into the system's buffer: the client does not read the replies.
    let mut raw = Some(flooding(raw, 1000));
    // Another client's requests are handled in turn with them.
    const OTHERS: usize = 50;
    let (mut begun, mut others, mut calls) = (0, 0, Vec::new());
    server
        .serve(|request| {
            work();
            if request.body() == "other" {
                others += 1;
                if others == OTHERS {
                    stopper.stop();
                }
            } else {
                begun += 1;
                if let Some(flooding) = raw.take() {
                    drop(flooding.join().unwrap());
                    calls.extend((0..OTHERS).map(|_| client.start("other").unwrap()));
                }
            }
            ""
        })
        .unwrap();
    assert!(begun <= 10, "{begun} requests were begun, all but the first for nobody");
}

/// A server with small limits and deferred replies.
fn limits() -> Limits {
    let mut limits = Limits::default();
    (limits.message, limits.memory) = (1 << 20, 8 << 20);
    limits.call = PATIENCE;
    limits
}

fn requests_in_flight_stay_within_the_memory_limit<B: Backend>() {
    const CALLS: usize = 14;
    let backend = B::new();
    let server = backend.serve_calls(&limits()).unwrap();
    let stopper = server.stopper();
    let (arrived, requests) = mpsc::channel::<(usize, Responder)>();
    let serving = thread::spawn(move || {
        server.serve_deferred(|request, responder| {
            arrived.send((request.body().len(), responder)).unwrap();
        })
    });
    let client = backend.client(&limits()).unwrap();
    thread::scope(|scope| {
        // The server stops reading when the memory is used up.
        let sending = scope.spawn(|| {
            let body = Bytes::from(pattern(1 << 20, 1));
            let calls: Vec<_> = (0..CALLS).map(|_| client.start(body.clone()).unwrap()).collect();
            calls.into_iter().map(|call| call.wait().unwrap()).collect::<Vec<_>>()
        });
        let (mut open, mut most, mut answered) = (Vec::new(), 0, 0);
        while answered < CALLS {
            if open.is_empty() {
                open.push(requests.recv_timeout(PATIENCE).unwrap());
            }
            // No request arrives for a while: the memory is used by those in flight.
            while let Ok(request) = requests.recv_timeout(Duration::from_millis(200)) {
                open.push(request);
            }
            most = most.max(open.iter().map(|(size, _)| size).sum());
            let (_, responder) = open.pop().unwrap();
            responder.reply("done");
            answered += 1;
            if open.len() + answered == CALLS {
                open.drain(..).for_each(|(_, responder)| responder.reply("done"));
                break;
            }
        }
        assert!(most <= 8 << 20, "{most} bytes of requests were open");
        assert!(sending.join().unwrap().iter().all(|reply| reply == "done"));
    });
    stopper.stop();
    serving.join().unwrap().unwrap();
}

/// Twenty clients request a large reply and do not read it. Another client sends a request too.
fn unread_replies_stay_within_the_memory_limit<B: Backend>() {
    let backend = B::new();
    let server: Server<B::Messages> = backend.serve_calls(&limits()).unwrap();
    let stopper = server.stopper();
    let (begins, begun) = mpsc::channel();
    let serving = thread::spawn(move || {
        server.serve(|request| {
            begins.send(()).unwrap();
            pattern(if request.body() == "f" { 1 << 20 } else { 10 }, 3)
        })
    });
    let deaf: Vec<_> = (0..20)
        .map(|_| {
            let mut raw = backend.raw();
            assert!(raw.write(&flood(1)));
            raw
        })
        .collect();
    let client = backend.client(&limits()).unwrap();
    // Clients that do not read for a second are closed, one after the other.
    match client.call("a small question") {
        Ok(reply) => assert_eq!(reply.len(), 10),
        Err(error @ Error::Closed { .. }) => panic!("who reads was closed: {error}"),
        Err(error) => panic!("{error}"),
    }
    assert!(begun.try_iter().count() > 1);
    drop(deaf);
    stopper.stop();
    serving.join().unwrap().unwrap();
}
