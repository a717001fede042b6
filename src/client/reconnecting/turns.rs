//! What a call does next on its way to a connection: decided here for threads and for tasks. No I/O, and no clock.

use super::backoff::Backoff;
use super::patience::Patience;
use super::tries::{Tries, may_connect_later};
use crate::error::{CloseReason, Error, Progress};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A client of one connection.
pub(crate) trait OneConnection: Clone {
    /// Whether it is open, as far as is known, and the server begins calls.
    fn is_usable(&self) -> bool;

    /// Whether both use the same connection.
    fn is_same(&self, other: &Self) -> bool;
}

/// The connection that all calls share: there is one at a time. One call at a time makes a new one, or has it made; the
/// others wait for what becomes of it.
pub(crate) struct Turns<C> {
    pub client: Option<C>,
    pub is_connecting: bool,
    pub is_closed: bool,
    /// The connections that could not be made: who waits for one that another call makes counts it as its own.
    failed: u64,
    last: Option<Arc<Error>>,
}

/// What one call awaits.
#[derive(Default)]
pub(crate) struct Turn {
    /// While a connection is made for this call: how many had failed before.
    awaited: Option<u64>,
}

/// What a call does next.
pub(crate) enum Step<C> {
    Use(C),
    /// It makes the connection, for so long at most. Others see that it does.
    Connect(Duration),
    /// It waits for a change, so long at most.
    Wait(Duration),
}

impl<C: OneConnection> Turns<C> {
    pub fn new() -> Turns<C> {
        Turns { client: None, is_connecting: false, is_closed: false, failed: 0, last: None }
    }

    /// The next step of a call. Connections that could not be made count as tries of it. The first try is made at once,
    /// whatever became of those of other calls; between the others there are pauses. `name` is the endpoint's in errors.
    pub fn step(
        &mut self,
        turn: &mut Turn,
        tries: &mut Tries,
        backoff: &Backoff,
        patience: Patience,
        now: Instant,
        name: &dyn Fn() -> Arc<str>,
    ) -> Result<Step<C>, Error> {
        if self.is_closed {
            let error = Error::closed(&name(), CloseReason::Local, Progress::NotBegun);
            return Err(tries.end(error));
        }
        self.client = self.client.take().filter(OneConnection::is_usable);
        if let Some(client) = &self.client {
            return Ok(Step::Use(client.clone()));
        }
        if turn.awaited.is_some_and(|before| before < self.failed) {
            turn.awaited = None;
            tries.count(self.last.clone().expect("a try has failed"), backoff)?;
            tries.wait_from(now, backoff);
        }
        let left = patience.left(now);
        if left.is_zero() {
            return Err(tries.late(&name(), patience));
        }
        let pause = tries.pause_left(now);
        if !pause.is_zero() {
            turn.awaited = None;
            return Ok(Step::Wait(pause.min(left)));
        }
        turn.awaited.get_or_insert(self.failed);
        if self.is_connecting {
            return Ok(Step::Wait(left));
        }
        self.is_connecting = true;
        Ok(Step::Connect(left))
    }

    /// What has become of a connection. Errors that lead to other tries are those of who waits, too; another one is
    /// returned: it is that of the call whose step this was.
    pub fn settle(&mut self, made: Result<C, Error>) -> Option<Error> {
        match made {
            Ok(client) => {
                self.client = Some(client).filter(|_| !self.is_closed);
                None
            }
            Err(error) if may_connect_later(&error) => {
                self.failed += 1;
                self.last = Some(Arc::new(error));
                None
            }
            Err(error) => Some(error),
        }
    }

    /// This connection is not used any more: it has ended, or its server stops.
    pub fn lost(&mut self, client: &C) {
        self.client = self.client.take().filter(|present| !present.is_same(client));
    }
}
