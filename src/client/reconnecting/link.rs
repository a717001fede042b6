//! The present connection of a client that reconnects, which all its threads share.

use super::backoff::{Backoff, random};
use super::tries::{Tries, may_connect_later};
use crate::client::starting::Starting;
use crate::client::{Client, ClientOptions};
use crate::endpoint::Endpoint;
use crate::error::{CloseReason, Error, Progress};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

/// The longest single wait of who has no deadline.
const WAIT: Duration = Duration::from_secs(3600);

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
    client: Option<Client>,
    /// A thread makes a connection.
    is_connecting: bool,
    /// A server that is being started. Who goes on with it has taken it.
    starting: Option<Starting>,
    /// The connections that could not be made: who waits for one that another thread makes counts it as its own.
    failed: u64,
    last: Option<Arc<Error>>,
    /// The threads that want a connection.
    inside: usize,
    /// A thread goes on with `starting` when no other does.
    has_keeper: bool,
    is_closed: bool,
}

/// Until when a thread waits, and for how long that is.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    pub began: Instant,
    /// `None`: only the number of tries ends it.
    pub given: Option<Duration>,
}

impl Patience {
    pub fn until(&self) -> Option<Instant> {
        self.given.map(|given| self.began + given)
    }

    fn left(&self) -> Duration {
        self.until().map_or(WAIT, |until| until.saturating_duration_since(Instant::now()))
    }
}

impl Link {
    pub fn new(options: ClientOptions, endpoint: Endpoint, backoff: Backoff) -> Link {
        let state = State {
            client: None,
            is_connecting: false,
            starting: None,
            failed: 0,
            last: None,
            inside: 0,
            has_keeper: false,
            is_closed: false,
        };
        Link { options, endpoint, backoff, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// The present connection, or a new one. Connections that could not be made count as tries of the caller. The first try
    /// is made at once, whatever became of those of other calls; between the others there are pauses.
    pub fn client(
        self: &Arc<Link>,
        tries: &mut Tries,
        patience: Patience,
    ) -> Result<Client, Error> {
        let _inside = Inside::new(self);
        let mut state = self.state();
        // While another thread makes the connection in the place of this one: what had failed before.
        let mut awaited: Option<u64> = None;
        loop {
            if state.is_closed {
                return Err(tries.end(self.was_closed()));
            }
            if let Some(client) = state.usable() {
                return Ok(client);
            }
            if awaited.is_some_and(|before| before < state.failed) {
                awaited = None;
                tries.count(state.last.clone().expect("a try has failed"), &self.backoff)?;
                tries.wait_from_now(&self.backoff);
            }
            let left = patience.left();
            if left.is_zero() {
                return Err(self.late(tries, patience));
            }
            let pause = tries.pause_left();
            if !pause.is_zero() {
                awaited = None;
                state = self.wait(state, pause.min(left));
                continue;
            }
            if state.is_connecting {
                awaited = awaited.or(Some(state.failed));
                state = self.wait(state, left);
                continue;
            }
            let outcome = self.connect(state, left);
            awaited = None;
            match outcome {
                Some(Err(error)) if may_connect_later(&error) => {
                    tries.count(error, &self.backoff)?;
                    tries.wait_from_now(&self.backoff);
                }
                Some(Err(error)) => {
                    return Err(tries.end(Arc::into_inner(error).expect("it is not shared")));
                }
                Some(Ok(())) | None => {}
            }
            state = self.state();
        }
    }

    /// Makes the connection, or goes on with that for a while, at most for `left`. `None`: a server is still being
    /// started. Errors that lead to other tries are those of who waits, too.
    fn connect(
        &self,
        mut state: MutexGuard<'_, State>,
        left: Duration,
    ) -> Option<Result<(), Arc<Error>>> {
        state.is_connecting = true;
        let mut starting = state.starting.take();
        drop(state);
        let mut connecting = Connecting { link: self, is_done: false };
        let made = self.options.attempt(&self.endpoint, &mut starting, left);
        // The state is changed before others are woken by the drop.
        let mut state = self.state();
        (state.is_connecting, connecting.is_done) = (false, true);
        if !state.is_closed {
            state.starting = starting;
        }
        let outcome = made.map(|made| {
            let client = made.map_err(Arc::new)?;
            if !state.is_closed {
                state.client = Some(client);
            }
            Ok::<_, Arc<Error>>(())
        });
        if let Some(Err(error)) = &outcome {
            if may_connect_later(error) {
                state.failed += 1;
                state.last = Some(error.clone());
            }
        }
        drop((state, connecting));
        outcome
    }

    /// The thread that keeps a start going goes on with it, for a while, if no other does. `false`: there is nothing to do
    /// any more.
    fn keep(&self) -> bool {
        let mut state = self.state();
        if state.is_closed || state.starting.is_none() && !state.is_connecting {
            state.has_keeper = false;
            return false;
        }
        if state.is_connecting {
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
        drop(self.connect(state, WAIT));
        true
    }

    /// A thread does not want a connection any more. What it has begun to start is kept going by a thread of its own until
    /// that is decided (others may be in a pause), so that nobody waits for a lock that is nobody's concern, and no
    /// process is left that nobody waits for. The thread ends at [`Limits::start`](crate::Limits::start) at the latest,
    /// and soon after the client was closed or its last clone dropped.
    fn leave(self: &Arc<Link>) {
        let mut state = self.state();
        state.inside -= 1;
        if state.is_connecting {
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
        let mut state = self.state();
        if state.client.as_ref().is_some_and(|present| Arc::ptr_eq(&present.inner, &client.inner)) {
            state.client = None;
        }
    }

    /// Pauses before a call is sent again.
    pub fn pause(&self, tries: &Tries, patience: Patience) {
        let until = Instant::now() + self.backoff.pause(tries.failed, random());
        let mut state = self.state();
        loop {
            let left = until.saturating_duration_since(Instant::now()).min(patience.left());
            if left.is_zero() || state.is_closed {
                return;
            }
            state = self.wait(state, left);
        }
    }

    /// Ends the connection, and all waits for another one.
    pub fn close(&self) {
        let mut state = self.state();
        state.is_closed = true;
        let client = state.client.take();
        let starting = state.starting.take();
        drop(state);
        self.changed.notify_all();
        drop(starting);
        if let Some(client) = client {
            client.close();
        }
    }

    pub fn is_closed(&self) -> bool {
        self.state().is_closed
    }

    /// The endpoint as the errors of a connection name it.
    pub fn name(&self) -> Arc<str> {
        let place = self.endpoint.locate().ok();
        place.map_or_else(|| self.endpoint.to_string(), |place| place.display().to_string()).into()
    }

    fn was_closed(&self) -> Error {
        Error::closed(&self.name(), CloseReason::Local, Progress::NotBegun)
    }

    /// The error at the end of the time: the last one, if there is one.
    pub fn late(&self, tries: &Tries, patience: Patience) -> Error {
        if tries.last.is_some() {
            return tries.give_up(patience.given);
        }
        Error::late(
            &self.name(),
            patience.given.unwrap_or(WAIT),
            patience.began,
            Progress::NotBegun,
        )
    }

    fn wait<'s>(&self, state: MutexGuard<'s, State>, most: Duration) -> MutexGuard<'s, State> {
        let waited = self.changed.wait_timeout(state, most);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn usable(&mut self) -> Option<Client> {
        if self.client.as_ref().is_some_and(|client| client.is_closed() || client.server_stops()) {
            self.client = None;
        }
        self.client.clone()
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
            self.link.state().is_connecting = false;
        }
        self.link.changed.notify_all();
    }
}
