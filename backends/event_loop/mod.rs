//! The mio event loop that the backends with an operating system share: it turns readiness into calls of
//! `crate::connections`.

mod acceptor;
#[cfg(test)]
mod tests;
mod wake;

pub(super) use acceptor::{Accepted, Acceptor, Next, Poller};
#[cfg(windows)]
pub(super) use wake::Wake;

use crate::connections::{Connections, ServerStream, Step, is_over};
use crate::error::Error;
use crate::framing::{Framing, GoodbyeCode};
use crate::goodbye::Goodbye;
use crate::limits::Limits;
use crate::message_server::{ConnectionId, Event, Waker};
use crate::peer::Peer;
use crate::{Instances, ServerOptions, Waitable};
use mio::{Events, Token};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The most readiness events of one poll. A higher number only adds latency for the last events; a lower
/// number costs system calls when many clients are busy.
const EVENTS_PER_POLL: usize = 256;

/// What has events besides connections: the listener, with several instances, and the waker.
const OTHER_TOKENS: usize = 64;

/// The most clients that are accepted or refused before connections are served again. Clients may connect
/// faster than the server accepts or refuses them, clients without access included.
const ACCEPTS_PER_POLL: usize = 64;

/// The longest time of accepting before connections are served again, the application's time in `authorize`
/// included. Without `authorize` this is enough for about twenty clients.
const ACCEPT_TIME: Duration = Duration::from_micros(500);

/// The steps of the connections between two readings of the clock. The application does not run in these
/// steps; each reads or sends at most some hundred KB.
const STEPS_PER_CLOCK_READ: usize = 8;

/// The pause of accepting after the system failed to accept a client (no descriptors, no memory). It is too
/// short to matter to a waiting client, and long enough that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The event loop of one server; see the [module](self).
pub(super) struct EventLoop<A: Acceptor> {
    pub connections: Connections<A::Stream>,
    /// `None` once the server has stopped accepting and released the name.
    acceptor: Option<A>,
    poller: Poller,
    events: Events,
    /// Room for one event, for a server with one connection: it has no more events. With more room, Wine
    /// checks the completion port once more in each poll.
    one_event: Events,
    /// There is one connection, from the beginning, and no other comes.
    is_only: bool,
    /// Clients may be waiting; from this time on they are accepted.
    accept_at: Option<Instant>,
    /// The server stops. It still accepts clients, to send each of them a goodbye.
    stopping: bool,
    /// The last attempt to accept has failed, and the application has been told.
    accept_failed: bool,
    options: ServerOptions,
    /// The most connections at once.
    max_connections: usize,
    /// How many of the last polls of the system have filled their buffer: there may be more events then.
    full_polls: usize,
    /// See [`MessageServer::event_time`](crate::MessageServer::event_time).
    pub event_time: Instant,
    endpoint: Arc<str>,
}

impl<A: Acceptor> EventLoop<A> {
    /// The loop of a server that listens with `acceptor`, which was registered with `poller`.
    pub fn new(
        poller: Poller,
        acceptor: A,
        framing: Arc<dyn Framing>,
        options: &ServerOptions,
        endpoint: Arc<str>,
    ) -> EventLoop<A> {
        let mut event_loop = EventLoop::of_one(poller, framing, options, endpoint);
        (event_loop.acceptor, event_loop.is_only) = (Some(acceptor), false);
        event_loop.accept_at = Some(Instant::now());
        event_loop
    }

    /// The loop of a server with one connection, which [`add`](EventLoop::add) adds.
    pub fn of_one(
        poller: Poller,
        framing: Arc<dyn Framing>,
        options: &ServerOptions,
        endpoint: Arc<str>,
    ) -> EventLoop<A> {
        EventLoop {
            connections: Connections::new(framing, &options.limits)
                .with_half_close(options.half_close),
            acceptor: None,
            is_only: true,
            poller,
            events: Events::with_capacity(EVENTS_PER_POLL),
            one_event: Events::with_capacity(1),
            accept_at: None,
            stopping: false,
            accept_failed: false,
            options: options.clone(),
            max_connections: options.most(),
            full_polls: 0,
            event_time: Instant::now(),
            endpoint,
        }
    }

