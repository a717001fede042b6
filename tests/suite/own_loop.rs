//! A client in a loop of the application's own.

use crate::common::by_hand::{ByHand, by_hand};
use crate::common::serving::limits;
use crate::common::{Backend, Local, Memory, PATIENCE, pattern};
use msgpipe::exchange::{Event, Message, Side};
use msgpipe::{Client, Error, Incoming, LocalServer, MessageServer, ServerMessage, Waitable};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::{Duration, Instant};

/// A client, what its loop waits for, and its server.
struct Looping {
    server: ByHand<LocalServer>,
    client: Client,
    incoming: Incoming,
    waitable: Waitable,
}

impl Looping {
    fn new() -> Looping {
        let (mut server, client) = by_hand(&Local::new(), &limits(), &limits());
        server.settle();
        let (incoming, waitable) = (client.incoming().unwrap(), client.waitable().unwrap());
        let mut looping = Looping { server, client, incoming, waitable };
        looping.idle();
        looping
    }

    /// Whether the loop would go on, at once or within a time.
    fn is_signalled(&self, within: Duration) -> bool {
        self.waitable.wait(Some(within)).unwrap()
    }

    /// Passes all on that comes, until there is nothing more.
    fn idle(&mut self) -> Vec<ServerMessage> {
        let mut all = Vec::new();
        while self.is_signalled(Duration::ZERO) {
            self.incoming.dispatch(|message| all.push(message)).unwrap();
        }
        all
    }

    fn next(&mut self) -> Vec<ServerMessage> {
        assert!(self.is_signalled(PATIENCE), "the loop sleeps");
        self.idle()
    }
}

