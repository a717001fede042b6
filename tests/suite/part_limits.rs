//! Parts of replies that nobody takes: their senders, their server and its other clients, on every transport.

use crate::common::serving::{Serving, limits};
use crate::common::{Backend, PATIENCE, pattern};
use msgpipe::{Client, CloseReason, PartError, PartSender, ServerMessage};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

crate::on_every_transport!(
    small_send_queues_lose_nothing,
    a_sender_ends_with_the_server,
    a_part_waits_for_room_until_its_deadline,
);
crate::on_named_transports!(
    who_reads_none_of_many_replies_leaves_memory_for_others,
    who_leaves_parts_unread_is_not_closed,
    parts_that_nobody_takes_leave_memory_for_others,
);

fn client<B: Backend>(backend: &B) -> Client {
    backend.client(&limits()).unwrap()
}

/// The queues of sides with a small limit of it are full before those of parts and notifications are.
fn small_send_queues_lose_nothing<B: Backend>() {
    /// Of each there are more bytes than are queued by default.
    const COUNT: usize = 30;
    const PART: usize = 10_000;
    let all = || (0..COUNT).map(|at| pattern(PART, at as u8));
    for queued in [1, PART + 63, PART + 64, PART + 65, 32 * 1024, 256 * 1024, 256 * 1024 + 1] {
        let backend = B::new();
        let limits = limits().with_queued(queued);
        let server = backend.serve_calls(&limits).unwrap().accept_streams();
        let _serving = Serving::start(server, move |request, responder| {
            let client = request.connection();
            thread::spawn(move || {
                let request: Vec<_> = request.into_parts().map(Result::unwrap).collect();
                assert!(request.into_iter().eq(all()), "{queued}: another request");
                all().for_each(|news| client.notify(news).unwrap());
                let mut parts = responder.into_parts();
                all().for_each(|part| parts.send(part).unwrap());
                parts.finish();
            });
        });
        let client = backend.client(&limits).unwrap();
        let mut incoming = client.incoming().unwrap();
        let (mut upload, parts) = client.duplex().unwrap();
        all().for_each(|part| upload.send(part).unwrap());
        upload.end().unwrap();
        let reply: Vec<_> = parts.map(Result::unwrap).collect();
        assert!(reply.into_iter().eq(all()), "{queued}: another reply");
        for news in all() {
            match incoming.next_within(PATIENCE).unwrap() {
                ServerMessage::Notification(it) => assert!(it.body() == news, "{queued}: a gap"),
                other => panic!("{other:?}"),
            }
        }
    }
}

/// A client with nothing but parts to read is not closed for leaving them; one with replies is.
fn who_leaves_parts_unread_is_not_closed<B: Backend>() {
    let backend = B::new();
    let mut impatient = limits();
    impatient.write_stall = Duration::from_millis(50);
    let server = backend.serve_calls(&impatient).unwrap();
    let (tell, ends) = mpsc::channel();
    let server = server.on_closed(move |connection, reason| {
        tell.send((connection.id(), reason.clone())).unwrap();
    });
    let (give, senders) = mpsc::channel();
    let _serving = Serving::start(server, move |request, responder| match &request.body()[..] {
        b"parts" => give.send((request.connection().id(), responder.into_parts())).unwrap(),
        _ => responder.reply(pattern(1 << 20, 1)),
    });
    let subscriber = client(&backend);
    let parts = subscriber.stream("parts").unwrap();
    let (_, mut sender) = senders.recv_timeout(PATIENCE).unwrap();
    let count = loop_until_full(&mut sender);
    // The time of the other one begins after that of the first, and passes.
    let other = client(&backend);
    let calls: Vec<_> = (0..4).map(|_| other.start("large").unwrap()).collect();
    let (closed, reason) = ends.recv_timeout(PATIENCE).unwrap();
    assert!(matches!(reason, CloseReason::Unread { .. }), "{closed:?} {reason}");
    assert!(calls.into_iter().any(|call| call.wait().is_err()));
    sender.finish();
    assert_eq!(parts.map(Result::unwrap).count(), count);
    assert_eq!(subscriber.call("large").unwrap().len(), 1 << 20);
}

/// Sends until no more parts are taken for a while, in which the server does other things.
fn loop_until_full(sender: &mut PartSender) -> usize {
    let (mut sent, mut refused) = (0, 0);
    while refused < 100 {
        match sender.try_send(pattern(10_000, 0)) {
            Ok(()) => (sent, refused) = (sent + 1, 0),
            Err(_) => refused += 1,
        }
        thread::yield_now();
    }
    sent
}

