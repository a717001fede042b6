//! What a server sends unasked, and how a client listens, on every transport.

use crate::common::by_hand::{ByHand, by_hand};
use crate::common::serving::limits;
use crate::common::{Backend, PATIENCE, pattern};
use msgpipe::exchange::{Message, Opening, Side};
use msgpipe::{
    Client, Error, ErrorReply, Incoming, MessageServer, Metadata, Notification, ServerMessage,
    ServerRequest,
};
use std::thread;
use std::time::{Duration, Instant};

crate::on_every_transport!(
    notifications_arrive_in_order_with_all_that_belongs_to_them,
    a_call_of_the_server_is_answered,
    an_answer_that_is_not_given_is_an_error,
    one_listens_at_a_time,
    what_arrived_before_the_end_comes_first,
    a_call_that_nobody_waits_for_is_passed_over,
    a_request_learns_that_it_is_cancelled,
    a_large_reply_is_sent_while_another_thread_reads,
);
crate::on_named_transports!(without_a_listener_nothing_is_kept);

fn listening<B: Backend>(backend: &B) -> (ByHand<B::Messages>, Client, Incoming) {
    let (server, client) = by_hand(backend, &limits(), &limits());
    let incoming = client.incoming().unwrap();
    (server, client, incoming)
}

#[track_caller]
fn notification(incoming: &mut Incoming) -> Notification {
    match incoming.next_within(PATIENCE).unwrap() {
        ServerMessage::Notification(notification) => notification,
        other => panic!("not a notification: {other:?}"),
    }
}

#[track_caller]
fn request(incoming: &mut Incoming) -> ServerRequest {
    match incoming.next_within(PATIENCE).unwrap() {
        ServerMessage::Request(request) => request,
        other => panic!("not a request: {other:?}"),
    }
}

fn notifications_arrive_in_order_with_all_that_belongs_to_them<B: Backend>() {
    let (mut server, _client, mut incoming) = listening(&B::new());
    assert!(incoming.try_next().unwrap().is_none());
    let metadata = Metadata::default().with(b"trace", b"1-2").unwrap();
    let sizes = [0, 1, 1000, 20_000, 100_000, 300_000];
    for (at, size) in sizes.into_iter().enumerate() {
        let message = Message::new(pattern(size, at as u8).into(), false);
        let metadata = if at % 2 == 0 { metadata.clone() } else { Metadata::default() };
        server.machine.notify(Message { metadata, method: at as u32, ..message }).unwrap();
    }
    let mut arrived = Vec::new();
    server.until(|_| {
        arrived.extend(incoming.try_next().unwrap());
        arrived.len() == sizes.len()
    });
    for (at, (message, size)) in arrived.iter().zip(sizes).enumerate() {
        let ServerMessage::Notification(it) = message else { panic!("{message:?}") };
        assert!(it.body() == pattern(size, at as u8) && it.method() == at as u32, "{at}");
        let trace = it.metadata().get(b"trace");
        assert_eq!(trace, (at % 2 == 0).then(|| "1-2".into()));
    }
    // The limit of a wait is no end.
    let late = incoming.next_within(Duration::from_millis(5));
    assert!(matches!(late, Err(Error::Deadline { .. })), "{late:?}");
    server.notify("one more");
    assert_eq!(notification(&mut incoming).body(), "one more");
}

fn a_call_of_the_server_is_answered<B: Backend>() {
    let (mut server, _client, mut incoming) = listening(&B::new());
    let metadata = Metadata::default().with(b"trace", b"1-2").unwrap();
    let message = Some(Message { metadata, ..Message::new("question".into(), true) });
    let deadline = Some(Instant::now() + PATIENCE);
    let opening = Opening { method: 7, deadline, message, ..Opening::default() };
    let asked = server.machine.open(opening, ()).unwrap();
    let mut plain = vec![asked];
    plain.extend((0..3).map(|_| server.call("plain")));
    server.settle();
    let first = request(&mut incoming);
    let left = first.deadline().unwrap().saturating_duration_since(Instant::now());
    assert!(left > PATIENCE / 2 && left <= PATIENCE, "{left:?}");
    assert_eq!((first.body(), first.method()), ("question".into(), 7));
    assert_eq!(first.metadata().get(b"trace").unwrap(), "1-2");
    assert!(!first.is_cancelled());
    // In any order, and from any thread.
    let rest: Vec<_> = (0..3).map(|_| request(&mut incoming)).collect();
    for (at, request) in rest.into_iter().enumerate().rev() {
        assert_eq!((request.body(), request.deadline()), ("plain".into(), None));
        thread::scope(|scope| drop(scope.spawn(move || request.reply(at.to_string()))));
        assert_eq!(server.outcome(plain[at + 1]).unwrap(), at.to_string());
    }
    first.reply("answer");
    assert_eq!(server.outcome(asked).unwrap(), "answer");
}

