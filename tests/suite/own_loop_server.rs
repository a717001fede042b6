//! A server in a loop of the application's own, which waits for its waitable and polls it then.

use crate::common::{PATIENCE, unique_name};
use msgpipe::{
    CloseReason, Event, Limits, LocalServer, MessageClient, MessageServer, ServerOptions,
};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

struct Looping {
    server: LocalServer,
    waitable: msgpipe::Waitable,
}

impl Looping {
    fn new(name: &str, limits: Limits) -> Looping {
        let server = ServerOptions::new().limits(limits).bind_messages(name).unwrap();
        let waitable = server.waitable().unwrap().unwrap();
        Looping { server, waitable }
    }

    /// Serves until an event is the last one. It polls without waiting, and only when it is told to.
    fn serve(&mut self, mut is_last: impl FnMut(&mut LocalServer, Event) -> bool) {
        let until = Instant::now() + PATIENCE;
        loop {
            while let Some(event) = self.server.poll(Some(Duration::ZERO)).unwrap() {
                if is_last(&mut self.server, event) {
                    return;
                }
            }
            let now = Instant::now();
            assert!(now < until, "the loop sleeps");
            let at = self.server.poll_at().map_or(until, |at| at.min(until));
            self.waitable.wait(Some(at.saturating_duration_since(now))).unwrap();
        }
    }
}

#[test]
fn messages_of_many_clients_are_answered() {
    let name = unique_name();
    let mut looping = Looping::new(&name, Limits::default());
    let clients: Vec<_> = (0..8)
        .map(|number: u32| {
            let name = name.clone();
            thread::spawn(move || {
                let client = MessageClient::connect(name.as_str()).unwrap();
                for round in 0..200u32 {
                    // Some are larger than a socket's buffers: they are sent when there is room.
                    let size = if round % 50 == 0 { 1 << 20 } else { 64 };
                    let body = vec![number as u8; size];
                    client.send(body.clone()).unwrap();
                    assert!(client.receive(Some(PATIENCE)).unwrap() == body);
                }
            })
        })
        .collect();
    let mut left = clients.len();
    looping.serve(|server, event| {
        match event {
            Event::Message(from, message) => server.send(from, message).unwrap(),
            Event::Closed(..) => left -= 1,
            _ => {}
        }
        left == 0
    });
    clients.into_iter().for_each(|client| client.join().unwrap());
}

#[test]
fn deadlines_and_wakes_are_seen() {
    let name = unique_name();
    let limits = Limits::default().with_idle(Some(Duration::from_millis(50)));
    let mut looping = Looping::new(&name, limits);
    let client = MessageClient::connect(name.as_str()).unwrap();
    client.send("hello").unwrap();
    looping.serve(|_, event| match event {
        Event::Closed(_, CloseReason::Idle { .. }) => true,
        Event::Closed(_, reason) => panic!("{reason}"),
        _ => false,
    });
    let waker = looping.server.waker();
    let waking = thread::spawn(move || waker.wake());
    looping.serve(|_, event| matches!(event, Event::Woken));
    waking.join().unwrap();
    assert!(looping.server.poll_at().is_none(), "there is nothing to do");
    assert!(!looping.waitable.wait(Some(Duration::ZERO)).unwrap());
}

/// One look at the system returns one event of few connections. What is left is neither forgotten nor waited for.
#[test]
fn what_one_look_does_not_return_is_looked_for_again() {
    let name = unique_name();
    let mut server = LocalServer::bind(name.as_str()).unwrap();
    let place = msgpipe::Endpoint::name(&name).unwrap().locate().unwrap();
    let mut client = UnixStream::connect(place).unwrap();
    assert!(matches!(server.poll(Some(PATIENCE)).unwrap(), Some(Event::Connected(_))));
    let waker = server.waker();
    for byte in [0xE5, 0x6D] {
        // A part of a preface, which is no event for the application, and then one that is.
        client.write_all(&[byte]).unwrap();
        waker.wake();
        let mut event = None;
        while event.is_none() {
            event = server.poll(Some(Duration::ZERO)).unwrap();
            let is_now = server.poll_at().is_some_and(|at| at <= Instant::now());
            assert!(event.is_some() || is_now, "it would wait");
        }
        assert!(matches!(event, Some(Event::Woken)), "{event:?}");
        assert!(server.poll(Some(Duration::ZERO)).unwrap().is_none());
    }
}
