//! The loop of a server: requests to the handler, replies to the clients.

mod arriving;
mod given;
mod handling;
mod info;
mod own;
mod stopping;
mod timed;

pub(super) use handling::Answerer;

use super::caller::Caller;
use super::connection::{Connection, Origin};
use super::hooks::Hooks;
use super::outbox::{Given, Outbox};
use super::responder::Request;
use super::rooms::Rooms;
use super::topic::{Topic, WhenFull};
use super::{Connections, Server, Stopper};
use crate::account::Account;
use crate::clock;
use crate::error::{CloseReason, Error};
use crate::exchange::Config;
use crate::framing::GoodbyeCode;
use crate::goodbye::Goodbye;
use crate::ids::IdMap;
use crate::limits::Limits;
use crate::message_server::{ConnectionId, Event, MessageServer};
use crate::monitor;
use crate::trace;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// A running server.
pub(super) struct Answering<M> {
    pub(super) messages: M,
    /// Each in a box: a table has room for up to twice as many as are in it.
    pub(super) callers: IdMap<ConnectionId, Box<Caller>>,
    pub(super) hooks: Hooks,
    connections: Connections,
    limits: Limits,
    config: Arc<Config>,
    pub(super) outbox: Arc<Outbox>,
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
    /// The handler takes requests of any number of parts.
    takes_streams: bool,
    /// Calls to clients may be open.
    has_calls: bool,
    /// Clients may owe pieces of messages.
    expects_pieces: bool,
    /// The deadline of the drain, once the server was stopped.
    stopping: Option<Instant>,
    /// All requests have been answered: connections are closed once their queues are sent.
    says_goodbye: bool,
    /// Those who look on.
    lookers_on: Topic,
    /// When it began to serve.
    started: Instant,
}

impl<M> Drop for Answering<M> {
    /// Whatever ended the loop, nobody waits for it.
    fn drop(&mut self) {
        self.connections.clear();
        for caller in self.callers.values_mut() {
            caller.end(&CloseReason::Local);
            self.outbox.tally.disconnected.add(1);
        }
        self.given.drain(..).for_each(|(_, _, given)| given.discard());
        self.outbox.end();
    }
}

