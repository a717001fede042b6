//! The present connection of a client that reconnects, which all its tasks share.

use crate::client::ClientOptions;
use crate::client::driven::Client;
use crate::client::reconnecting::Backoff;
use crate::client::reconnecting::patience::Patience;
use crate::client::reconnecting::tries::Tries;
use crate::client::reconnecting::turns::{Step, Turn, Turns};
use crate::endpoint::Endpoint;
use crate::error::{Error, StartError};
use crate::tokio::driver::Driver;
use crate::tokio::opening::{Opening, in_runtime};
use crate::tokio::runtime::{now, spawn, timeout};
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// How long a task may be behind its time before others go on without it: the runtime that runs it may not be driven any
/// more, and is not dropped either.
pub(super) const UNDRIVEN: Duration = Duration::from_secs(1);

/// One connection at a time. A task of its own makes a new one; calls wait for what becomes of it.
pub(super) struct Link {
    pub options: ClientOptions,
    pub endpoint: Endpoint,
    pub backoff: Backoff,
    state: Mutex<State>,
    changed: Notify,
}

struct State {
    turns: Turns<Client>,
    connecting: Option<Connecting>,
    /// The calls that want a connection.
    inside: usize,
}

/// What is known of the task that makes a connection.
struct Connecting {
    ticket: Ticket,
    /// It goes on also if nobody waits: it has run something, or is about to.
    is_kept: bool,
    /// When it has ended, if its runtime runs it.
    until: Instant,
}

/// Belongs to one task that makes a connection, and to the call that has begun it. It gets the error that no other try mends.
type Ticket = Arc<Mutex<Option<Error>>>;

impl Link {
    pub fn new(options: ClientOptions, endpoint: Endpoint, backoff: Backoff) -> Link {
        let state = State { turns: Turns::new(), connecting: None, inside: 0 };
        let (state, changed) = (Mutex::new(state), Notify::new());
        Link { options, endpoint, backoff, state, changed }
    }

    /// The present connection, or a new one. Dropped, it stops no other call from connecting.
    pub async fn client(
        self: &Arc<Link>,
        tries: &mut Tries,
        patience: Patience,
    ) -> Result<Client, Error> {
        let _inside = Inside::new(self);
        let (mut turn, mut mine) = (Turn::default(), None::<Ticket>);
        loop {
            in_runtime(&self.endpoint)?;
            let mut changed = pin!(self.changed.notified());
            // From now on no change is missed.
            changed.as_mut().enable();
            if let Some(error) = mine.as_ref().and_then(|mine| lock(mine).take()) {
                return Err(tries.end(error));
            }
            match self.step(&mut turn, tries, patience)? {
                Step::Use(client) => return Ok(client),
                Step::Connect(_) => mine = Some(self.connect()),
                // At the end of the time there is another step.
                Step::Wait(most) => {
                    timeout(most, changed).await;
                }
            }
        }
    }

    fn step(
        &self,
        turn: &mut Turn,
        tries: &mut Tries,
        patience: Patience,
    ) -> Result<Step<Client>, Error> {
        let (now, mut state) = (now(), self.state());
        state.forget(|connecting| connecting.until <= now);
        let step = state
            .turns
            .step(turn, tries, &self.backoff, patience, now, &|| self.endpoint.named())?;
        Ok(match (step, &state.connecting) {
            (Step::Wait(most), Some(connecting)) => Step::Wait(most.min(connecting.until - now)),
            (step, _) => step,
        })
    }

    /// Has the connection made by a task of the present runtime, which no call can stop or hold up.
    fn connect(self: &Arc<Link>) -> Ticket {
        let limits = self.options.limits_of_calls();
        let ticket = Ticket::default();
        let most = limits.start + limits.connect * 2 + UNDRIVEN;
        let connecting = Connecting { ticket: ticket.clone(), is_kept: false, until: now() + most };
        self.state().connecting = Some(connecting);
        let trying = Trying { link: Arc::downgrade(self), ticket: ticket.clone() };
        // In a runtime that ends it is dropped at once, which takes the lock.
        spawn(trying.run());
        ticket
    }

    /// Whether a task goes on to make the connection; it is asked before each try and each pause. `is_kept`: it does so
    /// also if nobody waits.
    fn goes_on(&self, ticket: &Ticket, may_stop: bool, is_kept: bool) -> bool {
        let mut state = self.state();
        let is_wanted = state.inside > 0 || !may_stop;
        if !is_wanted || state.turns.is_closed {
            state.forget(|connecting| Arc::ptr_eq(&connecting.ticket, ticket));
        }
        match &mut state.connecting {
            Some(connecting) if Arc::ptr_eq(&connecting.ticket, ticket) => {
                connecting.is_kept = is_kept;
                true
            }
            _ => false,
        }
    }

