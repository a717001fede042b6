//! The loop of a server: requests to the handler, replies to the clients.

use super::answers::Answers;
use super::responder::{Answer, Origin, Outbox, Request, Responder, of_application};
use super::{Hooks, Server, Stopper};
use crate::account::{Account, Charge};
use crate::error::{CloseReason, Error, ErrorReply};
use crate::exchange::{Envelope, Kind, Refused, Requests};
use crate::framing::{GoodbyeCode, READ_CHUNK};
use crate::goodbye::Goodbye;
use crate::ids::IdMap;
use crate::limits::Limits;
use crate::message_server::{ConnectionId, Event, MessageServer};
use bytes::Bytes;
use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The most replies from other threads that are taken before the next poll.
const ANSWERS_AT_ONCE: usize = 64;

/// The cost of a request in flight besides its body: its entries here and its responder.
const REQUEST_COST: usize = 256;

/// A running server.
pub(super) struct Answering<M> {
    pub(super) messages: M,
    /// Each in a box: a table has room for up to twice as many as are in it.
    pub(super) callers: IdMap<ConnectionId, Box<Caller>>,
    hooks: Hooks,
    limits: Limits,
    outbox: Arc<Outbox>,
    /// Replies from other threads that have not been sent yet.
    given: VecDeque<(ConnectionId, u32, Answer)>,
    stopper: Stopper,
    /// The account, for a `MessageServer` without one.
    account: Account,
    /// The number of requests in flight of all clients.
    open: usize,
    /// The deadline of the drain, once the server was stopped.
    stopping: Option<Instant>,
    /// All requests have been answered: connections are closed once their queues are sent.
    says_goodbye: bool,
}

/// A connected client.
pub(super) struct Caller {
    origin: Arc<Origin>,
    requests: Requests,
    pub(super) answers: Answers,
    /// The memory that is held for its requests.
    charge: Charge,
    /// It has half-closed: it sends nothing more.
    finished: bool,
}

/// The way for a handler to answer one request.
pub(super) struct Answerer<'a, M> {
    server: &'a mut Answering<M>,
    connection: ConnectionId,
    id: u32,
}

impl<M: MessageServer> Answerer<'_, M> {
    /// Sends the result of `handler`, or an error reply if it panics.
    pub fn with(self, handler: impl FnOnce() -> Answer) {
        let answer =
            catch_unwind(AssertUnwindSafe(|| of_application(handler()))).unwrap_or_else(|panic| {
                self.server.hooks.panicked(self.connection, panic);
                Err(ErrorReply::panicked())
            });
        self.server.answer(self.connection, self.id, answer);
    }

    /// Passes the request to a handler that replies at any time. If the handler panics, the drop of its responder
    /// sends the error reply.
    pub fn later(mut self, mut request: Request, handler: &mut impl FnMut(Request, Responder)) {
        let responder = self.responder(&mut request);
        let (hooks, connection) = (&mut self.server.hooks, self.connection);
        let handled = catch_unwind(AssertUnwindSafe(|| handler(request, responder)));
        if let Err(panic) = handled {
            hooks.panicked(connection, panic);
        }
    }

    /// The request holds memory until it is answered: a copy of its own, not a slice of a buffer that other
    /// messages share.
    fn responder(&mut self, request: &mut Request) -> Responder {
        let size = request.body.len();
        let held = if size < READ_CHUNK / 4 {
            request.body = Bytes::copy_from_slice(&request.body);
            size
        } else {
            size.max(READ_CHUNK)
        };
        let outbox = self.server.outbox.clone();
        if let Some(caller) = self.server.callers.get_mut(&self.connection) {
            caller.requests.hold(self.id, held + REQUEST_COST);
            caller.charge.add(held + REQUEST_COST);
        }
        Responder::new(outbox, self.connection, self.id, request.origin.clone())
    }
}

/// Calls a hook of the application and catches its panic.
fn guarded(tell: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(tell)) {
        discard(panic);
    }
}

/// The drop of a panic's payload may panic again; the second payload is leaked.
fn discard(panic: Box<dyn Any + Send>) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        std::mem::forget(again);
    }
}

