//! The loop of a server: requests to the handler, replies to the clients.

mod handling;
mod stopping;
mod timed;

pub(super) use handling::Answerer;

use super::caller::Caller;
use super::flow::Flow;
use super::responder::{Answer, Given, Origin, Outbox, Request};
use super::rooms::Rooms;
use super::{Hooks, Server, Stopper};
use crate::account::Account;
use crate::error::{CloseReason, Error, ErrorReply};
use crate::exchange::{self, BriefEvent, Config};
use crate::framing::GoodbyeCode;
use crate::goodbye::Goodbye;
use crate::ids::IdMap;
use crate::limits::Limits;
use crate::message_server::{ConnectionId, Event, MessageServer};
use bytes::Bytes;
use handling::guarded;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The most replies from other threads that are taken before the next poll.
const ANSWERS_AT_ONCE: usize = 64;

/// A running server.
pub(super) struct Answering<M> {
    pub(super) messages: M,
    /// Each in a box: a table has room for up to twice as many as are in it.
    pub(super) callers: IdMap<ConnectionId, Box<Caller>>,
    pub(super) hooks: Hooks,
    limits: Limits,
    config: Arc<Config>,
    outbox: Arc<Outbox>,
    /// Replies from other threads that have not been sent yet.
    given: VecDeque<(ConnectionId, u32, Given)>,
    stopper: Stopper,
    /// The account, for a `MessageServer` without one.
    account: Account,
    /// The number of requests of all clients that have not been answered, or not wholly.
    open: usize,
    /// Large messages that wait for memory.
    rooms: Rooms,
    /// No deadline of a request or of a message is before this.
    check_at: Option<Instant>,
    /// The time of the last check.
    checked: Option<Instant>,
    /// Clients may owe pieces of messages.
    expects_pieces: bool,
    /// Clients with parts of replies that wait for memory, and when that was last tried.
    hungry: BTreeSet<ConnectionId>,
    fed: Option<Instant>,
    /// The deadline of the drain, once the server was stopped.
    stopping: Option<Instant>,
    /// All requests have been answered: connections are closed once their queues are sent.
    says_goodbye: bool,
}

/// The pause between two looks for memory for parts of replies: it can become free without an event.
const FEED_PAUSE: Duration = Duration::from_millis(20);

impl<M> Drop for Answering<M> {
    /// Whatever ended the loop, nobody waits for it.
    fn drop(&mut self) {
        for caller in self.callers.values() {
            caller.origin.gone.store(true, Ordering::SeqCst);
        }
        self.given.drain(..).for_each(|(_, _, given)| given.discard());
        self.outbox.end();
    }
}

