//! A server of streams: a [`Machine`] for each connection of a [`LocalServer`].

use bytes::Bytes;
use msgpipe::exchange::{Charge, Config, End, Event, Machine, Message, SendError, Side};
use msgpipe::framing::Native;
use msgpipe::{ConnectionId, Endpoint, Goodbye, LocalServer, MessageServer, ServerOptions, Waker};
use std::collections::HashMap;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};

/// It answers each message of a request with the same in capitals. To `forever` it sends messages without an end.
pub struct Streaming {
    pub path: String,
    /// What it is told besides: notifications, and how calls end.
    pub heard: Receiver<String>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

impl Streaming {
    pub fn start(name: &str, config: Config) -> Streaming {
        let framing = Native::for_calls(config.settings.body as usize);
        let options = ServerOptions::new().framing(framing);
        let server = options.bind_messages(Endpoint::name(name).unwrap()).unwrap();
        let (path, waker) = (server.endpoint().to_owned(), server.waker());
        let (sender, heard) = mpsc::channel();
        let mut serving = Serving { server, config, connections: HashMap::new(), heard: sender };
        let thread = Some(thread::spawn(move || serving.run()));
        Streaming { path, heard, waker, thread }
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        self.waker.wake();
        let joined = self.thread.take().map(JoinHandle::join);
        assert!(matches!(joined, Some(Ok(()))) || thread::panicking(), "the server panicked");
    }
}

struct Serving {
    server: LocalServer,
    config: Config,
    connections: HashMap<ConnectionId, Connection>,
    heard: Sender<String>,
}

struct Connection {
    machine: Machine<()>,
    /// The messages of each request so far.
    requests: HashMap<u32, Vec<Bytes>>,
}

impl Serving {
    fn run(&mut self) {
        loop {
            match self.server.poll(None).unwrap().expect("an event") {
                msgpipe::Event::Connected(id) => {
                    let machine = Machine::new(Side::Server, self.config.clone());
                    self.connections.insert(id, Connection { machine, requests: HashMap::new() });
                    self.pump(id);
                }
                msgpipe::Event::Message(id, message) => self.received(id, message),
                msgpipe::Event::Writable(id) => self.pump(id),
                msgpipe::Event::Closed(id, _) => drop(self.connections.remove(&id)),
                msgpipe::Event::Woken => return,
                _ => {}
            }
        }
    }

    fn received(&mut self, id: ConnectionId, message: Bytes) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let now = std::time::Instant::now();
        if let Err(violation) = connection.machine.receive(now, message) {
            let code = if violation.rule() == "M7" { 3 } else { 1 };
            return self.server.close(id, Goodbye::new(code, violation.to_string()));
        }
        let largest = self.server.largest_message(id);
        connection.machine.set_largest_frame(largest);
        self.pump(id);
    }

    /// Does what there is to do for a connection, and sends while there is room.
    fn pump(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        connection.hear(&self.heard);
        while self.server.has_room(id) {
            let now = std::time::Instant::now();
            let Some(frame) = connection.machine.transmit(now) else {
                return;
            };
            let head = [frame.head().as_slice(), frame.metadata()].concat();
            let _ = self.server.send_with_head(id, &head, frame.into_body());
            connection.hear(&self.heard);
        }
    }
}

impl Connection {
    fn hear(&mut self, heard: &Sender<String>) {
        let tell = |what: String| drop(heard.send(what));
        while let Some(event) = self.machine.next_event() {
            match event {
                Event::Request { id, message, last, .. } => {
                    self.requests.insert(id, Vec::new());
                    self.arrived(id, message, last);
                }
                Event::Message { id, arrived } => {
                    self.arrived(id, Some((arrived.body, arrived.charge)), arrived.last);
                }
                Event::Ended { id, end: End::Plain } => self.reply(id),
                Event::Ended { id, end } => tell(format!("call {id} ended: {end:?}")),
                Event::Notification { arrived } => {
                    self.take(Side::Client.lane(), arrived.charge);
                    tell(format!("notified: {}", arrived.body.escape_ascii()));
                }
                Event::Announced { id, .. } => self.machine.admit(id),
                Event::Drained { id } => self.go_on(id),
                Event::Cancelled { id, .. } => {
                    self.machine.release(id);
                    tell(format!("cancelled: {id}"));
                }
                Event::Stopped { id } => {
                    self.machine.release(id);
                }
                _ => {}
            }
        }
    }

    fn take(&mut self, id: u32, charge: Charge) {
        self.machine.taken(id, charge);
        self.machine.give_back(charge);
    }

    fn arrived(&mut self, id: u32, message: Option<(Bytes, Charge)>, last: bool) {
        if let Some((body, charge)) = message {
            self.take(id, charge);
            self.requests.entry(id).or_default().push(body);
        }
        if last {
            self.reply(id);
        }
    }

    fn reply(&mut self, id: u32) {
        let messages = self.requests.remove(&id).unwrap_or_default();
        if messages == ["forever"] {
            return self.go_on(id);
        }
        for message in messages {
            let capitals = Message::new(message.to_ascii_uppercase().into(), false);
            // It fails only if the client has stopped it.
            let _ = self.machine.send(id, capitals);
        }
        let _ = self.machine.end(id);
        self.machine.release(id);
    }

    fn go_on(&mut self, id: u32) {
        let message = Message::new(Bytes::from_static(b"and so on"), false);
        loop {
            match self.machine.send(id, message.clone()) {
                Ok(()) => {}
                Err(SendError::Full) => return,
                Err(_) => {
                    self.machine.release(id);
                    return;
                }
            }
        }
    }
}