    /// Adds a client that was registered with the poll, if it is admitted.
    pub fn add(&mut self, client: Accepted<A::Stream>) {
        admit(&mut self.connections, &self.options, client);
    }

    /// See [`MessageServer::is_over`](crate::MessageServer::is_over).
    pub fn is_over(&self) -> bool {
        self.is_only && self.connections.len() == 0
    }

    /// See [`MessageServer::waitable`](crate::MessageServer::waitable).
    pub fn waitable(&self) -> io::Result<Option<Waitable>> {
        #[cfg(unix)]
        return Waitable::of_poll(&self.poller.poll).map(Some);
        #[cfg(windows)]
        return Ok(None);
    }

    /// See [`MessageServer::poll_at`](crate::MessageServer::poll_at).
    pub fn poll_at(&self) -> Option<Instant> {
        let now = (self.connections.is_busy() || self.full_polls > 0).then(Instant::now);
        [now, self.connections.deadline(), self.accept_due()].into_iter().flatten().min()
    }

    /// See [`MessageServer::poll`](crate::MessageServer::poll).
    pub fn poll(&mut self, timeout: Option<Duration>) -> Result<Option<Event>, Error> {
        let until = timeout.map(Limits::until);
        let (mut has_polled, mut now, mut steps) = (false, Instant::now(), 0);
        loop {
            let step = self.connections.step(now);
            if let Step::Event(event) = step {
                if A::CLOSES_BY_POLLING && matches!(event, Event::Closed(..)) {
                    // The instance that served it must wait for the next client, and the client must see
                    // the end of its connection now, not at the application's next poll.
                    self.accept_at.get_or_insert(now);
                    self.accept();
                    self.wait(Some(Duration::ZERO))?;
                }
                self.event_time = now;
                return Ok(Some(event));
            }
            // The system is polled once even if there is no time to wait: otherwise a timeout of zero
            // would never return an event. Its readiness is handled until the overtime ends; the next
            // poll handles the rest.
            let busy = self.connections.is_busy() || has_polled && self.full_polls > 0;
            let is_idle = matches!(step, Step::Idle) && !busy;
            if has_polled && is_over(until, !is_idle, now) {
                return Ok(None);
            }
            if matches!(step, Step::More) {
                steps += 1;
                if steps % STEPS_PER_CLOCK_READ == 0 {
                    now = Instant::now();
                }
                continue;
            }
            let busy_until = busy.then_some(now);
            let deadline = [until, busy_until, self.connections.deadline(), self.accept_due()];
            let wait =
                deadline.into_iter().flatten().min().map(|at| at.saturating_duration_since(now));
            now = self.wait(wait)?;
            has_polled = true;
        }
    }

    /// Waits for readiness, handles it and accepts clients; returns the time after the wait.
    fn wait(&mut self, timeout: Option<Duration>) -> Result<Instant, Error> {
        let waited = self.try_wait(timeout);
        waited.map_err(|source| Error::system(&self.endpoint, "waiting for events", source))
    }

    fn try_wait(&mut self, timeout: Option<Duration>) -> io::Result<Instant> {
        let (events, capacity) = match self.connections.len() {
            1 => (&mut self.one_event, 1),
            _ => (&mut self.events, EVENTS_PER_POLL),
        };
        match self.poller.poll.poll(events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(Instant::now()),
            polled => polled?,
        }
        let now = Instant::now();
        let is_full = events.iter().count() >= capacity;
        self.full_polls = if is_full { self.full_polls + 1 } else { 0 };
        // The system returns events in turn. After so many polls it has returned one of each connection that had any.
        let is_all = !is_full || self.full_polls * capacity > self.connections.len() + OTHER_TOKENS;
        for event in &*events {
            let token = event.token();
            let id = id_of(token);
            if token == wake::TOKEN {
                let reasons = self.poller.wake.take_reasons();
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
                // A read stops short at urgent data, though more bytes may follow.
                let urgent = event.is_priority();
                // On Linux each of these comes with `is_readable`; mio documents this for no system.
                if event.is_readable() || event.is_read_closed() || event.is_error() || urgent {
                    let ended = event.is_read_closed() || event.is_error() || urgent;
                    self.connections.readable(id, ended);
                }
                if event.is_writable() {
                    self.connections.writable(id);
                }
            } else if let Some(acceptor) = &mut self.acceptor {
                // Events of a connection that has just been dropped also get here; the acceptor ignores
                // them.
                if acceptor.ready(token) {
                    self.accept_at.get_or_insert_with(Instant::now);
                }
            }
        }
        self.accept();
        match is_all {
            true => self.connections.begin_turn(now),
            false => self.connections.begin_turn_of_some(now),
        }
        Ok(now)
    }

