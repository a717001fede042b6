//! The limits of what waits for a client that does not take it, on every transport.

use crate::common::by_hand::{ByHand, by_hand};
use crate::common::raw::envelope;
use crate::common::serving::limits;
use crate::common::{Backend, pattern};
use msgpipe::exchange::{MESSAGE_COST, Message, Side};
use msgpipe::{ErrorReply, Incoming, MessageServer, ServerMessage};
use std::time::Duration;

crate::on_every_transport!(
    notifications_that_are_not_taken_stop_their_sender_and_no_reply,
    a_large_notification_waits_until_there_is_room,
    the_limit_of_bytes_of_calls_is_exact,
    the_limit_of_the_number_of_calls_is_exact,
    a_large_call_is_let_in_or_refused,
    calls_that_are_cancelled_again_and_again_leave_nothing,
    calls_that_wait_hold_back_no_reply,
    a_server_that_calls_on_and_on_is_left,
    a_client_that_calls_now_and_then_beside_a_fast_publisher,
);

/// The lane of the server's notifications.
fn lane() -> u32 {
    Side::Server.lane()
}

/// What has arrived and was not taken.
fn taken(incoming: &mut Incoming) -> Vec<ServerMessage> {
    std::iter::from_fn(|| incoming.try_next().unwrap()).collect()
}

/// Also when the window of the notifications is that of the whole connection.
fn notifications_that_are_not_taken_stop_their_sender_and_no_reply<B: Backend>() {
    const SIZE: usize = 936;
    const COST: usize = SIZE + MESSAGE_COST as usize;
    let mut few = limits();
    (few.call_window, few.connection_window) = (256 << 10, 256 << 10);
    let fit = few.call_window / COST;
    for sent in [fit - 1, fit, fit + 1, 3 * fit] {
        let (mut server, client) = by_hand(&B::new(), &limits(), &few);
        let mut incoming = client.incoming().unwrap();
        (0..sent).for_each(|at| server.notify(pattern(SIZE, at as u8)));
        for _ in 0..5 {
            server.read_by(&client);
        }
        let waits = server.machine.queued(lane()) / COST;
        assert_eq!(waits, sent.saturating_sub(fit), "{sent} were sent");
        let mut count = 0;
        server.until(|_| {
            for message in taken(&mut incoming) {
                let ServerMessage::Notification(it) = message else { panic!("{message:?}") };
                assert!(it.body() == pattern(SIZE, count as u8), "another one at {count}");
                count += 1;
            }
            count == sent
        });
    }
}

fn a_large_notification_waits_until_there_is_room<B: Backend>() {
    let (mut server, client) = by_hand(&B::new(), &limits(), &limits());
    let mut incoming = client.incoming().unwrap();
    let large = |seed| pattern(3 << 20, seed);
    // The first is let in, whatever its size; the second waits for it.
    server.notify(large(0));
    while server.machine.queued(lane()) > 0 {
        server.read_by(&client);
    }
    server.notify(large(1));
    for _ in 0..5 {
        server.read_by(&client);
    }
    assert!(server.machine.queued(lane()) > 3 << 20, "the second was let in");
    for seed in 0..2 {
        let mut next = None;
        server.until(|_| {
            next = incoming.try_next().unwrap();
            next.is_some()
        });
        let Some(ServerMessage::Notification(it)) = next else { panic!("{next:?}") };
        assert!(it.body() == large(seed), "another one");
    }
}

fn the_limit_of_bytes_of_calls_is_exact<B: Backend>() {
    let mut few = limits();
    few.queued = 10_000;
    let (mut server, client) = by_hand(&B::new(), &limits(), &few);
    let mut incoming = client.incoming().unwrap();
    for (count, refused) in [(9, 0), (10, 0), (11, 1), (30, 20)] {
        let body = || pattern(1000 - MESSAGE_COST as usize, 1);
        let calls: Vec<_> = (0..count).map(|_| server.call(body())).collect();
        server.read_by(&client);
        let requests = taken(&mut incoming);
        assert_eq!(requests.len(), count - refused);
        for request in requests {
            let ServerMessage::Request(request) = request else { panic!("{request:?}") };
            request.reply("done");
        }
        for (at, call) in calls.into_iter().enumerate() {
            let expected = match at < count - refused {
                true => Ok("done".into()),
                false => Err(ErrorReply::TOO_MANY_REQUESTS),
            };
            assert_eq!(server.outcome(call), expected, "{at} of {count}");
        }
    }
}

fn the_limit_of_the_number_of_calls_is_exact<B: Backend>() {
    let mut few = limits();
    few.in_flight = 3;
    let (mut server, client) = by_hand(&B::new(), &limits(), &few);
    let mut incoming = client.incoming().unwrap();
    let calls: Vec<_> = (0..4).map(|_| server.call("")).collect();
    server.read_by(&client);
    assert_eq!(server.outcome(calls[3]), Err(ErrorReply::TOO_MANY_REQUESTS));
    let mut requests = taken(&mut incoming);
    assert_eq!(requests.len(), 3);
    // Those that were taken count until they are answered.
    let refused = server.call("");
    server.read_by(&client);
    assert_eq!(server.outcome(refused), Err(ErrorReply::TOO_MANY_REQUESTS));
    drop(requests.pop());
    let next = server.call("");
    server.read_by(&client);
    let Ok(Some(ServerMessage::Request(request))) = incoming.try_next() else { panic!("{next}") };
    request.reply("taken");
    assert_eq!(server.outcome(next).unwrap(), "taken");
}

