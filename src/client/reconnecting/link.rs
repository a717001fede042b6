//! The present connection of a client that reconnects, which all its threads share.

use super::backoff::Backoff;
use super::patience::Patience;
use super::tries::Tries;
use super::turns::{OneConnection, Step, Turn, Turns};
use crate::client::starting::Starting;
use crate::client::{Client, ClientOptions};
use crate::clock;
use crate::endpoint::Endpoint;
use crate::error::Error;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

/// The longest single wait of the thread that keeps a start going: it ends so long after the last client was dropped.
const WAIT_OF_KEEPER: Duration = Duration::from_millis(100);

/// One connection at a time. One thread at a time makes a new one; the others wait for what becomes of it.
pub(super) struct Link {
    pub options: ClientOptions,
    pub endpoint: Endpoint,
    pub backoff: Backoff,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    turns: Turns<Client>,
    /// A server that is being started. Who goes on with it has taken it.
    starting: Option<Starting>,
    /// The threads that want a connection.
    inside: usize,
    /// A thread goes on with `starting` when no other does.
    has_keeper: bool,
}

impl OneConnection for Client {
    fn is_usable(&self) -> bool {
        !self.is_closed() && !self.server_stops()
    }

    fn is_same(&self, other: &Client) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
}

impl Link {
    pub fn new(options: ClientOptions, endpoint: Endpoint, backoff: Backoff) -> Link {
        let state = State { turns: Turns::new(), starting: None, inside: 0, has_keeper: false };
        Link { options, endpoint, backoff, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// The present connection, or a new one.
    pub fn client(
        self: &Arc<Link>,
        tries: &mut Tries,
        patience: Patience,
    ) -> Result<Client, Error> {
        let _inside = Inside::new(self);
        let (mut turn, mut state) = (Turn::default(), self.state());
        let name = || self.name();
        loop {
            let (turns, now) = (&mut state.turns, clock::now());
            match turns.step(&mut turn, tries, &self.backoff, patience, now, &name)? {
                Step::Use(client) => return Ok(client),
                Step::Wait(most) => state = self.wait(state, most),
                Step::Connect(left) => {
                    if let Some(error) = self.connect(state, left) {
                        return Err(tries.end(error));
                    }
                    state = self.state();
                }
            }
        }
    }

    /// Makes the connection, or goes on with that for a while, at most for `left`: afterwards a server may still be being
    /// started. Returns an error that no other try mends.
    fn connect(&self, mut state: MutexGuard<'_, State>, left: Duration) -> Option<Error> {
        state.turns.is_connecting = true;
        let mut starting = state.starting.take();
        drop(state);
        let mut connecting = Connecting { link: self, is_done: false };
        let made = self.options.attempt(&self.endpoint, &mut starting, left);
        // The state is changed before others are woken by the drop.
        let mut state = self.state();
        (state.turns.is_connecting, connecting.is_done) = (false, true);
        if !state.turns.is_closed {
            state.starting = starting;
        }
        let error = made.and_then(|made| state.turns.settle(made));
        drop((state, connecting));
        error
    }

    /// The thread that keeps a start going goes on with it, for a while, if no other does. `false`: there is nothing to do
    /// any more.
    fn keep(&self) -> bool {
        let mut state = self.state();
        if state.turns.is_closed || state.starting.is_none() && !state.turns.is_connecting {
            state.has_keeper = false;
            return false;
        }
        if state.turns.is_connecting {
            drop(self.wait(state, WAIT_OF_KEEPER));
            return true;
        }
        if !state.starting.as_ref().is_some_and(Starting::has_run) {
            state.has_keeper = false;
            // Who is inside goes on with it.
            let not_run = if state.inside > 0 { None } else { state.starting.take() };
            drop(state);
            drop(not_run);
            return false;
        }
        // Nobody waits for the outcome: the next call finds the connection, or starts again.
        drop(self.connect(state, Duration::MAX));
        true
    }

    /// A thread does not want a connection any more. What it has begun to start is kept going by a thread of its own until
    /// that is decided (others may be in a pause), so that nobody waits for a lock that is nobody's concern, and no
    /// process is left that nobody waits for. The thread ends at [`Limits::start`](crate::Limits::start) at the latest,
    /// and soon after the client was closed or its last clone dropped.
    fn leave(self: &Arc<Link>) {
        let mut state = self.state();
        state.inside -= 1;
        if state.turns.is_connecting {
            return;
        }
        let Some(starting) = &state.starting else { return };
        if starting.has_run() && !state.has_keeper {
            let link = Arc::downgrade(self);
            let keeps = move || {
                let keeping = Keeping { link };
                while keeping.link.upgrade().is_some_and(|link| link.keep()) {}
            };
            let thread = thread::Builder::new().name("msgpipe-start".to_owned());
            state.has_keeper = thread.spawn(keeps).is_ok();
        }
        // Without a thread it is left to itself.
        let is_left = !state.has_keeper && state.inside == 0;
        let left = if is_left { state.starting.take() } else { None };
        drop(state);
        drop(left);
        self.changed.notify_all();
    }

    /// This connection is not used any more: it has ended, or its server stops.
    pub fn lost(&self, client: &Client) {
        self.state().turns.lost(client);
    }

    /// Pauses before a call is sent again.
    pub fn pause(&self, tries: &Tries, patience: Patience) {
        let until = tries.again_at(clock::now(), &self.backoff);
        let mut state = self.state();
        loop {
            let now = clock::now();
            let left = until.saturating_duration_since(now).min(patience.left(now));
            if left.is_zero() || state.turns.is_closed {
                return;
            }
            state = self.wait(state, left);
        }
    }

    /// Ends the connection, and all waits for another one.
    pub fn close(&self) {
        let mut state = self.state();
        state.turns.is_closed = true;
        let client = state.turns.client.take();
        let starting = state.starting.take();
        drop(state);
        self.changed.notify_all();
        drop(starting);
        if let Some(client) = client {
            client.close();
        }
    }

    pub fn is_closed(&self) -> bool {
        self.state().turns.is_closed
    }

    /// The endpoint as the errors of a connection name it.
    pub fn name(&self) -> Arc<str> {
        self.endpoint.named()
    }

    fn wait<'s>(&self, state: MutexGuard<'s, State>, most: Duration) -> MutexGuard<'s, State> {
        let waited = self.changed.wait_timeout(state, most);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread that keeps a start going.
struct Keeping {
    link: Weak<Link>,
}

impl Drop for Keeping {
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        if let Some(link) = self.link.upgrade() {
            link.state().has_keeper = false;
        }
    }
}

/// A thread that wants a connection.
struct Inside<'l> {
    link: &'l Arc<Link>,
}

impl Inside<'_> {
    fn new(link: &Arc<Link>) -> Inside<'_> {
        link.state().inside += 1;
        Inside { link }
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.link.leave();
    }
}

/// The right to make the connection. It is given back also by a panic, as of the application's function that starts
/// the server.
struct Connecting<'l> {
    link: &'l Link,
    /// It has been given back already, with what has become of the connection.
    is_done: bool,
}

impl Drop for Connecting<'_> {
    fn drop(&mut self) {
        if !self.is_done {
            self.link.state().turns.is_connecting = false;
        }
        self.link.changed.notify_all();
    }
}
