//! The present connection of a client that reconnects, which all its threads share.

use super::backoff::{Backoff, random};
use super::tries::{Tries, may_connect_later};
use crate::client::starting::Starting;
use crate::client::{Client, ClientOptions};
use crate::endpoint::Endpoint;
use crate::error::{CloseReason, Error, Progress};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The longest single wait of who has no deadline.
const WAIT: Duration = Duration::from_secs(3600);

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
    /// The connections that could not be made, since the last one that could.
    failed: u32,
    /// The same, ever: a thread that waits counts those of the others too.
    failed_ever: u64,
    last: Option<Arc<Error>>,
    /// The next connection is not tried before.
    not_before: Instant,
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
            failed_ever: 0,
            last: None,
            not_before: Instant::now(),
            is_closed: false,
        };
        Link { options, endpoint, backoff, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// The present connection, or a new one. Connections that could not be made count as tries of the caller.
    pub fn client(&self, tries: &mut Tries, patience: Patience) -> Result<Client, Error> {
        let mut state = self.state();
        let mut seen = state.failed_ever;
        loop {
            if state.is_closed {
                return Err(tries.end(self.was_closed()));
            }
            if let Some(client) = state.usable() {
                return Ok(client);
            }
            while seen < state.failed_ever {
                seen += 1;
                let last = state.last.clone().expect("a try has failed");
                tries.count(last, &self.backoff)?;
            }
            let left = patience.left();
            if left.is_zero() {
                return Err(self.late(tries, patience));
            }
            let pause = state.not_before.saturating_duration_since(Instant::now());
            if state.is_connecting || !pause.is_zero() {
                let wait = if state.is_connecting { left } else { pause.min(left) };
                state = self.wait(state, wait);
                continue;
            }
            state.is_connecting = true;
            let starting = state.starting.take();
            drop(state);
            let connecting = Connecting { link: self };
            let (made, starting) = self.connect(starting, left);
            // The state is changed before others are woken by the drop.
            state = self.state();
            if !state.is_closed {
                state.starting = starting;
            }
            let refused = match made {
                None => None,
                Some(Ok(client)) => {
                    state.failed = 0;
                    if !state.is_closed {
                        state.client = Some(client);
                    }
                    None
                }
                Some(Err(error)) if may_connect_later(&error) => {
                    self.has_failed(&mut state, error);
                    None
                }
                Some(Err(error)) => Some(error),
            };
            state.is_connecting = false;
            drop((state, connecting));
            if let Some(error) = refused {
                return Err(tries.end(error));
            }
            state = self.state();
        }
    }

    /// Connects, at most for `left`. Nothing: the time is over, and the server is still being started.
    fn connect(
        &self,
        mut starting: Option<Starting>,
        left: Duration,
    ) -> (Option<Result<Client, Error>>, Option<Starting>) {
        let made = self.options.attempt(&self.endpoint, &mut starting, left);
        (made, starting)
    }

    fn has_failed(&self, state: &mut State, error: Error) {
        let now = Instant::now();
        if now > state.not_before + self.backoff.longest {
            // Nobody has tried for long.
            state.failed = 0;
        }
        state.failed = state.failed.saturating_add(1);
        state.failed_ever += 1;
        state.last = Some(Arc::new(error));
        state.not_before = now + self.backoff.pause(state.failed, random());
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

    fn was_closed(&self) -> Error {
        let endpoint = self.endpoint.to_string().into();
        Error::closed(&endpoint, CloseReason::Local, Progress::NotBegun)
    }

    /// The error at the end of the time: the last one, if there is one.
    pub fn late(&self, tries: &Tries, patience: Patience) -> Error {
        if tries.last.is_some() {
            return tries.give_up();
        }
        let endpoint = self.endpoint.to_string().into();
        Error::late(&endpoint, patience.given.unwrap_or(WAIT), patience.began, Progress::NotBegun)
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

/// The right to make the connection. It is given back also by a panic, as of the application's function that starts
/// the server.
struct Connecting<'l> {
    link: &'l Link,
}

impl Drop for Connecting<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.link.state().is_connecting = false;
        }
        self.link.changed.notify_all();
    }
}