fn a_large_call_is_let_in_or_refused<B: Backend>() {
    let (mut server, client) = by_hand(&B::new(), &limits(), &limits());
    let mut incoming = client.incoming().unwrap();
    let (first, second) = (server.call(pattern(3 << 20, 1)), server.call(pattern(3 << 20, 2)));
    let mut take = |server: &mut ByHand<B::Messages>, id, seed| {
        let mut next = None;
        server.until(|_| {
            next = incoming.try_next().unwrap();
            next.is_some()
        });
        let Some(ServerMessage::Request(request)) = next else { panic!("{next:?}") };
        assert!(request.body() == pattern(3 << 20, seed), "another one");
        request.reply("done");
        assert_eq!(server.outcome(id).unwrap(), "done");
    };
    server.read_by(&client);
    take(&mut server, first, 1);
    assert_eq!(server.outcome(second), Err(ErrorReply::TOO_MANY_REQUESTS));
    // One that was let in and never comes leaves its room to others.
    for _ in 0..3 {
        let id = server.call(pattern(3 << 20, 3));
        // The client lets it in, and the server cancels it before it sends a byte of it.
        let mut call = client.start("read").unwrap();
        while !server.machine.has_unsent() {
            call.try_wait();
            server.receive(Duration::from_millis(1));
        }
        server.machine.release(id);
        server.pump();
        let (read, _) = server.request();
        server.reply(read, "");
        server.until(|_| call.try_wait().is_some());
    }
    let id = server.call(pattern(3 << 20, 4));
    take(&mut server, id, 4);
}

/// The calls of a server that cancels them count until they have been passed over: it cannot fill the queue.
fn calls_that_are_cancelled_again_and_again_leave_nothing<B: Backend>() {
    let mut few = limits();
    few.in_flight = 8;
    let (mut server, client) = by_hand(&B::new(), &limits(), &few);
    let mut incoming = client.incoming().unwrap();
    for _ in 0..300 {
        let id = server.call("never mind");
        server.machine.release(id);
    }
    server.read_by(&client);
    let wanted = server.call("wanted");
    server.read_by(&client);
    assert_eq!(server.outcome(wanted), Err(ErrorReply::TOO_MANY_REQUESTS));
    assert!(incoming.try_next().unwrap().is_none());
    let wanted = server.call("wanted");
    server.read_by(&client);
    let Ok(Some(ServerMessage::Request(request))) = incoming.try_next() else { panic!("nothing") };
    request.reply("here");
    assert_eq!(server.outcome(wanted).unwrap(), "here");
}

fn calls_that_wait_hold_back_no_reply<B: Backend>() {
    let mut few = limits();
    (few.call_window, few.connection_window) = (256 << 10, 256 << 10);
    let (mut server, client) = by_hand(&B::new(), &limits(), &few);
    let mut incoming = client.incoming().unwrap();
    // More than the window of the connection.
    for _ in 0..40 {
        server.call(pattern(20_000, 1));
    }
    for _ in 0..10 {
        server.read_by(&client);
    }
    assert_eq!(taken(&mut incoming).len(), 40);
}

/// It keeps to no limit, and does not read the errors that it gets.
fn a_server_that_calls_on_and_on_is_left<B: Backend>() {
    const REQUEST: u8 = 1;
    const ENDS: u8 = 3;
    let (mut server, client) = by_hand(&B::new(), &limits(), &limits());
    server.settle();
    let mut call = client.start("meanwhile").unwrap();
    let mut next = 3;
    while !client.is_closed() {
        assert!(next < 200_000, "{next} calls, and no end");
        let (to, request) = (server.id, envelope(REQUEST, ENDS, next, b""));
        match server.messages.send(to, request.into()) {
            Ok(()) => next += 2,
            // It sends, and does nothing with what it reads.
            Err(_) => drop(server.messages.poll(Some(Duration::ZERO)).unwrap()),
        }
        let _ = call.try_wait();
    }
    let reason = client.close_reason().unwrap().to_string();
    assert!(reason.contains("does not read the answers"), "{reason}");
}

/// It does not read for longer than a server waits for a client that owes something, again and again.
fn a_client_that_calls_now_and_then_beside_a_fast_publisher<B: Backend>() {
    let mut strict = limits();
    strict.write_stall = Duration::from_millis(50);
    let (mut server, client) = by_hand(&B::new(), &strict, &limits());
    let id = server.id;
    // As a server does while nothing but what waits for credit is unread.
    server.messages.allow_unread(id, true);
    let mut incoming = client.incoming().unwrap();
    let publish = |server: &mut ByHand<B::Messages>| {
        let mut published = 0;
        while server.machine.notify(Message::new(pattern(1000, 1).into(), false)).is_ok() {
            published += 1;
        }
        server.settle();
        published
    };
    let mut published = 0;
    let mut count = 0;
    for _ in 0..4 {
        // Four times the stall, in which the client is elsewhere.
        for _ in 0..20 {
            published += publish(&mut server);
            server.turn(Duration::from_millis(10));
        }
        assert!(server.ended.is_none(), "it was closed: {:?}", server.ended);
        server.read_by(&client);
        // What waits is no more than the window, in which the messages have their cost.
        let waits = taken(&mut incoming).len();
        assert!(waits * (1000 + MESSAGE_COST as usize) <= limits().call_window, "{waits}");
        count += waits;
    }
    assert!(count > 0 && count <= published, "{count} of {published}");
}