/// What a turn of the loop has done.
pub(super) enum Turn {
    /// An event, or more than one.
    Busy,
    /// Nothing.
    Quiet,
    /// The server has ended.
    Over,
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
        let Server { messages, limits, outbox, connections, hooks, .. } = server;
        Answering {
            messages,
            callers: IdMap::default(),
            hooks,
            connections,
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
            takes_streams: false,
            has_calls: false,
            expects_pieces: false,
            stopping: None,
            says_goodbye: false,
            lookers_on: Topic::new(WhenFull::DropNewest),
            started: clock::now(),
        }
    }

    /// The handler takes requests of any number of parts, if `takes` says so.
    pub fn with_streams(mut self, takes: bool) -> Answering<M> {
        self.takes_streams = takes;
        self
    }

    pub fn run(self, mut handler: impl FnMut(Request, Answerer<'_, M>)) -> Result<(), Error> {
        let outbox = self.outbox.clone();
        let _here = outbox.run_here();
        // Dropped before that.
        let mut answering = self;
        while !matches!(answering.turn(None, &mut handler)?, Turn::Over) {}
        Ok(())
    }

    /// Handles one event, which it waits for, at most for `most`.
    pub fn turn(
        &mut self,
        most: Option<Duration>,
        handler: &mut impl FnMut(Request, Answerer<'_, M>),
    ) -> Result<Turn, Error> {
        self.take_given();
        if self.messages.is_over() && self.callers.is_empty() {
            // As if it had been stopped: threads that wait for its drain are told.
            self.stopper.stop.store(true, Ordering::SeqCst);
        }
        if self.stopper.stop.load(Ordering::SeqCst) && self.is_stopped() {
            self.close_rest();
            return Ok(Turn::Over);
        }
        let Some(event) = self.next_event(most)? else {
            return Ok(Turn::Quiet);
        };
        match event {
            Event::Connected(connection) => self.connected(connection),
            Event::Message(connection, message) => {
                let mut next = self.received(connection, message);
                while let Some(Begun { id, mut request, is_last }) = next {
                    let span = request.begin_span();
                    let answer = Answerer { server: self, connection, id, span };
                    match monitor::is_reserved(request.method) {
                        true => own::answer(request, answer),
                        false => handler(request, answer),
                    }
                    next = if is_last { None } else { self.next_request(connection) };
                }
            }
            Event::Writable(connection) => self.writable(connection),
            // Once all its requests are answered it is closed.
            Event::HalfClosed(it) => self.tend(it, |caller, _| caller.finished = true),
            Event::Closed(connection, reason) => self.closed(connection, &reason),
            Event::AcceptFailed(error) => self.hooks.accept_failed(error),
            Event::Woken => {}
        }
        Ok(Turn::Busy)
    }

    /// The next event, which it waits for, at most for `most`, unless something is to be done before.
    fn next_event(&mut self, most: Option<Duration>) -> Result<Option<Event>, Error> {
        let wait = self.timeout().into_iter().chain(most).min();
        self.outbox.waits(true);
        // This thread was not woken for what it gave itself, until now.
        let wait = if self.outbox.has_some() { Some(Duration::ZERO) } else { wait };
        let event = self.messages.poll(wait);
        self.outbox.waits(false);
        event
    }

    fn connected(&mut self, connection: ConnectionId) {
        let peer = self.messages.peer(connection).cloned().unwrap_or_default();
        let share = self.messages.share(connection);
        let share = share.unwrap_or_else(|| self.account.share(&peer));
        self.outbox.tally.connected.add(1);
        self.outbox.tally.set_share(&share);
        let origin = Origin::new(connection, peer, share.clone(), self.outbox.clone());
        let origin = Arc::new(origin);
        self.connections.add(&origin);
        self.outbox.tap.change(connection, true, &origin.peer);
        trace::connected(self.messages.endpoint(), connection, &origin.peer);
        let mut caller = Caller::new(origin.clone(), self.config.clone(), share);
        if self.stopping.is_some() {
            caller.machine.drain();
        }
        caller.pump(&mut self.messages, connection);
        self.callers.insert(connection, Box::new(caller));
        self.hooks.connected(&Connection::new(origin));
        if self.says_goodbye {
            self.say_goodbye(connection);
        }
    }

    pub(super) fn closed(&mut self, connection: ConnectionId, reason: &CloseReason) {
        let Some(mut caller) = self.callers.remove(&connection) else {
            return;
        };
        self.open -= caller.machine.peer_open();
        self.rooms.remove(connection, &caller);
        let why = caller.why.take();
        let reason = why.as_deref().unwrap_or(reason);
        caller.end(reason);
        // After its requests: who sees that it has gone sees how they have ended.
        self.outbox.tally.disconnected.add(1);
        self.connections.remove(connection);
        self.outbox.tap.change(connection, false, reason);
        trace::closed(self.messages.endpoint(), connection, reason);
        self.hooks.closed(&Connection::new(caller.origin.clone()), reason);
        self.admit();
    }

    /// Closes a client for this reason.
    pub(super) fn close_with(&mut self, connection: ConnectionId, reason: CloseReason) {
        let why = reason.goodbye().unwrap_or(Goodbye::new(GoodbyeCode::PROTOCOL, ""));
        if let Some(caller) = self.callers.get_mut(&connection) {
            caller.why.get_or_insert(reason.into());
        }
        self.messages.close(connection, why);
    }

    /// Changes a client's state, sends what comes of it, and charges what is held for it then.
    pub(super) fn tend(
        &mut self,
        connection: ConnectionId,
        change: impl FnOnce(&mut Caller, &mut M),
    ) {
        let Some(caller) = self.callers.get_mut(&connection) else {
            return;
        };
        let before = caller.machine.peer_open();
        self.outbox.tally.refused.add(caller.machine.take_refused());
        change(caller, &mut self.messages);
        caller.keep_going(&mut self.messages, connection);
        caller.pump(&mut self.messages, connection);
        while caller.is_unfed() && caller.feed_all() {
            caller.pump(&mut self.messages, connection);
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
}
