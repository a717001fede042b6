//! The promises of every `MessageServer` of this crate: one suite, run against the
//! transport of this operating system and the in-memory one.

use crate::common::raw::{frame, goodbye_in, preface};
use crate::common::{Backend, PATIENCE, closed, connected, message, next, pattern, welcomed};
use msgpipe::framing::{FramingError, GoodbyeCode, Layer};
use msgpipe::{CloseReason, Error, Event, Limits, MessageServer, Refusal};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

crate::on_every_transport!(
    messages_of_every_size_arrive_whole_and_in_order,
    a_client_that_does_not_read_is_limited_exactly,
    both_sides_may_send_without_reading_first,
);
crate::on_named_transports!(
    the_messages_of_many_clients_are_not_mixed,
    the_message_limit_is_exact,
    a_waker_wakes_from_another_thread_and_once,
    polling_with_a_zero_timeout_does_not_wait,
);

fn messages_of_every_size_arrive_whole_and_in_order<B: Backend>() {
    let backend = B::new();
    let limits = Limits::default();
    let mut server = backend.listen(&limits).unwrap();
    let sizes = [
        0,
        1,
        4079,
        4080,
        4087,
        4088,
        4089,
        4095,
        4096,
        4097,
        8191,
        8192,
        8193,
        65_535,
        65_536,
        65_537,
        1 << 20,
    ];
    let client = backend.message_client(&limits).unwrap();
    let echoed = thread::spawn(move || {
        for (seed, size) in sizes.into_iter().enumerate() {
            client.send(pattern(size, seed as u8)).unwrap();
        }
        for (seed, size) in sizes.into_iter().enumerate() {
            let message = client.receive(Some(PATIENCE)).unwrap();
            assert!(message == pattern(size, seed as u8), "{size} bytes came back changed");
        }
    });
    // All of them wait in the server before the first goes back.
    let id = connected(&mut server);
    let messages: Vec<_> = sizes.iter().map(|_| message(&mut server)).collect();
    for (size, (from, message)) in sizes.into_iter().zip(messages) {
        assert_eq!((from, message.len()), (id, size));
        let mut unsent = Some(message);
        while let Some(message) = unsent.take() {
            if let Err(error) = server.send(id, message) {
                assert!(matches!(error.refusal, Refusal::Full { .. }), "{error}");
                unsent = Some(error.body);
                assert!(matches!(next(&mut server), Event::Writable(drained) if drained == id));
            }
        }
    }
    assert!(matches!(closed(&mut server), (_, CloseReason::PeerClosed)));
    echoed.join().unwrap();
}

fn the_messages_of_many_clients_are_not_mixed<B: Backend>() {
    const CLIENTS: usize = 30;
    const ROUNDS: usize = 20;
    let backend = B::new();
    let limits = Limits::default();
    let mut server = backend.listen(&limits).unwrap();
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (backend, limits) = (&backend, &limits);
            scope.spawn(move || {
                let client = backend.message_client(limits).unwrap();
                for round in 0..ROUNDS {
                    let message = format!("client {number} round {round}");
                    client.send(message.clone()).unwrap();
                    assert_eq!(client.receive(Some(PATIENCE)).unwrap(), message);
                }
            });
        }
        let mut gone = 0;
        while gone < CLIENTS {
            match next(&mut server) {
                Event::Message(id, message) => server.send(id, message).unwrap(),
                Event::Closed(..) => gone += 1,
                _ => {}
            }
        }
    });
}

fn the_message_limit_is_exact<B: Backend>() {
    let backend = B::new();
    let mut limits = Limits::default();
    limits.message = 10_000;
    let mut server = backend.listen(&limits).unwrap();
    let mut larger = limits.clone();
    larger.message = 20_000;
    for (size, fits) in [(9_999, true), (10_000, true), (10_001, false)] {
        // A client with the same limit refuses a message over it, and returns it.
        let client = backend.message_client(&limits).unwrap();
        let id = welcomed(&mut server);
        let sent = client.send(pattern(size, 0));
        match sent {
            Ok(()) => assert!(fits),
            Err(Error::TooLarge { size: refused, limit, message, .. }) => {
                assert!(!fits);
                assert_eq!((refused, limit, message.len()), (size, 10_000, size));
            }
            Err(error) => panic!("{error}"),
        }
        drop(client);
        if fits {
            assert_eq!(message(&mut server).1.len(), size);
        }
        assert!(matches!(closed(&mut server), (closed, CloseReason::PeerClosed) if closed == id));

        // So does a client with a larger limit: it knows the server's limit from the preface.
        let client = backend.message_client(&larger).unwrap();
        welcomed(&mut server);
        match client.send(pattern(size, 0)) {
            Ok(()) => assert!(fits),
            Err(Error::TooLarge { limit: 10_000, .. }) => assert!(!fits),
            Err(error) => panic!("{error}"),
        }
        drop(client);
        if fits {
            assert_eq!(message(&mut server).1.len(), size);
        }
        closed(&mut server);
        if fits {
            continue;
        }
        // A client that ignores the limit gets a goodbye and is closed.
        let mut raw = backend.raw();
        assert!(raw.write(&[preface(Layer::Messages), frame(&pattern(size, 0))].concat()));
        let reason = loop {
            match closed(&mut server).1 {
                CloseReason::PeerClosed => {}
                reason => break reason,
            }
        };
        assert!(matches!(
            reason,
            CloseReason::Peer(FramingError::TooLarge { size: 10_001, limit: 10_000 })
        ));
        let told = goodbye_in(&raw.read_to_end(), Layer::Messages);
        assert_eq!(told.map(|(code, _)| code), Some(GoodbyeCode::TOO_LARGE));
    }
}

