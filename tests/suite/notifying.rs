//! Notifications of a client to its server, on every transport.

use crate::common::by_hand::{ByHand, by_hand};
use crate::common::serving::{Serving, limits};
use crate::common::{Backend, PATIENCE, pattern};
use msgpipe::exchange::{Arrived, Event, MESSAGE_COST, Side};
use msgpipe::{Error, Fault, MessageServer, Metadata};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

crate::on_every_transport!(
    notifications_arrive_in_order_with_method_and_metadata,
    a_thread_waits_for_room,
    threads_wait_for_room_beside_a_reading_thread,
    a_notification_over_the_limit_is_returned,
    what_a_client_says_before_it_goes_is_heard,
);
crate::on_named_transports!(what_the_server_does_not_take_has_a_limit,);

/// The next notification; its credit is given back.
fn notification<M: MessageServer>(server: &mut ByHand<M>) -> Arrived {
    let event = server.event(|event| matches!(event, Event::Notification { .. }));
    let Event::Notification { arrived } = event else { panic!("{event:?}") };
    server.machine.taken(Side::Client.lane(), arrived.charge);
    server.machine.give_back(arrived.charge);
    arrived
}

fn notifications_arrive_in_order_with_method_and_metadata<B: Backend>() {
    let (mut server, client) = by_hand(&B::new(), &limits(), &limits());
    server.settle();
    let metadata = Metadata::default().with(b"trace", b"1-2").unwrap();
    client.notify("").unwrap();
    client.with_method(7).notify("seven").unwrap();
    client.with_method(8).with_metadata(metadata.clone()).notify("eight").unwrap();
    let arrived = [(); 3].map(|()| notification(&mut server));
    assert_eq!(arrived.each_ref().map(|it| it.method), [0, 7, 8]);
    assert_eq!(arrived.each_ref().map(|it| &it.body[..]), [&b""[..], b"seven", b"eight"]);
    assert_eq!(arrived.map(|it| it.metadata), [Metadata::default(), Metadata::default(), metadata]);
}

/// A program that notifies and ends at once.
fn what_a_client_says_before_it_goes_is_heard<B: Backend>() {
    // Fewer than the system's buffers hold: what is still queued in the client goes with it.
    const MANY: usize = 100;
    let backend = B::new();
    let (tell, told) = mpsc::channel();
    let server = backend.serve_calls(&limits()).unwrap();
    let server = server.on_notification(move |it| tell.send(it.body()).unwrap());
    let _serving = Serving::start(server, |_, responder| responder.reply(""));
    let client = backend.client(&limits()).unwrap();
    client.call("it is there").unwrap();
    for number in 0..MANY {
        client.notify(number.to_string()).unwrap();
    }
    drop(client);
    for number in 0..MANY {
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), number.to_string());
    }
}

/// One below, at, and above it: the queue takes messages while it is not full.
fn what_the_server_does_not_take_has_a_limit<B: Backend>() {
    const COST: usize = 1000;
    const BODY: usize = COST - MESSAGE_COST as usize;
    let mut few = limits();
    few.queued = 10 * COST;
    let (mut server, client) = by_hand(&B::new(), &limits(), &few);
    server.settle();
    // The server takes nothing: its window, and the queue.
    let mut sent = 0;
    let refused = loop {
        match client.notify(pattern(BODY, sent as u8)) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
        server.settle();
    };
    assert_eq!((refused.fault(), refused.is_not_begun()), (Fault::Limit, true));
    let Error::Full { limit, message, .. } = refused else { panic!("{refused}") };
    assert!(limit == 10 * COST && message == pattern(BODY, sent as u8), "another one");
    let window = msgpipe::exchange::Settings::default().call_window as usize;
    assert_eq!(sent, window / COST + 10);
    // A call is not held up by them.
    server.read_by(&client);
    for at in 0..sent {
        if at % 100 == 0 {
            server.read_by(&client);
        }
        assert!(notification(&mut server).body == pattern(BODY, at as u8), "another one at {at}");
    }
    server.settle();
    server.read_by(&client);
    client.notify("again").unwrap();
    assert_eq!(notification(&mut server).body, "again");
}

fn a_thread_waits_for_room<B: Backend>() {
    let mut few = limits();
    few.queued = 1000;
    let (mut server, client) = by_hand(&B::new(), &limits(), &few);
    server.settle();
    const COUNT: usize = 4000;
    let all_arrived = AtomicBool::new(false);
    thread::scope(|scope| {
        let sending = scope.spawn(|| {
            for at in 0..COUNT {
                client.notify_within(pattern(2000, at as u8), PATIENCE).unwrap();
            }
            // The last ones may wait for credit, which somebody has to read.
            let mut incoming = client.incoming().unwrap();
            while !all_arrived.load(Ordering::SeqCst) {
                incoming.try_next().unwrap();
                thread::yield_now();
            }
        });
        for at in 0..COUNT {
            assert!(notification(&mut server).body == pattern(2000, at as u8), "another one");
        }
        all_arrived.store(true, Ordering::SeqCst);
        server.until(|_| sending.is_finished());
    });
    // Nobody takes: at its limit it ends, and the message was not sent.
    let late = loop {
        if let Err(late) = client.notify_within(pattern(2000, 0), Duration::from_millis(5)) {
            break late;
        }
        server.settle();
    };
    assert!(matches!(late, Error::Deadline { .. }) && late.is_not_begun(), "{late}");
    client.close();
    let closed = client.notify_within("", PATIENCE).unwrap_err();
    assert!(matches!(closed, Error::Closed { .. }), "{closed}");
}

fn threads_wait_for_room_beside_a_reading_thread<B: Backend>() {
    let mut few = limits();
    few.queued = 1000;
    let (mut server, client) = by_hand(&B::new(), &limits(), &few);
    server.settle();
    let reading = client.start("the last").unwrap();
    let (last, _) = server.request();
    thread::scope(|scope| {
        let waiting = scope.spawn(move || reading.wait().unwrap());
        let client = &client;
        let sending: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(move || {
                    for at in 0..1000_usize {
                        client.notify_within(pattern(2000, at as u8), PATIENCE).unwrap();
                    }
                })
            })
            .collect();
        (0..3000).for_each(|_| drop(notification(&mut server)));
        server.until(|_| sending.iter().all(|it| it.is_finished()));
        server.reply(last, "done");
        server.until(|_| waiting.is_finished());
        assert_eq!(waiting.join().unwrap(), "done");
    });
}

fn a_notification_over_the_limit_is_returned<B: Backend>() {
    let mut small = limits();
    small.message = 1000;
    let (mut server, client) = by_hand(&B::new(), &limits(), &small);
    server.settle();
    client.notify(pattern(1000, 1)).unwrap();
    match client.notify(pattern(1001, 1)).unwrap_err() {
        Error::TooLarge { size: 1001, limit: 1000, message, .. } => {
            assert!(message == pattern(1001, 1));
        }
        error => panic!("{error}"),
    }
    assert_eq!(notification(&mut server).body.len(), 1000);
}
