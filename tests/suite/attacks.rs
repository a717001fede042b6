//! What programs that mean no good did to a server, on every transport.

use crate::common::serving::{Serving, limits};
use crate::common::{Backend, PATIENCE};
use msgpipe::{
    CloseReason, Connection, Error, Goodbye, Interrupt, Responder, Topic, WhenFull, framing,
};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;

crate::on_every_transport!(
    a_cancel_is_noticed_although_the_requests_use_the_memory,
    a_publisher_that_waits_is_told_of_a_stop,
    a_chain_of_calls_ends_with_its_connection,
    more_calls_than_every_server_takes_are_sent_at_once,
);
crate::on_named_transports!(
    the_end_of_a_client_is_noticed_although_its_requests_use_the_memory,
    a_loop_does_not_wait_for_a_publisher_that_waits,
    a_goodbye_of_the_application_does_not_claim_that_nothing_was_begun,
    the_hook_is_told_of_connections_that_end_with_the_server,
    a_state_that_panics_ends_nothing,
);

/// A server with little memory that keeps its responders and says what their handlers are told.
fn keeping<B: Backend>(
    backend: &B,
) -> (Serving, mpsc::Receiver<Responder>, mpsc::Receiver<Interrupt>) {
    let mut small = limits();
    (small.message, small.memory) = (64 * 1024, 256 * 1024);
    let (give, given) = mpsc::channel();
    let (tell, told) = mpsc::channel();
    let server = backend.serve_calls(&small).unwrap();
    let serving = Serving::start(server, move |_, responder| {
        let tell = tell.clone();
        responder.on_interrupt(move |why| {
            let _ = tell.send(why);
        });
        give.send(responder).unwrap();
    });
    (serving, given, told)
}

/// Calls until the memory of the server is used: some are refused then.
fn fill(client: &msgpipe::Client) -> Vec<msgpipe::Call> {
    (0..500).map(|_| client.start(vec![7; 1000]).unwrap()).collect()
}

fn the_end_of_a_client_is_noticed_although_its_requests_use_the_memory<B: Backend>() {
    let backend = B::new();
    let (_serving, given, told) = keeping(&backend);
    let client = backend.client(&limits()).unwrap();
    let calls = fill(&client);
    let _first = given.recv_timeout(PATIENCE).unwrap();
    client.close();
    drop(calls);
    assert_eq!(told.recv_timeout(PATIENCE), Ok(Interrupt::Closed));
    // Their memory is free again.
    let other = backend.client(&limits()).unwrap();
    let _call = other.start("another").unwrap();
    while let Ok(responder) = given.recv_timeout(PATIENCE) {
        if !responder.is_cancelled() {
            return;
        }
    }
    panic!("no request of another client came");
}

fn a_cancel_is_noticed_although_the_requests_use_the_memory<B: Backend>() {
    let backend = B::new();
    let (_serving, given, told) = keeping(&backend);
    let client = backend.client(&limits()).unwrap();
    let mut calls = fill(&client);
    let _first = given.recv_timeout(PATIENCE).unwrap();
    // Its socket may be full: a thread that waits sends the cancel then.
    let mut waits = calls.remove(1);
    let waiting = thread::spawn(move || drop(waits.wait_within(PATIENCE)));
    drop(calls.remove(0));
    assert_eq!(told.recv_timeout(PATIENCE), Ok(Interrupt::Cancelled));
    client.close();
    waiting.join().unwrap();
}

/// A subscriber takes nothing, and a thread waits for it.
fn a_loop_does_not_wait_for_a_publisher_that_waits<B: Backend>() {
    let backend = B::new();
    let topic = Topic::new(WhenFull::Wait);
    let publisher = topic.clone();
    let server = backend.serve_calls(&limits()).unwrap();
    let (tell, told) = mpsc::channel();
    let _serving = Serving::start(server, move |request, responder| match &request.body()[..] {
        b"subscribe" => topic.subscribe(responder),
        b"publish" => {
            let published = topic.publish(vec![7; 60_000]);
            responder.reply((published.dropped > 0).to_string());
        }
        _ => responder.reply("hello"),
    });
    let client = backend.client(&limits()).unwrap();
    let mut parts = client.stream("subscribe").unwrap();
    client.call("hello").unwrap();
    let waits = thread::spawn(move || {
        while publisher.publish(vec![7; 60_000]).queued == 1 {
            tell.send(()).unwrap();
        }
    });
    assert!(told.recv_timeout(PATIENCE).is_ok());
    let other = backend.client(&limits()).unwrap();
    // Once the publisher waits the loop drops what it publishes.
    while other.call("publish").unwrap() != "true" {}
    assert_eq!(other.call("hello").unwrap(), "hello");
    assert!(parts.next_within(PATIENCE).unwrap().is_some());
    drop(parts);
    client.call("hello").unwrap();
    waits.join().unwrap();
}

