//! The promises of every `MessageServer` of this crate about connections: how they begin and end, how many
//! there are, and that none delays the others. As `conformance`, run on every transport.

use crate::common::{Backend, PATIENCE, closed, connected, message, next, on_wine, pattern};
use msgpipe::framing::FramingError;
use msgpipe::{CloseReason, Error, Event, Fault, Goodbye, Limits, MessageServer, Refusal};
use std::collections::HashMap;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

crate::on_every_transport!(
    messages_queued_before_a_close_arrive,
    nothing_is_sent_to_a_closed_connection,
);
crate::on_named_transports!(
    each_connection_opens_once_and_closes_once,
    a_client_that_wrote_and_closed_is_still_read,
    the_peer_is_known_while_it_is_connected,
    an_aborted_connection_ends_at_once,
    a_client_that_never_reads_is_closed_and_no_other,
    the_limit_of_connections_is_exact,
    without_a_server_connecting_fails_at_once,
    a_name_is_free_again_after_its_server,
    a_connection_closed_by_the_application_returns_no_more_messages,
    a_name_has_one_server,
    a_client_that_floods_delays_no_others,
);
fn each_connection_opens_once_and_closes_once<B: Backend>() {
    const CLIENTS: usize = 40;
    let backend = B::new();
    let limits = Limits::default();
    let mut server = backend.listen(&limits).unwrap();
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| backend.message_client(&limits).unwrap().send("hello").unwrap());
        }
        let mut seen = HashMap::new();
        let mut gone = 0;
        while gone < CLIENTS {
            match next(&mut server) {
                Event::Connected(id) => assert_eq!(seen.insert(id, 0), None, "came twice"),
                Event::Message(id, _) => *seen.get_mut(&id).expect("spoke before it came") += 1,
                Event::Closed(id, reason) => {
                    assert!(matches!(reason, CloseReason::PeerClosed), "{reason}");
                    assert_eq!(seen.insert(id, usize::MAX), Some(1), "went before it was heard");
                    gone += 1;
                }
                event => panic!("{event:?}"),
            }
        }
        assert_eq!(seen.len(), CLIENTS);
    });
}

fn messages_queued_before_a_close_arrive<B: Backend>() {
    let backend = B::new();
    let limits = Limits::default();
    let mut server = backend.listen(&limits).unwrap();
    let client = backend.message_client(&limits).unwrap();
    let id = connected(&mut server);
    // More than the buffer of a socket or a pipe, so that closing has to wait for the client.
    let last = pattern(300_000, 1);
    server.send(id, "first".into()).unwrap();
    server.send(id, last.clone().into()).unwrap();
    server.close(id, Goodbye::new(200, "that is all"));
    assert!(matches!(server.send(id, "late".into()).unwrap_err().refusal, Refusal::Closed));
    let reading = thread::spawn(move || {
        assert_eq!(client.receive(Some(PATIENCE)).unwrap(), "first");
        assert!(client.receive(Some(PATIENCE)).unwrap() == last);
        match client.receive(Some(PATIENCE)).unwrap_err() {
            Error::Closed {
                reason: CloseReason::Peer(FramingError::Goodbye { code, text }),
                ..
            } => {
                assert_eq!((code, text.as_str()), (200, "that is all"));
            }
            error => panic!("{error}"),
        }
    });
    assert!(matches!(closed(&mut server), (closed, CloseReason::Local) if closed == id));
    reading.join().unwrap();
}

fn a_client_that_wrote_and_closed_is_still_read<B: Backend>() {
    let backend = B::new();
    let limits = Limits::default();
    let mut server = backend.listen(&limits).unwrap();
    for _ in 0..3 {
        let client = backend.message_client(&limits).unwrap();
        client.send("last words").unwrap();
        drop(client);
    }
    let mut heard = 0;
    for _ in 0..9 {
        if let Event::Message(_, message) = next(&mut server) {
            assert_eq!(message, "last words");
            heard += 1;
        }
    }
    assert_eq!(heard, 3);
}

fn the_peer_is_known_while_it_is_connected<B: Backend>() {
    let backend = B::new();
    let mut server = backend.listen(&Limits::default()).unwrap();
    let client = backend.message_client(&Limits::default()).unwrap();
    let id = connected(&mut server);
    let peer = server.peer(id).expect("a peer").clone();
    assert_eq!(peer.pid, Some(std::process::id()));
    assert_eq!(client.server(), &peer, "both ends are this process");
    drop(client);
    closed(&mut server);
    // The peer is still known after the end of its connection.
    assert_eq!(server.peer(id), Some(&peer));
    assert!(server.poll(Some(Duration::ZERO)).unwrap().is_none());
    assert_eq!(server.peer(id), None);
}

