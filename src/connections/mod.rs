//! The connections of one server, whatever carries them: who is to be read, what is to be sent,
//! who is slow, who has ended. No operating system and no clock: a backend brings the streams, says
//! which of them are ready, and passes the time in.
//!
//! A backend drives it so: [`add`](Connections::add) each client, report readiness with
//! [`readable`](Connections::readable) and [`writable`](Connections::writable), then
//! [`begin_turn`](Connections::begin_turn) and [`step`](Connections::step) until it is idle; then wait
//! for readiness until [`deadline`](Connections::deadline) at the latest, and not at all while it is
//! [busy](Connections::is_busy). Readiness is edge-triggered: told once, it counts until a read has
//! come up short or a write would block.
#![forbid(unsafe_code)]

mod clock;
#[cfg(test)]
mod clock_tests;
mod connection;
#[cfg(test)]
mod memory_tests;
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
use connection::{Class, Connection};
use reading::Turn;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;
use waiting::Waiting;

/// How many flushes there may be in a turn at least. Else as many as there are connections: an
/// application that sends more whenever something has left must not keep the backend from looking.
const FLUSHES_LEAST: usize = 16;

/// What came of a [`step`](Connections::step).
#[derive(Debug)]
pub(crate) enum Step {
    Event(Event),
    /// Something was done, of which there is nothing to tell; there may be more.
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
    /// Who has ended, until the event that says so has been handled.
    departed: IdMap<ConnectionId, Peer>,
    last_closed: Option<ConnectionId>,
    /// Connections with something to read, each once.
    ready: VecDeque<ConnectionId>,
    /// How many of them are read before the backend looks for others again: a client that always
    /// has more must not keep those waiting whose readiness is not known yet.
    turn: usize,
    /// The connection whose bytes are being cut into messages.
    current: Option<Turn>,
    /// Connections with something queued since they were last flushed.
    unsent: VecDeque<ConnectionId>,
    /// How many of them may be flushed before the backend looks for readiness again.
    flushes: usize,
    /// Connections that wait for memory.
    waiting: Waiting,
    /// When to look for those that take too long.
    clock: Clock,
    /// When the backend last reported all readiness. Whose time was over by then had it; what happened
    /// since, while the application was busy, nobody has looked at yet.
    looked: Option<Instant>,
    /// What is read into, shared by all whose messages are complete.
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
            departed: IdMap::default(),
            last_closed: None,
            ready: VecDeque::new(),
            turn: 0,
            current: None,
            unsent: VecDeque::new(),
            flushes: FLUSHES_LEAST,
            waiting: Waiting::default(),
            clock: Clock::new(),
            looked: None,
            buffers: ReadBuffers::default(),
            send_memory: BytesMut::new(),
            half_close: false,
        }
    }

    /// Goes on with peers that close their sending direction, as
    /// [`half_close`](crate::ServerOptions::half_close) says.
    pub fn with_half_close(mut self, half_close: bool) -> Connections<S> {
        self.half_close = half_close;
        self
    }

    /// A client has connected. `readable`: it may have sent something already. One for whom there is no
    /// place is told so and goes.
    pub fn add(&mut self, id: ConnectionId, stream: S, peer: Peer, readable: bool, now: Instant) {
        let place = match self.account.place(&peer) {
            Ok(place) => place,
            Err(why) => {
                return self.turn_away(stream, &Goodbye::new(GoodbyeCode::BUSY, why.to_string()));
            }
        };
        let connection = Connection::new(stream, peer, place, &*self.framing, now);
        self.table.insert(id, Box::new(connection));
        self.watch(id);
        self.events.push_back(Event::Connected(id));
        self.unsent.push_back(id); // what the framing begins with
        if readable {
            self.readable(id, false);
        }
    }

    /// A client that may not come in is told so, where the framing has words for it and it can be told
    /// at once, and goes.
    pub fn turn_away(&self, mut stream: S, why: &Goodbye) {
        let mut outbound = Outbound::new(&*self.framing);
        outbound.goodbye(why.code, &why.text);
        if !outbound.queue.is_empty() {
            // A client that has gone already, or takes nothing, is turned away all the same.
            let _ = stream.write(&mut outbound.queue);
        }
    }

    /// Something may be there to be read; `ended`: that is all there will ever be.
    pub fn readable(&mut self, id: ConnectionId, ended: bool) {
        if let Some(connection) = self.table.get_mut(&id) {
            connection.ended |= ended;
            if !connection.in_ready {
                connection.in_ready = true;
                self.ready.push_back(id);
            }
        }
    }

    /// More may be sent now.
    pub fn writable(&mut self, id: ConnectionId) {
        let Some(connection) = self.table.get_mut(&id) else {
            return;
        };
        connection.stream.writable();
        if connection.blocked {
            self.unsent.push_back(id);
        }
    }

    /// The peer has closed both directions. What it sent can still be read.
    pub fn hung_up(&mut self, id: ConnectionId) {
        if let Some(connection) = self.table.get_mut(&id) {
            connection.hung_up = true;
            if connection.finished {
                self.readable(id, true);
            }
        }
    }

    /// Puts in an event that is not of any connection.
    pub fn push_event(&mut self, event: Event) {
        self.events.push_back(event);
    }

    /// All readiness that there is `now` has been reported: each ready connection has its turn.
    pub fn begin_turn(&mut self, now: Instant) {
        self.turn = self.ready.len();
        self.looked = Some(now);
        self.flushes = self.table.len().max(FLUSHES_LEAST);
        self.waiting.begin_turn(now);
    }

    /// Whether there is something to do in the next turn, whatever the backend has to report.
    pub fn is_busy(&self) -> bool {
        !self.ready.is_empty() || !self.unsent.is_empty() || self.waiting.is_busy(&self.account)
    }

    /// Does one thing: returns an event, reads or cuts or sends for one connection, or looks at the
    /// clock. The application's time passes between two steps, so `now` is asked for each.
    pub fn step(&mut self, now: Instant) -> Step {
        if let Some(id) = self.last_closed.take() {
            self.departed.remove(&id);
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
        } else if self.waiting.may_go_on(&self.account) {
            self.go_on();
        } else if let Some(looked) = self.looked.filter(|at| self.is_due(*at)) {
            self.ring(looked);
            self.relieve(looked);
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

    fn next_unsent(&mut self) -> Option<ConnectionId> {
        self.flushes = self.flushes.checked_sub(1)?;
        self.unsent.pop_front()
    }

    fn is_due(&self, now: Instant) -> bool {
        self.deadline().is_some_and(|at| at <= now)
    }

    /// When [`step`](Connections::step) has something to do without any readiness, in a new turn.
    pub fn deadline(&self) -> Option<Instant> {
        let ring = self.clock.first().map(|(at, _)| *at);
        self.waiting.look_at().into_iter().chain(ring).min()
    }

    /// How many connections there are, closing ones included.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Drops all connections, with what waits on them. Nothing comes after that but the end of this.
    pub fn clear(&mut self) {
        for connection in self.table.values_mut() {
            if !connection.stream.is_sent() {
                connection.stream.abort();
            }
        }
        self.table.clear();
    }

    /// Whether it is a connection.
    pub fn contains(&self, id: ConnectionId) -> bool {
        self.table.contains_key(&id)
    }

    /// Who is there; also of one that has just ended, until the next step.
    pub fn peer(&self, id: ConnectionId) -> Option<&Peer> {
        let connected = self.table.get(&id).map(|connection| &connection.peer);
        connected.or_else(|| self.departed.get(&id))
    }

    /// On what the memory that is held for it draws.
    pub fn share(&self, id: ConnectionId) -> Option<Share> {
        self.table.get(&id).map(|connection| connection.held.share().clone())
    }

    /// Whether what is sent there can still arrive.
    pub fn is_reachable(&self, id: ConnectionId) -> bool {
        self.table.get(&id).is_some_and(|c| c.takes_messages() && !c.hung_up)
    }

    /// See [`MessageServer::send_with_head`](crate::MessageServer::send_with_head).
    pub fn send(&mut self, id: ConnectionId, head: &[u8], body: Bytes) -> Result<(), SendError> {
        let Some(connection) = self.table.get_mut(&id).filter(|c| c.takes_messages()) else {
            return Err(SendError::new(id, Refusal::Gone, body));
        };
        let (queued, limit) = (connection.outbound.queue.len(), self.limits.queued);
        if queued >= limit {
            connection.refused = true;
            return Err(SendError::new(id, Refusal::Full { queued, limit }, body));
        }
        if connection.held.share().room() == 0 {
            connection.refused = true;
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
            return Err(SendError::new(id, error.into(), body));
        }
        connection.sent = true;
        // What leaves before anything else is done need not be charged.
        if connection.outbound.queue.len() > connection::LARGE {
            connection.settle();
        }
        if queued == 0 {
            self.unsent.push_back(id);
        }
        Ok(())
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
        self.cut_off(id, CloseReason::Local);
    }
}
