//! Calls of the server to its clients, on every transport.

use crate::common::serving::{Serving, limits};
use crate::common::{Backend, PATIENCE};
use msgpipe::{Client, CloseReason, Connection, Error, ErrorReply, Progress};
use std::sync::mpsc;
use std::time::Duration;

crate::on_every_transport!(
    a_client_that_takes_no_calls_says_so,
    the_calls_to_a_client_have_a_limit,
    a_body_over_the_limit_of_the_client_comes_back,
    a_handler_in_the_loop_cannot_wait_and_need_not,
    who_asks_twice_for_an_outcome_is_told_so,
);
crate::on_named_transports!(
    a_call_ends_with_its_connection,
    a_call_has_a_deadline,
    the_bytes_of_calls_to_a_client_have_a_limit,
    calls_that_a_client_leaves_unread_do_not_close_it,
);

fn connected<B: Backend>(
    backend: &B,
    clients: &mpsc::Receiver<Connection>,
) -> (Client, Connection) {
    let client = backend.client(&limits()).unwrap();
    (client, clients.recv_timeout(PATIENCE).unwrap())
}

fn a_client_that_takes_no_calls_says_so<B: Backend>() {
    let backend = B::new();
    let (_serving, clients) = Serving::passing_clients(&backend, &limits());
    let (client, connection) = connected(&backend, &clients);
    let call = connection.start("hello").unwrap();
    // A client without a thread reads when it calls.
    assert_eq!(client.call("a call of its own").unwrap(), "a call of its own");
    client.call("and the refusal is read").unwrap();
    match call.wait() {
        Err(Error::Answered { reply, .. }) => assert_eq!(reply.code, ErrorReply::FAILED),
        other => panic!("{other:?}"),
    }
}

fn a_call_ends_with_its_connection<B: Backend>() {
    let backend = B::new();
    let (serving, clients) = Serving::passing_clients(&backend, &limits());
    for is_client in [true, false] {
        let (client, connection) = connected(&backend, &clients);
        client.call("its settings have arrived").unwrap();
        let call = connection.start("hello").unwrap();
        let (tell, told) = mpsc::channel();
        connection.start("hello").unwrap().then(move |it| tell.send(it).unwrap());
        match is_client {
            true => client.close(),
            false => connection.close(msgpipe::Goodbye::new(200, "enough")),
        }
        for ended in [call.wait(), told.recv_timeout(PATIENCE).unwrap()] {
            match ended {
                Err(Error::Closed { reason, .. }) => is_reason(is_client, &reason),
                other => panic!("{other:?}"),
            }
        }
        is_reason(is_client, &connection.close_reason().unwrap());
        match connection.call("hello") {
            Err(Error::Closed { progress: Progress::NotBegun, reason, .. }) => {
                is_reason(is_client, &reason);
            }
            other => panic!("{other:?}"),
        }
    }
    let (client, connection) = connected(&backend, &clients);
    client.call("its settings have arrived").unwrap();
    assert!(connection.close_reason().is_none());
    drop(serving);
    match connection.call("hello") {
        Err(Error::Closed { reason, .. }) => assert!(matches!(reason, CloseReason::Local)),
        other => panic!("{other:?}"),
    }
}

/// Whether the client has closed the connection, or the server.
fn is_reason(is_client: bool, reason: &CloseReason) {
    match reason {
        CloseReason::PeerClosed => assert!(is_client),
        CloseReason::Local => assert!(!is_client),
        other => panic!("{other}"),
    }
}

/// Also one from before the client's settings.
fn a_call_has_a_deadline<B: Backend>() {
    let backend = B::new();
    let (_serving, clients) = Serving::passing_clients(&backend, &limits());
    let mut silent = backend.raw();
    silent.write(&crate::common::raw::calls_begin());
    for connection in [connected(&backend, &clients).1, clients.recv_timeout(PATIENCE).unwrap()] {
        let short = connection.with_timeout(Duration::from_millis(20));
        let late = short.call("nobody reads it").unwrap_err();
        assert!(matches!(late, Error::Deadline { .. }), "{late}");
        let (tell, told) = mpsc::channel();
        short.start("nor this").unwrap().then(move |it| tell.send(it).unwrap());
        let late = told.recv_timeout(PATIENCE).unwrap().unwrap_err();
        assert!(matches!(late, Error::Deadline { .. }), "{late}");
        let mut long = connection.start("it goes on").unwrap();
        assert!(long.wait_within(Duration::from_millis(1)).is_none() && long.try_wait().is_none());
    }
}

fn the_calls_to_a_client_have_a_limit<B: Backend>() {
    const LIMIT: usize = 3;
    let backend = B::new();
    let (_serving, clients) = Serving::passing_clients(&backend, &limits().with_in_flight(LIMIT));
    let (client, connection) = connected(&backend, &clients);
    let mut calls = Vec::new();
    for _ in 0..LIMIT {
        calls.push(connection.start("nobody reads it").unwrap());
    }
    match connection.start("one more") {
        Err(Error::TooManyCalls { limit, request, .. }) => {
            assert_eq!((limit, &request[..]), (LIMIT, &b"one more"[..]));
        }
        other => panic!("{other:?}"),
    }
    client.call("reads").unwrap();
    client.call("and sends the refusals").unwrap();
    for call in calls {
        assert!(matches!(call.wait(), Err(Error::Answered { .. })));
    }
    drop(connection.start("again").unwrap());
    assert!(client.call("goes on").is_ok());
}

