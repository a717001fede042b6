//! The connections of one server, on any transport: which one is read next, what is sent, which one is
//! slow, which one has ended. No operating system and no clock: a backend provides the streams, reports
//! their readiness, and passes the time in.
//!
//! A backend drives it as follows: [`add`](Connections::add) each client, report readiness with
//! [`readable`](Connections::readable) and [`writable`](Connections::writable), then call
//! [`begin_turn`](Connections::begin_turn) and [`step`](Connections::step) until it is idle; then wait
//! for readiness until [`deadline`](Connections::deadline) at the latest, and not at all while it is
//! [busy](Connections::is_busy). Readiness is edge-triggered: reported once, it holds until a read
//! returns fewer bytes than fit, or a write would block.
#![forbid(unsafe_code)]

mod clock;
#[cfg(test)]
mod clock_tests;
mod connection;
#[cfg(test)]
mod memory_tests;
mod overtime;
mod reading;
#[cfg(test)]
mod scene;
mod sending;
mod stream;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod turn_tests;
mod waiting;
#[cfg(test)]
mod waiting_tests;

pub(crate) use overtime::is_over;
pub(crate) use stream::{FLUSH_MOST, ServerStream};

use crate::account::{Account, Share};
use crate::error::CloseReason;
use crate::framing::{Carrier, Framing, GoodbyeCode, Outbound, ReadBuffers};
use crate::goodbye::Goodbye;
use crate::ids::IdMap;
use crate::limits::Limits;
use crate::message_server::{ConnectionId, Event, Refusal, SendError};
use crate::peer::Peer;
use bytes::{Bytes, BytesMut};
use clock::Clock;
use connection::{Class, Connection, PeerClosed, Writing};
use reading::Turn;
use sending::FLUSHES_MIN;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;
use waiting::Waiting;

/// The outcome of a [`step`](Connections::step).
#[derive(Debug)]
pub(crate) enum Step {
    Event(Event),
    /// Something was done without an event; there may be more.
    More,
    /// The turn is over.
    Idle,
}

/// See the [module](self).
pub(crate) struct Connections<S> {
    framing: Arc<dyn Framing>,
    carrier: Carrier,
    limits: Limits,
    account: Account,
    /// Each in a box: a table has room for up to twice as many as are in it.
    table: IdMap<ConnectionId, Box<Connection<S>>>,
    /// What is to be returned next.
    events: VecDeque<Event>,
    /// The peers of ended connections, until their `Closed` event has been handled.
    closed_peers: IdMap<ConnectionId, Peer>,
    last_closed: Option<ConnectionId>,
    /// Connections with something to read, each once.
    ready: VecDeque<ConnectionId>,
    /// How many of them are read before the backend polls again: a client that always sends more must not
    /// delay connections with readiness that is not reported yet.
    turn: usize,
    /// The connection that has the turn: its bytes are being decoded.
    current: Option<Turn>,
    /// Connections with something queued since they were last flushed.
    unsent: VecDeque<ConnectionId>,
    /// How many of them may be flushed before the backend polls again.
    flushes: usize,
    /// The bytes that were sent in this turn.
    flushed: usize,
    turn_number: u32,
    /// Connections that wait for memory.
    waiting: Waiting,
    /// The deadlines of the connections.
    clock: Clock,
    /// When the backend last reported all readiness. Deadlines before that have really passed. Events after
    /// it, while the application was busy, have not been polled yet.
    polled_at: Option<Instant>,
    /// The read buffers, shared by all connections without an incomplete message.
    buffers: ReadBuffers,
    /// Memory for the next small messages to be sent, lent to a queue until all of it has left.
    send_memory: BytesMut,
    /// Goes on with peers that have closed their sending direction.
    half_close: bool,
}

impl<S: ServerStream> Connections<S> {
    pub fn new(framing: Arc<dyn Framing>, limits: &Limits) -> Connections<S> {
        let mut limits = limits.clone();
        if framing.limit() != usize::MAX {
            limits.message = framing.limit();
        }
        let limits = limits.clamped();
        Connections {
            carrier: framing.carrier(),
            framing,
            account: Account::new(limits.clone()),
            limits,
            table: IdMap::default(),
            events: VecDeque::new(),
            closed_peers: IdMap::default(),
            last_closed: None,
            ready: VecDeque::new(),
            turn: 0,
            current: None,
            unsent: VecDeque::new(),
            flushes: FLUSHES_MIN,
            flushed: 0,
            turn_number: 1,
            waiting: Waiting::default(),
            clock: Clock::new(),
            polled_at: None,
            buffers: ReadBuffers::default(),
            send_memory: BytesMut::new(),
            half_close: false,
        }
    }

