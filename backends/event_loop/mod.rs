//! The mio loop that the backends with an operating system share: readiness in, calls of
//! `crate::connections` out.

mod acceptor;
#[cfg(test)]
mod tests;
mod wake;

pub(super) use acceptor::{Accepted, Acceptor, Next, Tokens};
pub(super) use wake::Wake;

use crate::connections::{Connections, ServerStream, Step};
use crate::error::Error;
use crate::framing::{Framing, GoodbyeCode};
use crate::goodbye::Goodbye;
use crate::limits::Limits;
use crate::message_server::{ConnectionId, Event, Waker};
use crate::peer::Peer;
use crate::{Instances, ServerOptions};
use mio::{Events, Poll, Token};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How many readiness events are taken from the system at once. More only adds latency for the last
/// ones; fewer costs system calls when many clients are busy.
const EVENTS: usize = 256;

/// How many clients are taken in, or turned away, before the others are served again: they may come
/// faster than this takes, also those that may not come in at all.
const ACCEPTS: usize = 64;

/// How long clients are taken in at once, the time in which the application decides about them
/// included, before the others are served again: about what taking in twenty costs by itself.
const ACCEPT_TIME: Duration = Duration::from_micros(500);

/// How many steps of the connections, none of which is the application's, there are between two looks at
/// the clock: each reads or sends at most some hundred KB.
const STEPS: usize = 8;

/// How much longer than its timeout a poll takes that has something to read but nothing to tell: what
/// has arrived within the timeout is to be found by a poll that does not wait.
const OVERTIME: Duration = Duration::from_millis(1);

/// How long no client is taken in after the system refused to give one (no descriptors, no memory).
/// Short enough not to be noticed by a client that waits, long enough not to spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The event loop of one server; see the [module](self).
pub(super) struct EventLoop<A: Acceptor> {
    pub connections: Connections<A::Stream>,
    /// `None` once no more clients are taken.
    acceptor: Option<A>,
    poll: Poll,
    events: Events,
    /// Room for one event: with one client there is no more. To ask for more makes Wine look into the
    /// completion port once more each time.
    one_event: Events,
    tokens: Tokens,
    wake: Arc<Wake>,
    /// Clients may be waiting to be taken in; from this time on.
    accept_at: Option<Instant>,
    /// Clients are still let in, to be told that the server stops.
    refuses: bool,
    /// Taking clients in failed the last time, and the application knows.
    accept_failed: bool,
    options: ServerOptions,
    /// How many clients are served at once.
    most: usize,
    endpoint: Arc<str>,
}

impl<A: Acceptor> EventLoop<A> {
    pub fn new(
        mut acceptor: A,
        framing: Arc<dyn Framing>,
        options: &ServerOptions,
        endpoint: Arc<str>,
    ) -> Result<EventLoop<A>, Error> {
        let failed = |source| Error::system(&endpoint, "setting up the event loop", source);
        let poll = Poll::new().map_err(failed)?;
        let wake = Arc::new(Wake::new(poll.registry()).map_err(failed)?);
        let mut tokens = Tokens::default();
        acceptor.open(poll.registry(), &mut tokens, &wake).map_err(failed)?;
        Ok(EventLoop {
            connections: Connections::new(framing, &options.limits)
                .with_half_close(options.half_close),
            acceptor: Some(acceptor),
            poll,
            events: Events::with_capacity(EVENTS),
            one_event: Events::with_capacity(1),
            tokens,
            wake,
            accept_at: Some(Instant::now()),
            refuses: false,
            accept_failed: false,
            options: options.clone(),
            most: options.most(),
            endpoint,
        })
    }

    /// See [`MessageServer::poll`](crate::MessageServer::poll).
    pub fn poll(&mut self, timeout: Option<Duration>) -> Result<Option<Event>, Error> {
        let until = timeout.map(Limits::until);
        let (mut looked, mut now, mut steps) = (false, Instant::now(), 0);
        loop {
            let is_over = |until: Option<Instant>| until.is_some_and(|until| until <= now);
            let step = self.connections.step(now);
            if let Step::Event(event) = step {
                if A::CLOSES_BY_POLLING && matches!(event, Event::Closed(..)) {
                    // What served it shall listen for the next; and the client shall see its end
                    // now, not when the application polls again.
                    self.accept_at.get_or_insert(now);
                    self.accept();
                    self.look(Some(Duration::ZERO))?;
                }
                return Ok(Some(event));
            }
            // One look at the system even with no time to wait: a caller that polls with a timeout
            // of zero would otherwise never see anything. What that brings is gone through as far as
            // the overtime lasts; the next poll goes on with it.
            let busy = self.connections.is_busy();
            let is_idle = matches!(step, Step::Idle) && !busy;
            if looked && is_over(if is_idle { until } else { until.map(|at| at + OVERTIME) }) {
                return Ok(None);
            }
            if matches!(step, Step::More) {
                steps += 1;
                if steps % STEPS == 0 {
                    now = Instant::now();
                }
                continue;
            }
            let busy_until = busy.then_some(now);
            let deadline = [until, busy_until, self.connections.deadline(), self.accept_due()];
            let wait =
                deadline.into_iter().flatten().min().map(|at| at.saturating_duration_since(now));
            now = self.look(wait)?;
            looked = true;
        }
    }

    fn look(&mut self, timeout: Option<Duration>) -> Result<Instant, Error> {
        let waited = self.wait(timeout);
        waited.map_err(|source| Error::system(&self.endpoint, "waiting for events", source))
    }