/// The server has a long time to drain.
fn a_publisher_that_waits_is_told_of_a_stop<B: Backend>() {
    let backend = B::new();
    let topic = Topic::new(WhenFull::Wait);
    let publisher = topic.clone();
    let server = backend.serve_calls(&limits()).unwrap();
    let serving = Serving::start(server, move |request, responder| match &request.body()[..] {
        b"subscribe" => topic.subscribe(responder),
        _ => responder.reply("hello"),
    });
    let client = backend.client(&limits()).unwrap();
    let parts = client.stream("subscribe").unwrap();
    client.call("hello").unwrap();
    let waits = thread::spawn(move || while publisher.publish(vec![7; 60_000]).queued == 1 {});
    let stops = thread::spawn(move || drop(serving));
    waits.join().unwrap();
    drop((parts, client));
    stops.join().unwrap();
}

fn a_goodbye_of_the_application_does_not_claim_that_nothing_was_begun<B: Backend>() {
    let backend = B::new();
    let server = backend.serve_calls(&limits()).unwrap();
    let _serving = Serving::start(server, |request, responder| {
        let code = request.body().first().copied().unwrap_or_default();
        request.connection().close(Goodbye::new(code.into(), "enough"));
        std::mem::forget(responder);
    });
    for (code, sent) in [(99, 0), (100, 100), (101, 101), (8, 0), (7, 0), (2, 0), (0, 0)] {
        let client = backend.client(&limits()).unwrap();
        let ended = client.call([code]).unwrap_err();
        assert!(!ended.is_not_begun(), "{code}: {ended}");
        match ended {
            Error::Closed { reason: CloseReason::Peer(error), .. } => match error {
                framing::FramingError::Goodbye { code, .. } => assert_eq!(code, sent),
                other => panic!("{other}"),
            },
            other => panic!("{other}"),
        }
    }
}

/// Each reply begins the next call.
fn a_chain_of_calls_ends_with_its_connection<B: Backend>() {
    fn next(client: Connection, ended: mpsc::Sender<bool>) {
        match client.start("again") {
            Ok(call) => call.then(move |_| next(client, ended)),
            Err(error) => ended.send(error.is_not_begun()).unwrap(),
        }
    }
    let backend = B::new();
    for is_client in [true, false] {
        let (tell, told) = mpsc::channel();
        let server = backend.serve_calls(&limits()).unwrap();
        let serving = Serving::start(server, move |request, responder| {
            next(request.connection(), tell.clone());
            responder.reply("");
        });
        let client = backend.client(&limits()).unwrap();
        client.call("").unwrap();
        match is_client {
            true => client.close(),
            false => drop(serving),
        }
        assert_eq!(told.recv_timeout(PATIENCE), Ok(true));
    }
}

fn the_hook_is_told_of_connections_that_end_with_the_server<B: Backend>() {
    let backend = B::new();
    let mut short = limits();
    short.drain = std::time::Duration::from_millis(20);
    let (tell, told) = mpsc::channel();
    let server = backend.serve_calls(&short).unwrap();
    let server = server.on_closed(move |client, _| tell.send(client.id().number()).unwrap());
    let (give, given) = mpsc::channel();
    let serving = Serving::start(server, move |_, responder| give.send(responder).unwrap());
    let clients = [(); 2].map(|()| backend.client(&limits()).unwrap());
    let calls = clients.each_ref().map(|client| client.start("held").unwrap());
    let held = [(); 2].map(|()| given.recv_timeout(PATIENCE).unwrap());
    let mut ids = held.each_ref().map(|it| it.connection().id().number());
    drop(serving);
    let mut closed = [(); 2].map(|()| told.recv_timeout(PATIENCE).unwrap());
    ids.sort_unstable();
    closed.sort_unstable();
    assert_eq!(closed, ids);
    drop((calls, held));
}

/// Nobody waits for them.
fn more_calls_than_every_server_takes_are_sent_at_once<B: Backend>() {
    const COUNT: usize = 200;
    let backend = B::new();
    let (give, given) = mpsc::channel();
    let server = backend.serve_calls(&limits()).unwrap();
    let _serving = Serving::start(server, move |_, responder| give.send(responder).unwrap());
    let client = backend.client(&limits()).unwrap();
    (0..COUNT).for_each(|_| client.start("carry it out").unwrap().detach());
    let held: Vec<_> = (0..COUNT).map(|_| given.recv_timeout(PATIENCE).unwrap()).collect();
    assert_eq!(held.len(), COUNT);
}

fn a_state_that_panics_ends_nothing<B: Backend>() {
    struct Panics(Arc<Barrier>);
    impl Drop for Panics {
        fn drop(&mut self) {
            self.0.wait();
            std::panic::resume_unwind(Box::new("the drop of a state"));
        }
    }
    let backend = B::new();
    let dropped = Arc::new(Barrier::new(2));
    let in_server = dropped.clone();
    let server = backend.serve_calls(&limits()).unwrap();
    let _serving = Serving::start(server, move |request, responder| {
        let panics = Panics(in_server.clone());
        // Only of the first request.
        if request.body() == "first" {
            let _ = request.connection().set_state(panics);
        } else {
            std::mem::forget(panics);
        }
        responder.reply("");
    });
    let client = backend.client(&limits()).unwrap();
    client.call("first").unwrap();
    client.close();
    drop(client);
    dropped.wait();
    let other = backend.client(&limits()).unwrap();
    other.call("goes on").unwrap();
}