    /// Sets whether a half-close leaves the connection open; see
    /// [`half_close`](crate::ServerOptions::half_close).
    pub fn with_half_close(mut self, half_close: bool) -> Connections<S> {
        self.half_close = half_close;
        self
    }

    /// A client has connected. `readable`: it may have sent bytes already. A client over the limit of
    /// connections gets a goodbye and is closed.
    pub fn add(&mut self, id: ConnectionId, stream: S, peer: Peer, readable: bool, now: Instant) {
        let place = match self.account.place(&peer) {
            Ok(place) => place,
            Err(why) => {
                return self.refuse(stream, &Goodbye::new(GoodbyeCode::BUSY, why.to_string()));
            }
        };
        let connection = Connection::new(stream, peer, place, &*self.framing, now);
        self.table.insert(id, Box::new(connection));
        self.update_deadline(id);
        self.events.push_back(Event::Connected(id));
        self.flush_later(id); // the preface
        if readable {
            self.readable(id, false);
        }
    }

    /// Refuses a client: sends the goodbye, if the framing has one and it can be sent at once, and closes.
    pub fn refuse(&self, mut stream: S, why: &Goodbye) {
        let mut outbound = Outbound::new(&*self.framing);
        outbound.goodbye(why.code, &why.text);
        if !outbound.queue.is_empty() {
            // Errors are ignored: the client is closed in any case.
            let _ = stream.write(&mut outbound.queue);
        }
    }

    /// Bytes may have arrived; `ended`: no more will follow.
    pub fn readable(&mut self, id: ConnectionId, ended: bool) {
        if let Some(connection) = self.table.get_mut(&id) {
            if ended {
                connection.peer_closed = connection.peer_closed.max(PeerClosed::Sending);
            }
            if !connection.in_ready {
                connection.in_ready = true;
                self.ready.push_back(id);
            }
        }
    }

    /// More can be sent now.
    pub fn writable(&mut self, id: ConnectionId) {
        let Some(connection) = self.table.get_mut(&id) else {
            return;
        };
        connection.stream.writable();
        if connection.is_blocked() {
            self.flush_later(id);
        }
    }

    /// Queues an event that does not belong to a connection.
    pub fn push_event(&mut self, event: Event) {
        self.events.push_back(event);
    }

    /// All readiness of `now` has been reported: each ready connection gets a turn.
    pub fn begin_turn(&mut self, now: Instant) {
        self.polled_at = Some(now);
        self.begin_turn_of_some(now);
    }

    /// As [`begin_turn`](Connections::begin_turn), with a part of the readiness: what is missing may be what a deadline
    /// waits for.
    pub fn begin_turn_of_some(&mut self, now: Instant) {
        self.turn = self.ready.len();
        self.flushes = self.table.len().max(FLUSHES_MIN);
        self.flushed = 0;
        self.turn_number = self.turn_number.wrapping_add(1);
        self.waiting.begin_turn(now);
    }

    /// Whether there is something to do in the next turn without any new readiness.
    pub fn is_busy(&self) -> bool {
        !self.ready.is_empty() || !self.unsent.is_empty() || self.waiting.is_busy(&self.account)
    }

    /// Does one thing: returns an event, reads, decodes or sends for one connection, or checks the
    /// deadlines. The application's time passes between two steps, so each step gets a new `now`.
    pub fn step(&mut self, now: Instant) -> Step {
        if let Some(id) = self.last_closed.take() {
            self.closed_peers.remove(&id);
        }
        if let Some(event) = self.events.pop_front() {
            if let Event::Closed(id, _) = event {
                self.last_closed = Some(id);
            }
            return Step::Event(event);
        }
        if self.current.is_some() {
            if let Some(event) = self.next_message(now) {
                return Step::Event(event);
            }
        } else if let Some(id) = self.next_ready() {
            self.read(id, now);
        } else if let Some(id) = self.next_unsent() {
            self.flush(id, now);
        } else if self.waiting.has_freed_memory(&self.account) {
            self.resume();
        } else if let Some(polled_at) = self.polled_at.filter(|at| self.is_due(*at)) {
            self.handle_deadlines(polled_at);
            self.close_stalled(polled_at);
        } else {
            return Step::Idle;
        }
        Step::More
    }

    /// Steps until there is an event. `None`: the turn is over.
    pub fn next(&mut self, now: Instant) -> Option<Event> {
        loop {
            match self.step(now) {
                Step::Event(event) => return Some(event),
                Step::More => {}
                Step::Idle => return None,
            }
        }
    }

    fn next_ready(&mut self) -> Option<ConnectionId> {
        self.turn = self.turn.checked_sub(1)?;
        self.ready.pop_front()
    }

