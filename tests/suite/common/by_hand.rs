//! A server of calls that the test drives by hand: it does what `Server` does not do, and when the test says so.

use super::{Backend, PATIENCE, connected};
use bytes::Bytes;
use msgpipe::exchange::{Config, Event, Machine, Message, Side};
use msgpipe::{Client, CloseReason, ConnectionId, Limits, MessageServer};
use std::time::{Duration, Instant};

/// The server's end of one connection.
pub struct ByHand<M: MessageServer> {
    pub messages: M,
    pub machine: Machine<()>,
    pub id: ConnectionId,
    /// Why the connection has ended.
    pub ended: Option<CloseReason>,
}

/// A server with its only client.
pub fn by_hand<B: Backend>(
    backend: &B,
    server: &Limits,
    client: &Limits,
) -> (ByHand<B::Messages>, Client) {
    let mut messages = backend.listen_for_calls(server);
    let client = backend.client(client).unwrap();
    let id = connected(&mut messages);
    let machine = Machine::new(Side::Server, Config::default());
    let mut server = ByHand { messages, machine, id, ended: None };
    server.until(|server| server.machine.peer_settings().is_some());
    (server, client)
}

impl<M: MessageServer> ByHand<M> {
    /// Sends what may be sent, and reads once.
    pub fn turn(&mut self, timeout: Duration) {
        self.pump();
        match self.messages.poll(Some(timeout)).unwrap() {
            Some(msgpipe::Event::Message(_, message)) => {
                self.machine.receive(Instant::now(), message).unwrap();
            }
            Some(msgpipe::Event::Closed(_, reason)) => self.ended = Some(reason),
            _ => {}
        }
        self.pump();
    }

    fn pump(&mut self) {
        while self.ended.is_none() && self.machine.has_unsent() && self.messages.has_room(self.id) {
            let Some(frame) = self.machine.transmit(Instant::now()) else { break };
            // It fails only after the end of the connection.
            let _ = self.messages.send(self.id, frame.to_bytes());
        }
    }

    /// Goes on until this is so.
    #[track_caller]
    pub fn until(&mut self, mut is_so: impl FnMut(&mut Self) -> bool) {
        let started = Instant::now();
        while !is_so(self) {
            assert!(started.elapsed() < PATIENCE, "it never came to be");
            self.turn(Duration::from_millis(1));
        }
    }

    /// Goes on until nothing more moves: what was sent has been given to the system, as far as the client lets it.
    pub fn settle(&mut self) {
        for _ in 0..3 {
            self.turn(Duration::ZERO);
        }
    }

    /// The next event of the calls, but for the settings.
    #[track_caller]
    pub fn event(&mut self) -> Event {
        let mut found = None;
        self.until(|server| {
            found = server.machine.next_event().filter(|it| !matches!(it, Event::Settings));
            found.is_some()
        });
        found.unwrap()
    }

    /// The next call of the client: its id and its request.
    #[track_caller]
    pub fn request(&mut self) -> (u32, Bytes) {
        match self.event() {
            Event::Request { id, message: Some((body, charge)), .. } => {
                self.machine.taken(id, charge);
                self.machine.give_back(charge);
                (id, body)
            }
            event => panic!("not a request: {event:?}"),
        }
    }

    pub fn reply(&mut self, id: u32, body: impl Into<Bytes>) {
        self.machine.send(id, Message::new(body.into(), true)).unwrap();
        self.machine.release(id);
        self.settle();
    }
}