    /// Waits for readiness and passes it on; returns when that was.
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<Instant> {
        let events = match self.connections.len() {
            1 => &mut self.one_event,
            _ => &mut self.events,
        };
        match self.poll.poll(events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(Instant::now()),
            polled => polled?,
        }
        let now = Instant::now();
        for event in &*events {
            let token = event.token();
            let id = id_of(token);
            if token == wake::TOKEN {
                let reasons = self.wake.seen();
                for token in reasons.readable {
                    self.connections.readable(id_of(token), false);
                }
                if reasons.woken {
                    self.connections.push_event(Event::Woken);
                }
            } else if self.connections.contains(id) {
                if event.is_write_closed() {
                    self.connections.hung_up(id);
                }
                // Urgent data makes reads come up short with more behind it.
                let urgent = event.is_priority();
                // On Linux each of these comes along with `is_readable`; mio says so of no system.
                if event.is_readable() || event.is_read_closed() || event.is_error() || urgent {
                    let ended = event.is_read_closed() || event.is_error() || urgent;
                    self.connections.readable(id, ended);
                }
                if event.is_writable() {
                    self.connections.writable(id);
                }
            } else if let Some(acceptor) = &mut self.acceptor {
                // An event of a connection that has just been dropped comes here too, and means
                // nothing to the acceptor.
                if acceptor.ready(token) {
                    self.accept_at.get_or_insert_with(Instant::now);
                }
            }
        }
        self.accept();
        self.connections.begin_turn(now);
        Ok(now)
    }

    /// When clients that wait are to be taken in without a further event.
    fn accept_due(&self) -> Option<Instant> {
        self.accept_at.filter(|_| self.room() > 0)
    }

    /// How many clients may be taken in. Of a fixed number of instances none is left when all have a
    /// client, and others wait; else a client for whom there is no place is let in to be told so.
    fn room(&self) -> usize {
        match self.options.instances {
            Instances::Unlimited => usize::MAX,
            Instances::Fixed(_) => self.most.saturating_sub(self.connections.len()),
        }
    }

    /// Takes in the clients that wait, as far as the limit allows. When it stops before the last of
    /// them, the next look at the system does not wait, and it goes on.
    fn accept(&mut self) {
        if self.accept_at.is_none() {
            return;
        }
        let until = Instant::now() + ACCEPT_TIME;
        for _ in 0..ACCEPTS {
            let (now, room) = (Instant::now(), self.room());
            let Some(acceptor) = self.acceptor.as_mut().filter(|_| room > 0 && now < until) else {
                return;
            };
            if self.accept_at.is_none_or(|at| at > now) {
                return;
            }
            let accepted = acceptor.accept(self.poll.registry(), &mut self.tokens, room);
            let failed_before = std::mem::replace(&mut self.accept_failed, accepted.is_err());
            match accepted {
                Ok(Next::Client(accepted)) if self.refuses => {
                    let why = Goodbye::new(GoodbyeCode::STOPPING, "the server stops");
                    self.connections.turn_away(accepted.stream, &why);
                }
                Ok(Next::Client(accepted)) => {
                    take_in(&mut self.connections, &self.options, accepted);
                }
                Ok(Next::TurnedAway) => {}
                #[cfg(unix)]
                Ok(Next::NotAdmitted(stream, peer)) => {
                    self.connections.turn_away(stream, &not_admitted(&peer));
                }
                Ok(Next::Nobody) => self.accept_at = None,
                Err(source) => {
                    self.accept_at = Some(Instant::now() + ACCEPT_PAUSE);
                    if !failed_before {
                        let error = Error::system(&self.endpoint, "taking in a client", source);
                        self.connections.push_event(Event::AcceptFailed(error));
                    }
                }
            }
        }
    }

    pub fn close(&mut self, id: ConnectionId, why: &Goodbye) {
        self.connections.close(id, why, Instant::now());
    }

    pub fn stop_accepting(&mut self) {
        match self.options.keep_name {
            true => self.refuses = true,
            false => self.give_name_free(),
        }
    }

    fn give_name_free(&mut self) {
        if let Some(acceptor) = self.acceptor.take() {
            acceptor.close(self.poll.registry());
        }
        self.accept_at = None;
    }

    pub fn waker(&self) -> Waker {
        let wake = self.wake.clone();
        Waker::new(move || wake.wake())
    }

    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }
}

impl<A: Acceptor> Drop for EventLoop<A> {
    /// Ends all operations that the system has under way before the poll goes: on Windows a pipe's
    /// handle is closed only when its last completion has been taken from the port.
    fn drop(&mut self) {
        self.give_name_free();
        self.connections.clear();
        A::wait_until_gone(&mut self.poll, &mut self.events);
    }
}

/// Adds a client, if the application agrees.
fn take_in<S: ServerStream>(
    connections: &mut Connections<S>,
    options: &ServerOptions,
    accepted: Accepted<S>,
) {
    let Accepted { token, stream, peer, readable } = accepted;
    if options.authorize.as_ref().is_none_or(|authorize| authorize(&peer)) {
        connections.add(id_of(token), stream, peer, readable, Instant::now());
    } else {
        connections.turn_away(stream, &not_admitted(&peer));
    }
}

/// What one is told who may not come in.
fn not_admitted(peer: &Peer) -> Goodbye {
    Goodbye::new(GoodbyeCode::NOT_AUTHORIZED, format!("{peer} may not connect here"))
}

fn id_of(token: Token) -> ConnectionId {
    ConnectionId::from_number(token.0 as u64)
}

/// The token of an event that belongs to no connection.
const FIRST_TOKEN: usize = wake::TOKEN.0 + 1;

impl Default for Tokens {
    fn default() -> Tokens {
        Tokens::starting_at(Token(FIRST_TOKEN))
    }
}