    fn is_due(&self, now: Instant) -> bool {
        self.deadline().is_some_and(|at| at <= now)
    }

    /// The time at which [`step`](Connections::step) has something to do without any readiness.
    pub fn deadline(&self) -> Option<Instant> {
        let ring = self.clock.first().map(|(at, _)| *at);
        self.waiting.check_at().into_iter().chain(ring).min()
    }

    /// The number of connections, closing ones included.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Drops all connections and their queues, at the end of the server.
    pub fn clear(&mut self) {
        for connection in self.table.values_mut() {
            if !connection.stream.is_sent() {
                connection.stream.abort();
            }
        }
        self.table.clear();
    }

    /// Whether the connection exists.
    pub fn contains(&self, id: ConnectionId) -> bool {
        self.table.contains_key(&id)
    }

    /// The peer; also of a connection that has just ended, until the next step.
    pub fn peer(&self, id: ConnectionId) -> Option<&Peer> {
        let connected = self.table.get(&id).map(|connection| &connection.peer);
        connected.or_else(|| self.closed_peers.get(&id))
    }

    /// The share that the connection's memory is charged to.
    pub fn share(&self, id: ConnectionId) -> Option<Share> {
        self.table.get(&id).map(|connection| connection.held.share().clone())
    }

    /// Whether a message can still arrive at the peer.
    pub fn is_reachable(&self, id: ConnectionId) -> bool {
        self.table.get(&id).is_some_and(|connection| connection.is_reachable())
    }

    /// See [`MessageServer::send_with_head`](crate::MessageServer::send_with_head).
    pub fn send(&mut self, id: ConnectionId, head: &[u8], body: Bytes) -> Result<(), SendError> {
        let Some(connection) = self.table.get_mut(&id).filter(|c| c.takes_messages()) else {
            return Err(SendError::new(id, Refusal::Closed, body));
        };
        let (queued, limit) = (connection.outbound.queue.len(), self.limits.queued);
        if queued >= limit {
            self.waiting.wait_for_queue(connection, Writing::Full);
            return Err(SendError::new(id, Refusal::Full { queued, limit }, body));
        }
        if connection.held.share().room() == 0 && !connection.keeps_going {
            let refusal = Refusal::Memory { held: self.account.held() };
            self.waiting.add(id, connection, Class::Sending);
            return Err(SendError::new(id, refusal, body));
        }
        if queued == 0 {
            connection.outbound.queue.lend(&mut self.send_memory);
        }
        let peer_limit = connection.inbound.peer_limit().unwrap_or(usize::MAX);
        let peer_limit = Some(peer_limit.min(connection.stream.largest_message()));
        if let Err(error) = connection.outbound.encode(head, body.clone(), peer_limit) {
            connection.outbound.queue.take_back(&mut self.send_memory);
            return Err(SendError::new(id, error.into(), body));
        }
        connection.sent = true;
        // A small message is sent before anything else is done, and need not be charged.
        if connection.outbound.queue.len() > connection::LARGE {
            connection.settle();
        }
        if queued == 0 {
            self.flush_later(id);
        }
        Ok(())
    }

    /// See [`MessageServer::has_room`](crate::MessageServer::has_room).
    pub fn has_room(&mut self, id: ConnectionId) -> bool {
        let Some(connection) = self.table.get_mut(&id).filter(|c| c.takes_messages()) else {
            return true; // `send` says what is wrong
        };
        if connection.outbound.queue.len() <= self.limits.schedule_queue(connection.has_small) {
            return true;
        }
        self.waiting.wait_for_queue(connection, Writing::WaitsForRoom);
        false
    }

    /// See [`MessageServer::largest_message`](crate::MessageServer::largest_message).
    pub fn largest_message(&self, id: ConnectionId) -> usize {
        let of = |connection: &Connection<S>| {
            let peer = connection.inbound.peer_limit().unwrap_or(usize::MAX);
            peer.min(connection.stream.largest_message())
        };
        self.table.get(&id).map_or(usize::MAX, |it| of(it)).min(self.framing.limit())
    }

    /// See [`MessageServer::close`](crate::MessageServer::close).
    pub fn close(&mut self, id: ConnectionId, why: &Goodbye, now: Instant) {
        let Some(connection) = self.table.get_mut(&id).filter(|c| c.closing.is_none()) else {
            return;
        };
        connection.outbound.goodbye(why.code, &why.text);
        self.begin_close(id, CloseReason::Local, now);
    }

    /// See [`MessageServer::abort`](crate::MessageServer::abort).
    pub fn abort(&mut self, id: ConnectionId) {
        self.abort_with(id, CloseReason::Local);
    }
}