/// A request for the handler.
struct Begun {
    id: u32,
    request: Request,
    /// The client's message has caused nothing else.
    is_last: bool,
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
            config: Arc::new(limits.of_calls()),
            limits,
            outbox,
            given: VecDeque::new(),
            stopper,
            open: 0,
            rooms: Rooms::default(),
            check_at: None,
            checked: None,
            expects_pieces: false,
            hungry: BTreeSet::new(),
            fed: None,
            stopping: None,
            says_goodbye: false,
        }
    }

    pub fn run(mut self, mut handler: impl FnMut(Request, Answerer<'_, M>)) -> Result<(), Error> {
        self.outbox.is_run_here();
        loop {
            self.take_answers();
            self.feed_hungry();
            if self.stopper.stop.load(Ordering::SeqCst) && self.is_stopped() {
                return Ok(());
            }
            let timeout = self.timeout();
            let Some(event) = self.messages.poll(timeout)? else {
                continue;
            };
            match event {
                Event::Connected(connection) => self.connected(connection),
                Event::Message(connection, message) => {
                    let mut next = self.received(connection, message);
                    while let Some(Begun { id, request, is_last }) = next {
                        handler(request, Answerer { server: &mut self, connection, id });
                        next = if is_last { None } else { self.next_request(connection) };
                    }
                }
                Event::Writable(connection) => self.writable(connection),
                // Once all its requests are answered it is closed.
                Event::HalfClosed(it) => self.tend(it, |caller, _| caller.finished = true),
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
        let origin = Arc::new(Origin { peer, share: share.clone(), gone: AtomicBool::new(false) });
        let mut caller = Caller::new(origin.clone(), self.config.clone(), share);
        if self.stopping.is_some() {
            caller.machine.drain();
        }
        caller.pump(&mut self.messages, connection);
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
        self.open -= caller.machine.peer_open();
        self.rooms.remove(connection, &caller);
        let reason = caller.why.as_deref().unwrap_or(reason);
        caller.origin.gone.store(true, Ordering::SeqCst);
        if let Some(tell) = &mut self.hooks.closed {
            guarded(|| tell(connection, &caller.origin.peer, reason));
        }
        self.admit();
    }

    /// A message has arrived. The first request that came of it.
    fn received(&mut self, connection: ConnectionId, mut message: Bytes) -> Option<Begun> {
        if !self.messages.is_reachable(connection) {
            return None;
        }
        let caller = self.callers.get_mut(&connection)?;
        caller.machine.set_full(caller.share().room() == 0);
        let time = || self.messages.event_time();
        match caller.machine.receive_brief(&mut message, time) {
            Ok(BriefEvent::Request { id, method, deadline, charge }) => {
                self.open += 1;
                self.check_at = self.check_at.into_iter().chain(deadline).min();
                let request = caller.request(connection, message, charge);
                let request = Request { method, deadline, ..request };
                let is_last = !caller.machine.has_unsent() && !caller.machine.has_events();
                Some(Begun { id, request, is_last })
            }
            Ok(_) => self.received_other(connection, message),
            Err(violation) => {
                self.close_with(connection, violation.into());
                None
            }
        }
    }

    /// A message has arrived that is no request of a brief call.
    fn received_other(&mut self, connection: ConnectionId, message: Bytes) -> Option<Begun> {
        let caller = self.callers.get_mut(&connection)?;
        let (open, partials) = (caller.machine.peer_open(), caller.machine.partials());
        let bytes = caller.machine.piece_bytes();
        let received = caller.machine.receive(Instant::now(), message);
        self.open = self.open + caller.machine.peer_open() - open;
        if let Err(violation) = received {
            self.close_with(connection, violation.into());
            return None;
        }
        if caller.machine.is_flooded() {
            let text = "you do not read, and too much is to be answered";
            self.messages.close(connection, Goodbye::new(GoodbyeCode::UNREAD, text));
            return None;
        }
        let left = caller.machine.partials();
        let has_piece = left > 0 && caller.machine.piece_bytes() != bytes;
        if left != partials || has_piece {
            self.arriving(connection, left < partials);
        }
        self.next_request(connection)
    }

    /// Closes a client for this reason.
    fn close_with(&mut self, connection: ConnectionId, reason: CloseReason) {
        let why = reason.goodbye().unwrap_or(Goodbye::new(GoodbyeCode::PROTOCOL, ""));
        if let Some(caller) = self.callers.get_mut(&connection) {
            caller.why.get_or_insert(reason.into());
        }
        self.messages.close(connection, why);
    }

    /// The next request of a client. Without one, sends what came of the events before.
    fn next_request(&mut self, connection: ConnectionId) -> Option<Begun> {
        loop {
            let caller = self.callers.get_mut(&connection)?;
            let Some(event) = caller.machine.next_event() else {
                if caller.machine.has_unsent() {
                    self.tend(connection, |_, _| {});
                }
                return None;
            };
            if let Some(request) = self.happened(connection, event) {
                return Some(request);
            }
        }
    }

    /// Handles an event. Returns a request for the handler.
    fn happened(&mut self, connection: ConnectionId, event: exchange::Event) -> Option<Begun> {
        let caller = self.callers.get_mut(&connection)?;
        match event {
            exchange::Event::Settings => {
                let largest = self.messages.largest_message(connection);
                caller.machine.set_largest_frame(largest);
            }
            exchange::Event::Request { id, method, metadata, message, last, deadline } => {
                self.check_at = self.check_at.into_iter().chain(deadline).min();
                if let Some((body, charge)) = message.filter(|_| last) {
                    let request = caller.request(connection, body, charge);
                    let metadata = (!metadata.is_empty()).then(|| metadata.into());
                    let request = Request { method, deadline, metadata, ..request };
                    return Some(Begun { id, request, is_last: false });
                }
                let text = "this server takes requests of one message";
                self.answer(connection, id, Err(ErrorReply::new(ErrorReply::FAILED, text).into()));
            }
            exchange::Event::Announced { id, size } => {
                caller.announce(id, size);
                self.rooms.wait(connection, caller);
                self.admit();
            }
            exchange::Event::Cancelled { id, .. } | exchange::Event::Stopped { id } => {
                if let Some(request) = caller.machine.owner(id) {
                    request.cancel();
                }
            }
            // This server calls nobody, and has no use for what belongs to no call.
            exchange::Event::Notification { arrived } => {
                caller.machine.taken(exchange::Side::Client.lane(), arrived.charge);
                caller.machine.give_back(arrived.charge);
            }
            exchange::Event::Message { id, arrived } => {
                caller.machine.taken(id, arrived.charge);
                caller.machine.give_back(arrived.charge);
            }
            _ => {}
        }
        None
    }

    /// Takes replies from other threads, up to the limit of a turn.
    fn take_answers(&mut self) {
        if self.outbox.has_some() {
            self.given.extend(self.outbox.take());
        }
        for _ in 0..ANSWERS_AT_ONCE {
            let Some((connection, id, given)) = self.given.pop_front() else {
                return;
            };
            match given {
                Given::Answer(answer) => self.answer(connection, id, answer),
                Given::Parts(flow) => self.takes_parts(connection, id, flow),
            }
        }
    }

    /// Tries again for the clients with parts that wait for memory.
    fn feed_hungry(&mut self) {
        if self.hungry.is_empty() || self.fed.is_some_and(|at| at.elapsed() < FEED_PAUSE) {
            return;
        }
        self.fed = Some(Instant::now());
        for connection in std::mem::take(&mut self.hungry) {
            self.tend(connection, |_, _| {});
        }
    }

    /// Parts of a reply have been given by another thread.
    fn takes_parts(&mut self, connection: ConnectionId, id: u32, flow: Arc<Flow>) {
        if !self.callers.contains_key(&connection) {
            return flow.close();
        }
        self.tend(connection, |caller, _| caller.takes_parts(id, flow));
        self.admit();
    }

    /// Answers a request in flight. A request of a disconnected client is only closed.
    fn answer(&mut self, connection: ConnectionId, id: u32, answer: Answer) {
        self.tend(connection, |caller, messages| caller.answer(messages, connection, id, answer));
        self.admit();
    }

    /// Changes a client's state, sends what comes of it, and charges what is held for it then.
    fn tend(&mut self, connection: ConnectionId, change: impl FnOnce(&mut Caller, &mut M)) {
        let Some(caller) = self.callers.get_mut(&connection) else {
            return;
        };
        let before = caller.machine.peer_open();
        change(caller, &mut self.messages);
        caller.keep_going(&mut self.messages, connection);
        caller.pump(&mut self.messages, connection);
        while caller.is_unfed() && caller.feed_all() {
            caller.pump(&mut self.messages, connection);
        }
        if caller.is_hungry() {
            self.hungry.insert(connection);
            self.fed.get_or_insert_with(Instant::now);
        }
        caller.settle();
        caller.keep_going(&mut self.messages, connection);
        caller.allow_unread(&mut self.messages, connection);
        self.open = self.open + caller.machine.peer_open() - before;
        if caller.finished && caller.machine.peer_open() == 0 && caller.is_idle() {
            self.messages.close(connection, Goodbye::new(GoodbyeCode::STOPPING, "all is answered"));
        }
    }

    /// A client takes more.
    fn writable(&mut self, connection: ConnectionId) {
        self.tend(connection, |caller, _| caller.unblock());
        self.admit();
        if self.says_goodbye && self.callers.get(&connection).is_some_and(|it| it.is_idle()) {
            self.say_goodbye(connection);
        }
    }

    fn say_goodbye(&mut self, connection: ConnectionId) {
        let why = Goodbye::new(GoodbyeCode::STOPPING, "the server stops");
        self.messages.close(connection, why);
    }
}