fn the_bytes_of_calls_to_a_client_have_a_limit<B: Backend>() {
    const LIMIT: usize = 256 << 10;
    const COST: usize = 64;
    let backend = B::new();
    let mut small = limits();
    (small.call_window, small.connection_window) = (LIMIT, LIMIT);
    let (_serving, clients) = Serving::passing_clients(&backend, &small);
    let first = 100_000;
    let rest = LIMIT - first - 2 * COST;
    for (size, fits) in [(rest - 1, true), (rest, true), (rest + 1, false)] {
        let (_client, connection) = connected(&backend, &clients);
        let _first = connection.start(vec![7; first]).unwrap();
        match connection.start(vec![7; size]) {
            Ok(_) => assert!(fits, "{size}"),
            Err(Error::Full { limit, message, .. }) => {
                assert!(!fits && limit == LIMIT && message.len() == size, "{size}");
            }
            Err(other) => panic!("{other}"),
        }
    }
    let (client, connection) = connected(&backend, &clients);
    let larger = connection.start(vec![7; 2 * LIMIT]).unwrap();
    assert!(matches!(connection.start(""), Err(Error::Full { .. })));
    while client.call("reads").is_ok() && connection.start("").is_err() {}
    assert!(matches!(larger.wait(), Err(Error::Answered { .. })), "it ends, and its place is free");
}

/// As replies do.
fn calls_that_a_client_leaves_unread_do_not_close_it<B: Backend>() {
    let backend = B::new();
    let mut impatient = limits();
    impatient.write_stall = Duration::from_millis(300);
    let (give, clients) = mpsc::channel();
    let (tell, closed) = mpsc::channel();
    let server = backend.serve_calls(&impatient).unwrap();
    let server = server.on_connected(move |client| give.send(client.clone()).unwrap());
    let server = server.on_closed(move |client, _| tell.send(client.id()).unwrap());
    let _serving = Serving::start(server, |request, responder| match &request.body()[..] {
        b"large" => responder.reply(vec![7; 1 << 20]),
        body => responder.reply(body.to_vec()),
    });
    let (client, connection) = connected(&backend, &clients);
    client.call("its settings have arrived").unwrap();
    let calls: Vec<_> = (0..40).map(|_| connection.start(vec![7; 100_000]).unwrap()).collect();
    // The time of this one begins after that of the first, and passes.
    let (other, unread) = connected(&backend, &clients);
    let replies: Vec<_> = (0..4).map(|_| other.start("large").unwrap()).collect();
    assert_eq!(closed.recv_timeout(PATIENCE), Ok(unread.id()));
    drop(replies);
    assert!(connection.is_open());
    client.call("reads").unwrap();
    client.call("and sends refusals").unwrap();
    drop(calls);
    assert_eq!(client.call("goes on").unwrap(), "goes on");
}

fn a_body_over_the_limit_of_the_client_comes_back<B: Backend>() {
    let backend = B::new();
    let (_serving, clients) = Serving::passing_clients(&backend, &limits());
    let mut small = limits();
    small.message = 1000;
    let client = backend.client(&small).unwrap();
    let connection = clients.recv_timeout(PATIENCE).unwrap();
    client.call("its settings have arrived").unwrap();
    for size in [999, 1000] {
        let call = connection.start(vec![7; size]).unwrap();
        client.call("reads").unwrap();
        client.call("and sends the refusal").unwrap();
        assert!(matches!(call.wait(), Err(Error::Answered { .. })));
    }
    match connection.call(vec![7; 1001]) {
        Err(Error::TooLarge { size, limit, message, .. }) => {
            assert_eq!((size, limit, &message[..]), (1001, 1000, &[7; 1001][..]));
        }
        other => panic!("{other:?}"),
    }
}

fn a_handler_in_the_loop_cannot_wait_and_need_not<B: Backend>() {
    let backend = B::new();
    let server = backend.serve_calls(&limits()).unwrap();
    let (tell, told) = mpsc::channel();
    let _serving = Serving::start(server, move |request, responder| {
        if request.body().is_empty() {
            return responder.reply("");
        }
        let misuse = request.connection().call("hello").unwrap_err();
        assert!(matches!(misuse, Error::Misuse { .. }), "{misuse}");
        let tell = tell.clone();
        request.connection().start("hello").unwrap().then(move |answer| {
            tell.send(answer.unwrap_err().to_string()).unwrap();
        });
        responder.reply("asked");
    });
    let client = backend.client(&limits()).unwrap();
    assert_eq!(client.call("ask").unwrap(), "asked");
    client.call("").unwrap();
    client.call("").unwrap();
    assert!(told.recv_timeout(PATIENCE).unwrap().contains("takes no calls"));
}

fn who_asks_twice_for_an_outcome_is_told_so<B: Backend>() {
    let backend = B::new();
    let (_serving, clients) = Serving::passing_clients(&backend, &limits());
    let (client, connection) = connected(&backend, &clients);
    let mut call = connection.start("hello").unwrap();
    client.call("reads").unwrap();
    client.call("and sends the refusal").unwrap();
    assert!(call.wait_within(PATIENCE).is_some_and(|it| it.is_err()));
    assert!(call.try_wait().is_none());
    assert!(matches!(call.wait(), Err(Error::Misuse { .. })));
}
