//! The application of the server under test: its handler does what the method says, and what it keeps is used later, when
//! the script says so.

use super::script::Script;
use bytes::Bytes;
use msgpipe::{
    ClientCall, Connection, ErrorReply, Goodbye, PartSender, Request, RequestParts, Responder,
    Topic, WhenFull,
};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What the application keeps.
pub struct App {
    /// The limit of a body.
    limit: usize,
    /// Requests that were given to the handler.
    pub asked: usize,
    /// Those that it has answered, given up or handed on.
    pub answered: usize,
    responders: VecDeque<Responder>,
    senders: VecDeque<PartSender>,
    requests: VecDeque<RequestParts>,
    connections: Vec<Connection>,
    calls: VecDeque<ClientCall>,
    topic: Topic,
}

/// The application, for the handler, the hooks and the script.
#[derive(Clone)]
pub struct Shared(Arc<Mutex<App>>);

/// Who answers the good client does it at once.
pub const ECHO: u32 = 77;

/// The sizes of replies and parts: small ones, those beside a limit of these tests, and larger than all of them.
const SIZES: [usize; 12] = [0, 1, 10, 64, 65, 240, 1000, 16_384, 20_000, 20_001, 70_000, 70_001];

impl Shared {
    pub fn new(script: &mut Script<'_>, limit: usize) -> Shared {
        let when_full = script.of(&[WhenFull::DropNewest, WhenFull::DropOldest, WhenFull::Close]);
        Shared(Arc::new(Mutex::new(App {
            limit,
            asked: 0,
            answered: 0,
            responders: VecDeque::new(),
            senders: VecDeque::new(),
            requests: VecDeque::new(),
            connections: Vec::new(),
            calls: VecDeque::new(),
            topic: Topic::new(when_full),
        })))
    }

    pub fn lock(&self) -> MutexGuard<'_, App> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The handler.
    pub fn handle(&self, mut request: Request, responder: Responder) {
        let mut app = self.lock();
        app.asked += 1;
        let body = request.body();
        assert!(body.len() <= app.limit, "a request over the limit");
        match request.method() {
            0 | ECHO => responder.reply(body),
            1 => return app.responders.push_back(responder),
            2 => app.senders.push_back(responder.into_parts()),
            3 => {
                app.requests.push_back(request.take_parts());
                return app.responders.push_back(responder);
            }
            4 => responder.reply(Err::<Bytes, _>(ErrorReply::new(100, "refused"))),
            5 => drop(responder),
            6 => {
                let connection = request.connection();
                let _ = connection.try_notify(body);
                app.calls.extend(connection.start("asked").ok());
                return app.responders.push_back(responder);
            }
            7 => app.topic.subscribe(responder),
            8 => {
                let mut sender = responder.into_parts();
                for part in request.into_parts().take(3) {
                    let _ = sender.try_send(part.unwrap_or_default());
                }
            }
            _ => {
                let metadata = request.metadata();
                let text = format!("{:?} of {}", request.deadline().is_some(), metadata.len());
                responder.with_metadata(metadata).reply(text);
            }
        }
        app.answered += 1;
    }

    /// The handler that replies at once.
    pub fn answer(&self, request: &Request) -> Result<Bytes, ErrorReply> {
        let mut app = self.lock();
        (app.asked, app.answered) = (app.asked + 1, app.answered + 1);
        match request.method() {
            4 => Err(ErrorReply::new(100, "refused")),
            _ => Ok(request.body()),
        }
    }

    pub fn connected(&self, connection: &Connection) {
        self.lock().connections.push(connection.clone());
    }

    pub fn closed(&self, connection: &Connection) {
        self.lock().connections.retain(|it| it.id() != connection.id());
    }
}

impl App {
    /// Does something with what it keeps.
    pub fn act(&mut self, script: &mut Script<'_>) {
        let choice = script.below(20);
        let size = script.of(&SIZES);
        let body = || Bytes::from(vec![b'r'; size]);
        match choice {
            0..=3 => self.respond(|responder| responder.reply(body())),
            4 => self.respond(|responder| {
                responder.reply(Err::<Bytes, _>(ErrorReply::new(7, "x".repeat(size))))
            }),
            5 => self.respond(drop),
            6 => {
                let sender = self.responders.pop_back().map(Responder::into_parts);
                self.answered += usize::from(sender.is_some());
                self.senders.extend(sender);
            }
            7..=9 => {
                if let Some(sender) = self.senders.front_mut() {
                    let _ = sender.try_send(body());
                }
            }
            10 => self.end_parts(PartSender::finish),
            11 => self.end_parts(|sender| sender.fail(ErrorReply::new(101, "no more"))),
            12 => self.end_parts(drop),
            13 | 14 => {
                let next = self.requests.front_mut().and_then(RequestParts::try_next);
                if let Some(Ok(Some(part))) = next {
                    assert!(part.len() <= self.limit, "a part over the limit");
                }
            }
            15 => drop(self.requests.pop_front()),
            16 => {
                let call = self.connection(script).and_then(|it| it.start(body()).ok());
                self.calls.extend(call);
            }
            17 => {
                if let Some(mut call) = self.calls.pop_front() {
                    match call.try_wait() {
                        None if script.is() => self.calls.push_back(call),
                        _ => {}
                    }
                }
            }
            18 => {
                let _ = self.topic.publish(body());
                let _ = self.connection(script).map(|it| it.try_notify(body()));
            }
            _ => {
                if script.once_in(4) {
                    let why = Goodbye::new(script.u16(), script.text(20));
                    // Not the good client's.
                    if let Some(it) = self.connections.get(1) {
                        it.close(why);
                    }
                }
            }
        }
    }

    fn connection(&mut self, script: &mut Script<'_>) -> Option<&Connection> {
        let count = self.connections.len();
        // The good client's is the first.
        (count > 1).then(|| &self.connections[1 + script.below(count - 1)])
    }

    fn respond(&mut self, end: impl FnOnce(Responder)) {
        if let Some(responder) = self.responders.pop_front() {
            self.answered += 1;
            end(responder);
        }
    }

    fn end_parts(&mut self, end: impl FnOnce(PartSender)) {
        let _ = self.senders.pop_front().map(end);
    }

    /// Answers everything, and keeps nothing.
    pub fn finish(&mut self) {
        while !self.responders.is_empty() {
            self.respond(|responder| responder.reply("late"));
        }
        self.senders.clear();
        self.requests.clear();
        self.calls.clear();
        self.topic.finish();
    }

    /// Of each request that was begun its answer was given, once.
    pub fn check(&self) {
        assert_eq!(self.asked, self.answered, "requests without an answer");
    }
}