impl Hooks {
    fn panicked(&mut self, connection: ConnectionId, panic: Box<dyn Any + Send>) {
        self.tell_of(connection, &*panic);
        discard(panic);
    }

    fn tell_of(&mut self, connection: ConnectionId, panic: &(dyn Any + Send)) {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        if let Some(tell) = &mut self.panicked {
            guarded(|| tell(connection, text.unwrap_or("a panic without a text")));
        }
    }
}

impl<M: MessageServer> Answering<M> {
    pub fn new(server: Server<M>) -> Answering<M> {
        let stopper = server.stopper();
        let Server { messages, limits, outbox, hooks, .. } = server;
        Answering {
            messages,
            callers: IdMap::default(),
            hooks,
            account: Account::new(limits.clone()),
            limits,
            outbox,
            given: VecDeque::new(),
            stopper,
            open: 0,
            stopping: None,
            says_goodbye: false,
        }
    }

    pub fn run(mut self, mut handler: impl FnMut(Request, Answerer<'_, M>)) -> Result<(), Error> {
        loop {
            self.take_answers();
            if self.stopper.stop.load(Ordering::SeqCst) && self.is_stopped() {
                return Ok(());
            }
            let left = self.stopping.map(|until| until.saturating_duration_since(Instant::now()));
            let timeout = if self.given.is_empty() { left } else { Some(Duration::ZERO) };
            let Some(event) = self.messages.poll(timeout)? else {
                continue;
            };
            match event {
                Event::Connected(connection) => self.connected(connection),
                Event::Message(connection, message) => {
                    if let Some((id, request)) = self.request(connection, message) {
                        handler(request, Answerer { server: &mut self, connection, id });
                    }
                }
                Event::Writable(connection) => self.drained(connection),
                Event::HalfClosed(connection) => self.finished(connection),
                Event::Closed(connection, reason) => self.closed(connection, &reason),
                Event::AcceptFailed(error) => {
                    if let Some(tell) = &mut self.hooks.accept_failed {
                        guarded(|| tell(error));
                    }
                }
                Event::Woken => {}
            }
        }
    }

    fn connected(&mut self, connection: ConnectionId) {
        let peer = self.messages.peer(connection).cloned().unwrap_or_default();
        let share = self.messages.share(connection);
        let share = share.unwrap_or_else(|| self.account.share(&peer));
        let origin = Arc::new(Origin { peer, gone: AtomicBool::new(false) });
        let caller = Caller {
            origin: origin.clone(),
            requests: Requests::default(),
            answers: Answers::new(share.clone()),
            charge: Charge::new(share),
            finished: false,
        };
        self.callers.insert(connection, Box::new(caller));
        if let Some(tell) = &mut self.hooks.connected {
            guarded(|| tell(connection, &origin.peer));
        }
        if self.says_goodbye {
            self.say_goodbye(connection);
        }
    }

    fn closed(&mut self, connection: ConnectionId, reason: &CloseReason) {
        let Some(caller) = self.callers.remove(&connection) else {
            return;
        };
        self.open -= caller.requests.len();
        caller.origin.gone.store(true, Ordering::SeqCst);
        if let Some(tell) = &mut self.hooks.closed {
            guarded(|| tell(connection, &caller.origin.peer, reason));
        }
    }

    /// A client has half-closed: once all its requests are answered it is closed.
    fn finished(&mut self, connection: ConnectionId) {
        if let Some(caller) = self.callers.get_mut(&connection) {
            caller.finished = true;
        }
        self.close_if_done(connection);
    }

    fn close_if_done(&mut self, connection: ConnectionId) {
        let caller = self.callers.get(&connection);
        if caller.is_some_and(|c| c.finished && c.requests.len() == 0 && c.answers.is_empty()) {
            self.messages.close(connection, Goodbye::new(GoodbyeCode::STOPPING, "all is answered"));
        }
    }

    /// Decodes a message's envelope. `None`: it is not a request, or it has been answered already, or its client
    /// cannot get a reply.
    fn request(&mut self, connection: ConnectionId, mut message: Bytes) -> Option<(u32, Request)> {
        if !self.messages.is_reachable(connection) {
            return None;
        }
        let envelope = match Envelope::decode(&mut message) {
            Ok(Envelope { kind: Kind::Request, id }) => Ok(id),
            Ok(Envelope { id, .. }) => {
                Err(format!("a reply to request {id}, which a server does not ask"))
            }
            Err(error) => Err(error.to_string()),
        };
        let id = match envelope {
            Ok(id) => id,
            Err(text) => {
                self.messages.close(connection, Goodbye::new(GoodbyeCode::PROTOCOL, text));
                return None;
            }
        };
        let caller = self.callers.get_mut(&connection)?;
        let begun = match caller.charge.share().room() {
            0 => Err(Refused::NoMemory),
            _ => caller.requests.begin(id, self.limits.in_flight),
        };
        match begun {
            Ok(()) => self.open += 1,
            Err(error @ Refused::Duplicate { .. }) => {
                let why = Goodbye::new(GoodbyeCode::PROTOCOL, error.to_string());
                self.messages.close(connection, why);
                return None;
            }
            Err(error @ (Refused::TooMany { .. } | Refused::NoMemory)) => {
                let refusal = ErrorReply::new(ErrorReply::TOO_MANY_REQUESTS, error.to_string());
                caller.answers.send(&mut self.messages, connection, id, Err(refusal));
                return None;
            }
        }
        let request = Request { body: message, connection, origin: caller.origin.clone() };
        if self.stopping.is_some() {
            let refusal = ErrorReply::new(ErrorReply::STOPPING, "the server stops");
            self.answer(connection, id, Err(refusal));
            return None;
        }
        Some((id, request))
    }

    /// Takes replies from other threads, up to the limit of a turn.
    fn take_answers(&mut self) {
        if self.outbox.has_some() {
            self.given.extend(self.outbox.take());
        }
        for _ in 0..ANSWERS_AT_ONCE {
            let Some((connection, id, answer)) = self.given.pop_front() else {
                return;
            };
            self.answer(connection, id, answer);
        }
    }

    /// Answers a request in flight. A request of a disconnected client is only closed.
    fn answer(&mut self, connection: ConnectionId, id: u32, answer: Answer) {
        let Some(caller) = self.callers.get_mut(&connection) else {
            return;
        };
        if let Some(held) = caller.requests.finish(id) {
            self.open -= 1;
            caller.charge.sub(held);
            caller.answers.send(&mut self.messages, connection, id, answer);
            if caller.finished {
                self.close_if_done(connection);
            }
        }
    }

    fn drained(&mut self, connection: ConnectionId) {
        let Some(caller) = self.callers.get_mut(&connection) else {
            return;
        };
        caller.answers.go_on(&mut self.messages, connection);
        let (finished, all_sent) = (caller.finished, caller.answers.is_empty());
        if finished {
            self.close_if_done(connection);
        }
        if self.says_goodbye && all_sent {
            self.say_goodbye(connection);
        }
    }

    fn say_goodbye(&mut self, connection: ConnectionId) {
        let why = Goodbye::new(GoodbyeCode::STOPPING, "the server stops");
        self.messages.close(connection, why);
    }

    /// Whether a stopped server has drained. The first call stops accepting clients and requests; once all
    /// requests are answered, it closes the connections.
    fn is_stopped(&mut self) -> bool {
        let now = Instant::now();
        let until = *self.stopping.get_or_insert_with(|| {
            self.messages.stop_accepting();
            now + self.limits.drain
        });
        let is_late = until <= now;
        if is_late || (self.open == 0 && !self.says_goodbye) {
            self.says_goodbye = true;
            let done = self.callers.iter().filter(|(_, it)| is_late || it.answers.is_empty());
            let done: Vec<ConnectionId> = done.map(|(&id, _)| id).collect();
            done.into_iter().for_each(|connection| self.say_goodbye(connection));
        }
        is_late || self.callers.is_empty()
    }
}