fn text(message: &ServerMessage) -> String {
    match message {
        ServerMessage::Notification(it) => String::from_utf8_lossy(&it.body()).into_owned(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn it_is_signalled_for_what_arrives_and_not_otherwise() {
    let mut looping = Looping::new();
    for round in 0..3 {
        assert!(!looping.is_signalled(Duration::ZERO));
        looping.server.notify(round.to_string());
        assert_eq!(looping.next().iter().map(text).collect::<Vec<_>>(), [round.to_string()]);
    }
    let id = looping.server.call("question");
    for message in looping.next() {
        let ServerMessage::Request(request) = message else { panic!("{message:?}") };
        request.reply("answer");
    }
    assert_eq!(looping.server.outcome(id).unwrap(), "answer");
}

#[test]
fn replies_are_read_for_calls_without_an_incoming_too() {
    let (mut server, client) = by_hand(&Local::new(), &limits(), &limits());
    let waitable = client.waitable().unwrap();
    let mut call = client.start("question").unwrap();
    let (id, _) = server.request();
    server.reply(id, "answer");
    let reply = loop {
        assert!(waitable.wait(Some(PATIENCE)).unwrap());
        client.dispatch().unwrap();
        if let Some(reply) = call.try_wait() {
            break reply;
        }
    };
    assert_eq!(reply.unwrap(), "answer");
    client.close();
    assert!(matches!(client.dispatch(), Err(Error::Closed { .. })));
}

/// Its bytes are no longer in the socket.
#[test]
fn it_is_signalled_for_what_another_thread_has_read() {
    let mut looping = Looping::new();
    let call = looping.client.start("question").unwrap();
    let (id, _) = looping.server.request();
    looping.server.notify("before the reply");
    looping.server.reply(id, "answer");
    assert_eq!(thread::spawn(move || call.wait().unwrap()).join().unwrap(), "answer");
    assert_eq!(looping.next().iter().map(text).collect::<Vec<_>>(), ["before the reply"]);
    assert!(!looping.is_signalled(Duration::ZERO));
}

#[test]
fn a_thread_that_reads_does_not_stop_the_loop() {
    let mut looping = Looping::new();
    let call = looping.client.start("question").unwrap();
    let (id, _) = looping.server.request();
    thread::scope(|scope| {
        let waiting = scope.spawn(move || call.wait().unwrap());
        for round in 0..200 {
            looping.server.notify(round.to_string());
            let mut heard = Vec::new();
            while heard.is_empty() {
                heard = looping.next();
            }
            assert_eq!(heard.iter().map(text).collect::<Vec<_>>(), [round.to_string()]);
        }
        looping.server.reply(id, "answer");
        assert_eq!(waiting.join().unwrap(), "answer");
    });
}

#[test]
fn a_flood_does_not_hold_the_loop() {
    const COUNT: usize = 100;
    let mut looping = Looping::new();
    (0..COUNT).for_each(|at| looping.server.notify(at.to_string()));
    let (mut heard, mut cut_short) = (Vec::new(), 0);
    while heard.len() < COUNT {
        assert!(looping.is_signalled(PATIENCE), "the loop sleeps after {}", heard.len());
        let before = heard.len();
        let has_more = looping.incoming.dispatch(|message| {
            heard.push(text(&message));
            // Each takes some time.
            let started = Instant::now();
            while started.elapsed() < Duration::from_millis(1) {}
        });
        assert!(heard.len() - before <= 6, "{} at once", heard.len() - before);
        cut_short += usize::from(has_more.unwrap());
    }
    assert!(cut_short >= COUNT / 6 - 1, "{cut_short}");
    assert!(heard.into_iter().eq((0..COUNT).map(|at| at.to_string())));
}

#[test]
fn it_is_signalled_when_more_can_be_sent() {
    const SIZE: usize = 500_000;
    let mut looping = Looping::new();
    for at in 0..3 {
        looping.client.notify(pattern(SIZE, at)).unwrap();
    }
    // The server does not read: there is nothing to do for the loop.
    looping.idle();
    assert!(!looping.is_signalled(Duration::ZERO));
    let mut arrived = Vec::new();
    let started = Instant::now();
    while arrived.len() < 3 {
        assert!(started.elapsed() < PATIENCE, "{} arrived", arrived.len());
        looping.server.turn(Duration::ZERO);
        // It does nothing of itself: only when it is signalled.
        looping.idle();
        let event = looping.server.try_event(|event| matches!(event, Event::Notification { .. }));
        if let Some(Event::Notification { arrived: it }) = event {
            looping.server.machine.taken(Side::Client.lane(), it.charge);
            arrived.push(it.body);
        }
    }
    for (at, body) in arrived.iter().enumerate() {
        assert!(*body == pattern(SIZE, at as u8), "another one");
    }
    looping.server.settle();
    looping.idle();
    assert!(!looping.is_signalled(Duration::ZERO), "it stays signalled");
}

#[test]
fn a_handler_calls_and_panics_and_the_loop_goes_on() {
    let mut looping = Looping::new();
    looping.server.notify("call");
    looping.server.notify("panic");
    looping.server.notify("third");
    let Looping { server, client, incoming, waitable } = &mut looping;
    thread::scope(|scope| {
        let called = scope.spawn(|| {
            let mut called = None;
            let panicked = catch_unwind(AssertUnwindSafe(|| {
                loop {
                    assert!(waitable.wait(Some(PATIENCE)).unwrap(), "the loop sleeps");
                    let dispatched = incoming.dispatch(|message| match text(&message).as_str() {
                        "call" => called = Some(client.call("from the handler").unwrap()),
                        "panic" => panic!("a mistake in the application"),
                        other => panic!("{other} after the panic"),
                    });
                    dispatched.unwrap();
                }
            }));
            assert!(panicked.is_err());
            called
        });
        let (id, _) = server.request();
        server.reply(id, "answer");
        assert_eq!(called.join().unwrap().unwrap(), "answer");
    });
    assert_eq!(looping.next().iter().map(text).collect::<Vec<_>>(), ["third"]);
}

#[test]
fn the_loop_learns_of_the_end() {
    for by_server in [true, false] {
        let mut looping = Looping::new();
        looping.server.notify("the last");
        if by_server {
            let id = looping.server.id;
            looping.server.messages.close(id, msgpipe::Goodbye::new(200, "good night"));
            looping.server.settle();
        } else {
            looping.server.read_by(&looping.client);
            looping.client.close();
        }
        let mut heard = Vec::new();
        let end = loop {
            assert!(looping.is_signalled(PATIENCE), "the loop sleeps");
            if let Err(end) = looping.incoming.dispatch(|message| heard.push(text(&message))) {
                break end;
            }
        };
        assert!(matches!(end, Error::Closed { .. }), "{end}");
        assert_eq!(heard, ["the last"]);
        assert!(looping.is_signalled(Duration::ZERO));
    }
}

#[test]
fn without_anything_to_wait_for_it_is_called_now_and_then() {
    let (mut server, client) = by_hand(&Memory::new(), &limits(), &limits());
    let error = client.waitable().unwrap_err();
    assert!(matches!(error, Error::Misuse { .. }), "{error}");
    let mut incoming = client.incoming().unwrap();
    server.machine.notify(Message::new("hello".into(), false)).unwrap();
    let mut heard = Vec::new();
    server.until(|_| {
        incoming.dispatch(|message| heard.push(text(&message))).unwrap();
        !heard.is_empty()
    });
    assert_eq!(heard, ["hello"]);
}