    /// What has become of a connection.
    fn settle(&self, ticket: &Ticket, made: Result<Client, Error>) {
        let mut state = self.state();
        let is_present = |connecting: &Connecting| Arc::ptr_eq(&connecting.ticket, ticket);
        if !state.connecting.as_ref().is_some_and(is_present) {
            // Others have gone on without it.
            drop(state);
            drop(made);
            return;
        }
        *lock(ticket) = state.turns.settle(made);
        state.forget(is_present);
        drop(state);
        self.changed.notify_waiters();
    }

    /// This connection is not used any more: it has ended, or its server stops.
    pub fn lost(&self, client: &Client) {
        self.state().turns.lost(client);
    }

    /// Pauses before a call is sent again.
    pub async fn pause(&self, tries: &Tries, patience: Patience) {
        let until = tries.again_at(now(), &self.backoff);
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            let now = now();
            let left = until.saturating_duration_since(now).min(patience.left(now));
            // Outside of a runtime the next try says that it needs one.
            if left.is_zero() || self.is_closed() || in_runtime(&self.endpoint).is_err() {
                return;
            }
            timeout(left, changed).await;
        }
    }

    /// Ends the connection, and all waits for another one.
    pub fn close(&self) {
        let mut state = self.state();
        state.turns.is_closed = true;
        let client = state.turns.client.take();
        drop(state);
        self.changed.notify_waiters();
        if let Some(client) = client {
            client.close();
        }
    }

    pub fn is_closed(&self) -> bool {
        self.state().turns.is_closed
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    /// The task that makes a connection is not waited for any more.
    fn forget(&mut self, which: impl FnOnce(&Connecting) -> bool) {
        if self.connecting.as_ref().is_some_and(which) {
            self.connecting = None;
            self.turns.is_connecting = false;
        }
    }
}

/// A task that makes a connection. Dropped with its runtime, it leaves that to others.
struct Trying {
    link: Weak<Link>,
    ticket: Ticket,
}

impl Trying {
    async fn run(self) {
        let Some(made) = self.make().await else { return };
        let made = made.map(|(client, driver)| {
            spawn(driver);
            client
        });
        if let Some(link) = self.link.upgrade() {
            link.settle(&self.ticket, made);
        }
    }

    /// `None`: it is not wanted any more.
    async fn make(&self) -> Option<Result<(Client, Driver), Error>> {
        let mut opening = {
            let link = self.link.upgrade()?;
            match Opening::new(&link.endpoint, &link.options) {
                Ok(opening) => opening,
                Err(error) => return Some(Err(error)),
            }
        };
        loop {
            let (has_run, may_run) = (opening.has_run(), opening.may_run());
            if !self.link.upgrade()?.goes_on(&self.ticket, !has_run, has_run || may_run) {
                return None;
            }
            if let Some(made) = opening.attempt().await {
                return Some(made);
            }
            let has_run = opening.has_run();
            if !self.link.upgrade()?.goes_on(&self.ticket, !has_run, has_run) {
                return None;
            }
            opening.pause().await;
        }
    }
}

impl Drop for Trying {
    fn drop(&mut self) {
        let Some(link) = self.link.upgrade() else { return };
        let mut state = link.state();
        let is_present = |connecting: &Connecting| Arc::ptr_eq(&connecting.ticket, &self.ticket);
        if !state.connecting.as_ref().is_some_and(is_present) {
            return;
        }
        if std::thread::panicking() {
            // Only a function of the application panics there.
            let cause = io::Error::other("the function that starts the server panicked");
            let problem = StartError::Hook { cause };
            *lock(&self.ticket) =
                Some(Error::NotStarted { endpoint: link.endpoint.named(), problem });
        }
        state.forget(is_present);
        drop(state);
        link.changed.notify_waiters();
    }
}

/// A call that wants a connection.
struct Inside<'l> {
    link: &'l Link,
}

impl Inside<'_> {
    fn new(link: &Link) -> Inside<'_> {
        link.state().inside += 1;
        Inside { link }
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        let mut state = self.link.state();
        state.inside -= 1;
        // Its task sees that, and stops. Who comes next has a task of its own.
        if state.inside == 0 {
            state.forget(|connecting| !connecting.is_kept);
        }
    }
}