/// Its queue is dropped, and other connections are not affected.
fn an_aborted_connection_ends_at_once<B: Backend>() {
    let backend = B::new();
    let mut server = backend.listen(&Limits::default()).unwrap();
    let (client, other) = (
        backend.message_client(&Limits::default()).unwrap(),
        backend.message_client(&Limits::default()).unwrap(),
    );
    let (id, other_id) = (connected(&mut server), connected(&mut server));
    server.send(id, pattern(4 << 20, 1).into()).unwrap();
    server.abort(id);
    let (ended, reason) = closed(&mut server);
    assert!(matches!(reason, CloseReason::Local) && ended == id, "{reason}");
    assert!(matches!(client.receive(Some(PATIENCE)), Err(Error::Closed { .. })));
    server.send(other_id, "still here".into()).unwrap();
    assert!(server.poll(Some(Duration::ZERO)).unwrap().is_none());
    assert_eq!(other.receive(Some(PATIENCE)).unwrap(), "still here");
}

fn a_client_that_never_reads_is_closed_and_no_other<B: Backend>() {
    let backend = B::new();
    let mut limits = Limits::default();
    limits.write_stall = Duration::from_millis(100);
    let mut server = backend.listen(&limits).unwrap();
    let _lazy = backend.message_client(&limits).unwrap();
    let lazy = connected(&mut server);
    // More than the buffer of any transport.
    for _ in 0..4 {
        server.send(lazy, pattern(1 << 19, 0).into()).ok();
    }
    let client = backend.message_client(&limits).unwrap();
    let (stop, stopped) = mpsc::channel();
    let working = thread::spawn(move || {
        let mut rounds = 0;
        while stopped.try_recv().is_err() || rounds < 10 {
            client.send("still there?").unwrap();
            assert_eq!(client.receive(Some(PATIENCE)).unwrap(), "still there?");
            rounds += 1;
        }
    });
    let mut open = 2;
    while open > 0 {
        match next(&mut server) {
            Event::Message(id, message) => server.send(id, message).unwrap(),
            Event::Closed(id, reason) if id == lazy => {
                assert!(matches!(reason, CloseReason::Unread { .. }), "{reason}");
                stop.send(()).unwrap();
                open -= 1;
            }
            Event::Closed(_, reason) => {
                assert!(matches!(reason, CloseReason::PeerClosed), "{reason}");
                open -= 1;
            }
            _ => {}
        }
    }
    working.join().unwrap();
}

/// A further client gets the goodbye BUSY, and is accepted when another has disconnected.
fn the_limit_of_connections_is_exact<B: Backend>() {
    let backend = B::new();
    let mut limits = Limits::default();
    limits.connections = 3;
    let mut server = backend.listen(&limits).unwrap();
    let mut clients: Vec<_> = (0..3)
        .map(|_| {
            let client = backend.message_client(&limits).unwrap();
            connected(&mut server);
            client
        })
        .collect();
    thread::scope(|scope| {
        let fourth = scope.spawn(|| {
            let client = backend.message_client(&limits).unwrap();
            client.receive(Some(PATIENCE)).unwrap_err()
        });
        while !fourth.is_finished() {
            let event = server.poll(Some(Duration::from_millis(5))).unwrap();
            assert!(event.is_none(), "{event:?}");
        }
        let error = fourth.join().unwrap();
        assert!(matches!(error, Error::Busy { .. }), "{error}");
        assert_eq!(error.fault(), Fault::Limit, "{error}");
    });
    clients.pop();
    closed(&mut server);
    let again = backend.message_client(&limits).unwrap();
    connected(&mut server);
    again.send("my turn").unwrap();
    assert_eq!(message(&mut server).1, "my turn");
}

fn without_a_server_connecting_fails_at_once<B: Backend>() {
    let backend = B::new();
    let mut limits = Limits::default();
    limits.connect = Duration::from_secs(3600);
    let Err(error) = backend.message_client(&limits) else { panic!("connected to nobody") };
    assert!(matches!(error, Error::NoServer { .. }), "{error}");
}