fn a_waker_wakes_from_another_thread_and_once<B: Backend>() {
    let backend = B::new();
    let mut server = backend.listen(&Limits::default()).unwrap();
    let waker = server.waker();
    let (go, start) = mpsc::channel();
    let waking = thread::spawn(move || {
        start.recv().unwrap();
        (0..100).for_each(|_| waker.wake());
    });
    go.send(()).unwrap();
    assert!(matches!(next(&mut server), Event::Woken));
    waking.join().unwrap();
    // The rest of the hundred bytes takes at most one more message.
    let mut more = 0;
    while let Some(event) = server.poll(Some(Duration::ZERO)).unwrap() {
        assert!(matches!(event, Event::Woken));
        more += 1;
    }
    assert!(more <= 1, "{more} more");
    server.waker().wake();
    assert!(matches!(next(&mut server), Event::Woken), "it wakes again afterwards");
}

fn a_client_that_does_not_read_is_limited_exactly<B: Backend>() {
    let backend = B::new();
    let mut limits = Limits::default();
    limits.queued = 100_000;
    let mut server = backend.listen(&limits).unwrap();
    let client = backend.message_client(&limits).unwrap();
    let id = connected(&mut server);
    let mut sent = 0;
    let refused = loop {
        match server.send(id, pattern(5_000, 0).into()) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
        // Nothing is sent between two sends unless the server polls.
        assert!(sent <= 21, "{sent} messages of 5000 bytes are under a limit of 100000");
    };
    assert!(matches!(refused.refusal, Refusal::Full { limit: 100_000, .. }), "{refused}");
    assert_eq!(refused.body.len(), 5_000, "it was handed back");
    let reading = thread::spawn(move || {
        for _ in 0..sent + 1 {
            assert_eq!(client.receive(Some(PATIENCE)).unwrap().len(), 5_000);
        }
    });
    assert!(matches!(next(&mut server), Event::Writable(drained) if drained == id));
    server.send(id, refused.body).unwrap();
    assert!(matches!(closed(&mut server), (_, CloseReason::PeerClosed)));
    reading.join().unwrap();
}

/// Both sides send much more than the transport holds before either reads. A client reads
/// while it cannot write; otherwise they would wait for each other for ever.
fn both_sides_may_send_without_reading_first<B: Backend>() {
    const MESSAGES: usize = 200;
    let backend = B::new();
    let mut limits = Limits::default();
    limits.queued = 16 << 20;
    let mut server = backend.listen(&limits).unwrap();
    let client = backend.message_client(&limits).unwrap();
    let sending = thread::spawn(move || {
        for seed in 0..MESSAGES {
            client.send(pattern(20_000, seed as u8)).unwrap();
        }
        for seed in 0..MESSAGES {
            assert!(client.receive(Some(PATIENCE)).unwrap() == pattern(20_000, seed as u8));
        }
    });
    loop {
        match next(&mut server) {
            Event::Message(id, message) => server.send(id, message).unwrap(),
            Event::Closed(..) => break,
            _ => {}
        }
    }
    sending.join().unwrap();
}

fn polling_with_a_zero_timeout_does_not_wait<B: Backend>() {
    let backend = B::new();
    let mut server = backend.listen(&Limits::default()).unwrap();
    assert!(server.poll(Some(Duration::ZERO)).unwrap().is_none());
    let client = backend.message_client(&Limits::default()).unwrap();
    client.send("hello").unwrap();
    let mut events = 0;
    while events < 2 {
        events += usize::from(server.poll(Some(Duration::ZERO)).unwrap().is_some());
    }
}