/// Whether its sender was made before the server ended or after, and whether it had sent something.
fn a_sender_ends_with_the_server<B: Backend>() {
    let backend = B::new();
    let mut hasty = limits();
    hasty.drain = Duration::from_millis(20);
    let (tell, requests) = mpsc::channel();
    let server = backend.serve_calls(&hasty).unwrap();
    let serving = Serving::start(server, move |request, responder| {
        tell.send((request, responder)).unwrap();
    });
    let client = client(&backend);
    let parts: Vec<_> = (0..3).map(|_| client.stream("").unwrap()).collect();
    let next = || requests.recv_timeout(PATIENCE).unwrap();
    let (late, silent, busy) = (next(), next(), next());
    let (mut silent, mut busy) = (silent.1.into_parts(), busy.1.into_parts());
    let sending = thread::spawn(move || while busy.send(pattern(10_000, 1)).is_ok() {});
    drop(serving);
    sending.join().unwrap();
    assert!(late.0.is_cancelled() && late.1.is_cancelled());
    let mut late = late.1.into_parts();
    for sender in [&mut late, &mut silent] {
        while sender.send(pattern(10_000, 1)).is_ok() {}
        assert!(sender.is_cancelled());
    }
    drop(parts);
}

fn a_part_waits_for_room_until_its_deadline<B: Backend>() {
    let backend = B::new();
    let (give, senders) = mpsc::channel();
    let server = backend.serve_calls(&limits()).unwrap();
    let _serving = Serving::start(server, move |_, responder| {
        let mut parts = responder.into_parts();
        // The loop does not wait for itself.
        let is_full =
            |parts: &mut PartSender| parts.send_within(pattern(10_000, 1), PATIENCE).is_err();
        while !is_full(&mut parts) {}
        give.send(parts).unwrap();
    });
    let client = client(&backend);
    let parts = client.stream("").unwrap();
    let mut sender = senders.recv_timeout(PATIENCE).unwrap();
    loop_until_full(&mut sender);
    for limit in [Duration::ZERO, Duration::from_millis(50)] {
        let began = Instant::now();
        let error = sender.send_within(pattern(10_000, 2), limit).unwrap_err();
        assert_eq!(error, PartError::Full(pattern(10_000, 2).into()));
        assert!(began.elapsed() >= limit, "{:?}", began.elapsed());
    }
    thread::scope(|scope| {
        let sending = scope.spawn(move || {
            let sent = sender.send_within(pattern(10_000, 3), PATIENCE);
            sender.finish();
            sent
        });
        let last = parts.map(Result::unwrap).last();
        assert_eq!((last.unwrap(), sending.join().unwrap()), (pattern(10_000, 3).into(), Ok(())));
    });
    // The time is long, and nobody takes anything any more.
    let parts = client.stream("").unwrap();
    let mut sender = senders.recv_timeout(PATIENCE).unwrap();
    loop_until_full(&mut sender);
    let sending = thread::spawn(move || sender.send_within(pattern(10_000, 4), Duration::MAX));
    drop(parts);
    assert_eq!(sending.join().unwrap(), Err(PartError::Cancelled));
}

fn parts_that_nobody_takes_leave_memory_for_others<B: Backend>() {
    let backend = B::new();
    let mut small = limits();
    (small.memory, small.message) = (1 << 20, 64 * 1024);
    let (give, senders) = mpsc::channel();
    let server = backend.serve_calls(&small).unwrap();
    let _serving = Serving::start(server, move |request, responder| match &request.body()[..] {
        b"parts" => give.send(responder.into_parts()).unwrap(),
        _ => responder.reply(request.body()),
    });
    let taker = client(&backend);
    let replies: Vec<_> = (0..60).map(|_| taker.stream("parts").unwrap()).collect();
    let sending: Vec<_> = (0..60)
        .map(|_| {
            let mut sender = senders.recv_timeout(PATIENCE).unwrap();
            loop_until_full(&mut sender);
            thread::spawn(move || {
                let sent = (0..5).all(|_| sender.send(pattern(30_000, 2)).is_ok());
                sender.finish();
                sent
            })
        })
        .collect();
    let other = client(&backend);
    for _ in 0..10 {
        assert_eq!(other.call("small").unwrap(), "small");
    }
    assert_eq!(taker.call("its own").unwrap(), "its own");
    for parts in replies {
        assert!(parts.map(Result::unwrap).count() >= 5);
    }
    assert!(sending.into_iter().all(|sender| sender.join().unwrap()));
}

/// Each of its replies has one large part.
fn who_reads_none_of_many_replies_leaves_memory_for_others<B: Backend>() {
    let backend = B::new();
    let mut small = limits();
    (small.memory, small.message) = (32 << 20, 8 << 20);
    let server = backend.serve_calls(&small).unwrap();
    let (tell, told) = mpsc::channel();
    let _serving = Serving::start(server, move |request, responder| match &request.body()[..] {
        b"parts" => {
            let mut parts = responder.into_parts();
            let _ = parts.try_send(vec![7; 256 << 10]);
            parts.finish();
            tell.send(()).unwrap();
        }
        body => responder.reply(body.len().to_string()),
    });
    let greedy = client(&backend);
    let unread: Vec<_> = (0..100).map(|_| greedy.stream("parts").unwrap()).collect();
    for _ in &unread {
        told.recv_timeout(PATIENCE).unwrap();
    }
    let other = client(&backend);
    for size in [0, 1000, 1 << 20, 4 << 20] {
        assert_eq!(other.call(vec![7; size]).unwrap(), size.to_string());
    }
    for mut parts in unread {
        assert_eq!(parts.next_within(PATIENCE).unwrap().unwrap().len(), 256 << 10);
        assert_eq!(parts.next_within(PATIENCE).unwrap(), None);
    }
}