fn a_name_is_free_again_after_its_server<B: Backend>() {
    let backend = B::new();
    let limits = Limits::default();
    for round in 0..5 {
        let mut server = backend.listen(&limits).unwrap();
        let client = backend.message_client(&limits).unwrap();
        let id = connected(&mut server);
        server.send(id, format!("round {round}").into()).unwrap();
        assert!(server.poll(Some(Duration::ZERO)).unwrap().is_none());
        drop(server);
        // Sent messages arrive, even after the server's end.
        assert_eq!(client.receive(Some(PATIENCE)).unwrap(), format!("round {round}"));
        let Err(Error::Closed { .. }) = client.receive(Some(PATIENCE)) else {
            panic!("still open")
        };
    }
}

fn nothing_is_sent_to_a_closed_connection<B: Backend>() {
    let backend = B::new();
    let mut server = backend.listen(&Limits::default()).unwrap();
    drop(backend.message_client(&Limits::default()).unwrap());
    let (id, _) = closed(&mut server);
    let error = server.send(id, "hello?".into()).unwrap_err();
    assert!(matches!(error.refusal, Refusal::Closed));
    assert_eq!(error.body, "hello?");
    server.close(id, Goodbye::new(0, ""));
    assert!(server.poll(Some(Duration::ZERO)).unwrap().is_none());
}

/// Its events may have been queued already.
fn a_connection_closed_by_the_application_returns_no_more_messages<B: Backend>() {
    const CLIENTS: usize = 8;
    let backend = B::new();
    let limits = Limits::default();
    let mut server = backend.listen(&limits).unwrap();
    let (mut clients, mut ids) = (Vec::new(), Vec::new());
    for _ in 0..CLIENTS {
        clients.push(backend.message_client(&limits).unwrap());
        ids.push(connected(&mut server));
    }
    for client in &clients {
        (0..10).for_each(|_| client.send("one of many").unwrap());
    }
    // The first message closes all other connections.
    let (kept, _) = message(&mut server);
    for &id in ids.iter().filter(|&&id| id != kept) {
        server.close(id, Goodbye::new(0, ""));
    }
    let (mut heard, mut closed) = (1, 0);
    while heard < 10 || closed < CLIENTS - 1 {
        match next(&mut server) {
            Event::Message(id, _) => {
                assert_eq!(id, kept, "a closed connection spoke");
                heard += 1;
            }
            Event::Closed(id, reason) => {
                assert!(id != kept && matches!(reason, CloseReason::Local), "{reason}");
                closed += 1;
            }
            event => panic!("{event:?}"),
        }
    }
    drop(clients);
}

fn a_name_has_one_server<B: Backend>() {
    let backend = B::new();
    let mut server = backend.listen(&Limits::default()).unwrap();
    match backend.listen(&Limits::default()) {
        Err(Error::AlreadyServed { .. }) => {}
        Err(error) => panic!("{error}"),
        // Wine accepts a second first instance; another test checks that the flag is set.
        Ok(_) => {
            assert!(B::MAY_BE_SHARED && on_wine(), "two servers at one name");
            return println!("skipped: that the system refuses a second first instance");
        }
    }
    let client = backend.message_client(&Limits::default()).unwrap();
    client.send("still served").unwrap();
    connected(&mut server);
    assert_eq!(message(&mut server).1, "still served");
}

/// One client always sends more, and another sends a request now and then: the number
/// of messages of the first that are read before one of the second has a limit.
fn a_client_that_floods_delays_no_others<B: Backend>() {
    let backend = B::new();
    let limits = Limits::default();
    let mut server = backend.listen(&limits).unwrap();
    let flood = backend.message_client(&limits).unwrap();
    let flooding_id = connected(&mut server);
    let flooding = thread::spawn(move || {
        let message = bytes::Bytes::from(pattern(1 << 20, 0));
        while flood.send(message.clone()).is_ok() {}
    });
    // The flood has arrived before the other client sends.
    message(&mut server);
    let client = backend.message_client(&limits).unwrap();
    let asking = thread::spawn(move || {
        for _ in 0..20 {
            client.send("me too").unwrap();
            assert_eq!(client.receive(Some(PATIENCE)).unwrap(), "me too");
        }
    });
    loop {
        match next(&mut server) {
            Event::Message(id, message) if id != flooding_id => server.send(id, message).unwrap(),
            Event::Message(..) | Event::Connected(_) => {}
            Event::Closed(..) => break,
            event => panic!("{event:?}"),
        }
    }
    asking.join().unwrap();
    server.close(flooding_id, Goodbye::new(0, "enough"));
    while !flooding.is_finished() {
        server.poll(Some(Duration::from_millis(10))).unwrap();
    }
    flooding.join().unwrap();
}