fn an_answer_that_is_not_given_is_an_error<B: Backend>() {
    let (mut server, client, mut incoming) = listening(&B::new());
    let failing: [(fn(ServerRequest), u16); 5] = [
        (drop, ErrorReply::UNANSWERED),
        (|request| request.reply(Err::<(), _>("no")), ErrorReply::FAILED),
        (|request| request.reply(Err::<(), _>(ErrorReply::new(404, "no"))), 404),
        // Only this crate says that a request was not begun.
        (|request| request.reply(Err::<(), _>(ErrorReply::new(3, "no"))), ErrorReply::FAILED),
        (|request| request.reply(vec![0; (16 << 20) + 1]), ErrorReply::REPLY_TOO_LARGE),
    ];
    for (fails, code) in failing {
        let id = server.call("");
        fails(request(&mut incoming));
        assert_eq!(server.outcome(id), Err(code));
    }
    let id = server.call("");
    let asked = request(&mut incoming);
    let panicked = thread::spawn(move || {
        let _asked = asked;
        panic!("a mistake in the application");
    });
    assert!(panicked.join().is_err());
    assert_eq!(server.outcome(id), Err(ErrorReply::FAILED));
    assert!(!client.is_closed());
}

fn without_a_listener_nothing_is_kept<B: Backend>() {
    let (mut server, client) = by_hand(&B::new(), &limits(), &limits());
    // Before, and after somebody has listened, and has left some of both.
    for round in 0..2 {
        for at in 0..200 {
            // More than all windows together, and one that is announced.
            let size = if at == 7 { 3 << 20 } else { 100_000 };
            while server.machine.queued(Side::Server.lane()) > 500_000 {
                server.read_by(&client);
            }
            server.notify(pattern(size, 1));
        }
        let id = server.call("anybody?");
        server.read_by(&client);
        assert_eq!(server.outcome(id), Err(ErrorReply::FAILED));
        if round == 0 {
            let incoming = client.incoming().unwrap();
            server.notify("left");
            let id = server.call("left");
            server.read_by(&client);
            drop(incoming);
            assert_eq!(server.outcome(id), Err(ErrorReply::FAILED));
        }
    }
    let mut incoming = client.incoming().unwrap();
    server.notify("the first that is kept");
    assert_eq!(notification(&mut incoming).body(), "the first that is kept");
}

fn one_listens_at_a_time<B: Backend>() {
    let (mut server, client, incoming) = listening(&B::new());
    let second = client.clone().incoming().unwrap_err();
    assert!(matches!(second, Error::Misuse { .. }), "{second}");
    drop(incoming);
    let mut again = client.incoming().unwrap();
    server.notify("hello");
    assert_eq!(notification(&mut again).body(), "hello");
    client.close();
    drop(again);
    assert!(matches!(client.incoming(), Err(Error::Closed { .. })));
}

fn what_arrived_before_the_end_comes_first<B: Backend>() {
    for by_server in [true, false] {
        let (mut server, client, mut incoming) = listening(&B::new());
        server.notify("one");
        server.notify("two");
        server.call("nobody waits for this any more");
        server.read_by(&client);
        if by_server {
            let id = server.id;
            server.messages.abort(id);
            server.until(|server| server.ended.is_some());
        } else {
            client.close();
        }
        assert_eq!(notification(&mut incoming).body(), "one");
        assert_eq!(notification(&mut incoming).body(), "two");
        // Of the end of the server the client learns when it reads.
        let mut next = incoming.next_within(PATIENCE);
        if by_server && next.is_ok() {
            next = incoming.next_within(PATIENCE);
        }
        assert!(matches!(next, Err(Error::Closed { .. })), "{next:?}");
        assert!(matches!(incoming.next(), Some(Err(Error::Closed { .. }))));
        assert!(incoming.next().is_none() && incoming.next().is_none());
    }
}

fn a_call_that_nobody_waits_for_is_passed_over<B: Backend>() {
    let (mut server, client, mut incoming) = listening(&B::new());
    let cancelled = server.call("cancelled");
    let soon = Some(Instant::now() + Duration::from_millis(5));
    let message = Some(Message::new("late".into(), true));
    server.machine.open(Opening { deadline: soon, message, ..Opening::default() }, ()).unwrap();
    let wanted = server.call("wanted");
    server.read_by(&client);
    server.machine.release(cancelled);
    server.read_by(&client);
    // The time of the late one counts from when it was read.
    let read = Instant::now();
    server.until(|_| read.elapsed() > Duration::from_millis(20));
    let wanted_one = request(&mut incoming);
    assert_eq!(wanted_one.body(), "wanted");
    wanted_one.reply("here");
    assert_eq!(server.outcome(wanted).unwrap(), "here");
    assert!(incoming.try_next().unwrap().is_none());
}

fn a_request_learns_that_it_is_cancelled<B: Backend>() {
    let (mut server, client, mut incoming) = listening(&B::new());
    let id = server.call("first");
    server.call("second");
    let (first, second) = (request(&mut incoming), request(&mut incoming));
    server.machine.release(id);
    server.read_by(&client);
    assert!(first.is_cancelled() && !second.is_cancelled());
    first.reply("too late");
    client.close();
    assert!(second.is_cancelled());
    second.reply("too late");
}

/// The reply needs the server to read and to let it in, which the reading thread learns.
fn a_large_reply_is_sent_while_another_thread_reads<B: Backend>() {
    let (mut server, client, mut incoming) = listening(&B::new());
    for size in [900_000, 3 << 20] {
        let id = server.call("a large one");
        let asked = request(&mut incoming);
        let reading = client.start("read").unwrap();
        thread::scope(|scope| {
            let waiting = scope.spawn(move || reading.wait().unwrap());
            let (read, _) = server.request();
            scope.spawn(move || asked.reply(pattern(size, 1)));
            assert!(server.outcome(id).unwrap() == pattern(size, 1), "another reply");
            server.reply(read, "done");
            assert_eq!(waiting.join().unwrap(), "done");
        });
    }
}
