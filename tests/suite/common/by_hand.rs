//! A server of calls that the test drives by hand: it does what `Server` does not do, and when the test says so.

use super::{Backend, PATIENCE, connected};
use bytes::Bytes;
use msgpipe::exchange::{Config, End, Event, Machine, Message, Opening, Side};
use msgpipe::{Client, CloseReason, ConnectionId, Limits, MessageServer};
use std::time::{Duration, Instant};

/// The server's end of one connection.
pub struct ByHand<M: MessageServer> {
    pub messages: M,
    pub machine: Machine<()>,
    pub id: ConnectionId,
    /// Why the connection has ended.
    pub ended: Option<CloseReason>,
    /// What has happened and was not taken.
    events: Vec<Event>,
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
    let mut server = ByHand { messages, machine, id, ended: None, events: Vec::new() };
    server.until(|server| server.machine.peer_settings().is_some());
    (server, client)
}

impl<M: MessageServer> ByHand<M> {
    /// Sends what may be sent, and reads once.
    pub fn turn(&mut self, timeout: Duration) {
        self.pump();
        self.receive(timeout);
        self.pump();
    }

    /// Reads once, and sends nothing.
    pub fn receive(&mut self, timeout: Duration) {
        match self.messages.poll(Some(timeout)).unwrap() {
            Some(msgpipe::Event::Message(_, message)) => {
                self.machine.receive(Instant::now(), message).unwrap();
            }
            Some(msgpipe::Event::Closed(_, reason)) => self.ended = Some(reason),
            _ => {}
        }
    }

    /// Sends what may be sent.
    pub fn pump(&mut self) {
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

    /// The first event of this kind that was not taken, if it has come.
    pub fn try_event(&mut self, is_it: impl FnMut(&Event) -> bool) -> Option<Event> {
        while let Some(event) = self.machine.next_event() {
            self.events.push(event);
        }
        let at = self.events.iter().position(is_it)?;
        Some(self.events.remove(at))
    }

    /// The first event of this kind that was not taken.
    #[track_caller]
    pub fn event(&mut self, mut is_it: impl FnMut(&Event) -> bool) -> Event {
        let mut found = None;
        self.until(|server| {
            found = server.try_event(&mut is_it);
            found.is_some()
        });
        found.unwrap()
    }

    /// The next call of the client: its id and its request.
    #[track_caller]
    pub fn request(&mut self) -> (u32, Bytes) {
        match self.event(|event| matches!(event, Event::Request { .. })) {
            Event::Request { id, message: Some((body, charge)), .. } => {
                self.machine.taken(id, charge);
                self.machine.give_back(charge);
                (id, body)
            }
            event => panic!("not one message: {event:?}"),
        }
    }

    pub fn reply(&mut self, id: u32, body: impl Into<Bytes>) {
        self.machine.send(id, Message::new(body.into(), true)).unwrap();
        self.machine.release(id);
        self.settle();
    }

    /// Notifies the client.
    pub fn notify(&mut self, body: impl Into<Bytes>) {
        self.machine.notify(Message::new(body.into(), false)).unwrap();
        self.settle();
    }

    /// Calls the client.
    pub fn call(&mut self, body: impl Into<Bytes>) -> u32 {
        let message = Some(Message::new(body.into(), true));
        let id = self.machine.open(Opening { message, ..Opening::default() }, ()).unwrap();
        self.settle();
        id
    }

    /// The outcome of a call of the client: its body, or the code of its error. A large reply is let in.
    #[track_caller]
    pub fn outcome(&mut self, call: u32) -> Result<Bytes, u16> {
        loop {
            let event = self.event(|event| match event {
                Event::Message { id, .. }
                | Event::Ended { id, .. }
                | Event::Announced { id, .. } => *id == call,
                _ => false,
            });
            let outcome = match event {
                Event::Message { arrived, .. } => Ok(arrived.body),
                Event::Ended { end: End::Error(error), .. } => Err(error.code),
                Event::Announced { id, .. } => {
                    self.machine.admit(id);
                    continue;
                }
                event => panic!("no outcome: {event:?}"),
            };
            self.machine.release(call);
            return outcome;
        }
    }

    /// Lets the client read all that was sent before, by a call of it that is answered.
    #[track_caller]
    pub fn read_by(&mut self, client: &Client) {
        let mut call = client.start("read").unwrap();
        let mut read = None;
        self.until(|server| {
            if let Some(event) = server.try_event(|event| matches!(event, Event::Request { .. })) {
                let Event::Request { id, message: Some((_, charge)), .. } = event else { panic!() };
                server.machine.taken(id, charge);
                server.machine.give_back(charge);
                server.reply(id, "read");
            }
            read = call.try_wait();
            read.is_some()
        });
        assert_eq!(read.unwrap().unwrap(), "read");
    }
}