    /// When to accept waiting clients without a further event.
    fn accept_due(&self) -> Option<Instant> {
        self.accept_at.filter(|_| self.accept_limit() > 0)
    }

    /// How many clients may be accepted now. With a fixed number of instances further clients wait until one
    /// is free. Otherwise every client is accepted, and one over the limit of connections gets a goodbye.
    fn accept_limit(&self) -> usize {
        match self.options.instances {
            Instances::Unlimited => usize::MAX,
            Instances::Fixed(_) => self.max_connections.saturating_sub(self.connections.len()),
        }
    }

    /// Accepts the waiting clients, up to the limits. If clients are left, the next poll of the system does
    /// not wait, and accepting continues after it.
    fn accept(&mut self) {
        if self.acceptor.is_none() {
            // Otherwise the loop would come back to it at once, again and again.
            self.accept_at = None;
        }
        if self.accept_at.is_none() {
            return;
        }
        let until = Instant::now() + ACCEPT_TIME;
        for _ in 0..ACCEPTS_PER_POLL {
            let (now, limit) = (Instant::now(), self.accept_limit());
            let Some(acceptor) = self.acceptor.as_mut().filter(|_| limit > 0 && now < until) else {
                return;
            };
            if self.accept_at.is_none_or(|at| at > now) {
                return;
            }
            let accepted = acceptor.accept(&mut self.poller, limit);
            let failed_before = std::mem::replace(&mut self.accept_failed, accepted.is_err());
            match accepted {
                Ok(Next::Client(accepted)) if self.stopping => {
                    let why = Goodbye::new(GoodbyeCode::STOPPING, "the server stops");
                    self.connections.refuse(accepted.stream, &why);
                }
                Ok(Next::Client(accepted)) => {
                    admit(&mut self.connections, &self.options, accepted);
                }
                Ok(Next::Skipped) => {}
                #[cfg(unix)]
                Ok(Next::NoAccess(stream, peer)) => {
                    self.connections.refuse(stream, &no_access_goodbye(&peer));
                }
                Ok(Next::NoneWaiting) => self.accept_at = None,
                Err(source) => {
                    self.accept_at = Some(Instant::now() + ACCEPT_PAUSE);
                    if !failed_before {
                        let error = Error::system(&self.endpoint, "accepting a client", source);
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
            true => self.stopping = true,
            false => self.release_name(),
        }
    }

    fn release_name(&mut self) {
        if let Some(acceptor) = self.acceptor.take() {
            acceptor.close(self.poller.registry());
        }
        self.accept_at = None;
    }

    pub fn waker(&self) -> Waker {
        let wake = self.poller.wake.clone();
        Waker::new(move || wake.wake())
    }

    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }
}

impl<A: Acceptor> Drop for EventLoop<A> {
    /// Ends all operations in flight before the poll is dropped: on Windows the handle of a pipe is closed
    /// only after its last completion packet has been taken from the port.
    fn drop(&mut self) {
        self.release_name();
        self.connections.clear();
        A::wait_until_gone(&mut self.poller, &mut self.events, &self.endpoint);
    }
}

/// Adds a client if `authorize` admits it; otherwise refuses it.
fn admit<S: ServerStream>(
    connections: &mut Connections<S>,
    options: &ServerOptions,
    accepted: Accepted<S>,
) {
    let Accepted { token, stream, peer, readable } = accepted;
    if options.admits(&peer) {
        connections.add(id_of(token), stream, peer, readable, Instant::now());
    } else {
        connections.refuse(stream, &no_access_goodbye(&peer));
    }
}

/// The goodbye for a client without access.
fn no_access_goodbye(peer: &Peer) -> Goodbye {
    Goodbye::new(GoodbyeCode::NOT_AUTHORIZED, format!("{peer} may not connect here"))
}

fn id_of(token: Token) -> ConnectionId {
    ConnectionId::from_number(token.0 as u64)
}
