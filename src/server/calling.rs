//! Calls of the server to a client: the state that their callers and the loop share.

use super::connection::Place;
use crate::clock;
use crate::error::{CloseReason, Error, ErrorReply, Progress};
use crate::guard::guarded;
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::{Condvar, Mutex, MutexGuard};
use bytes::Bytes;
use std::fmt;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// How a call to a client has ended.
#[derive(Debug)]
pub(super) enum Outcome {
    Reply(Bytes),
    Error(Box<ErrorReply>),
    /// Its time has passed.
    Deadline(Progress),
    /// The connection has ended.
    Closed(CloseReason, Progress),
    /// The body is over the client's limit.
    TooLarge {
        limit: usize,
        body: Bytes,
    },
}

type Then = Box<dyn FnOnce(Result<Bytes, Error>) + Send>;

/// See the [module](self).
pub(super) struct Calling {
    endpoint: Arc<str>,
    began: Instant,
    given: Duration,
    /// Its id in the machine of its client; 0 until it is there.
    id: AtomicU32,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    outcome: Option<Outcome>,
    then: Option<Then>,
    /// It counts as a call in flight until it has ended.
    place: Option<Place>,
}

impl Calling {
    pub fn new(endpoint: Arc<str>, given: Duration, place: Place) -> Calling {
        let state = Mutex::new(State { outcome: None, then: None, place: Some(place) });
        let (began, id, changed) = (clock::now(), AtomicU32::new(0), Condvar::new());
        Calling { endpoint, began, given, id, state, changed }
    }

    /// When the caller stops waiting.
    pub fn deadline(&self) -> Option<Instant> {
        self.began.checked_add(self.given)
    }

    /// The loop has opened it.
    pub fn is_opened(&self, id: u32) {
        self.id.store(id, Ordering::SeqCst);
    }

    /// Its id in the machine, if it is there.
    pub fn id(&self) -> Option<u32> {
        Some(self.id.load(Ordering::SeqCst)).filter(|id| *id != 0)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It has ended. The first outcome counts.
    pub fn finish(&self, outcome: Outcome) {
        let mut state = self.lock();
        let place = state.place.take();
        if place.is_none() {
            return;
        }
        state.outcome = Some(outcome);
        self.changed.notify_all();
        drop(state);
        drop(place);
        self.run();
    }

    /// What is to be done with the outcome.
    pub fn set_then(&self, then: Then) {
        self.lock().then = Some(then);
        self.run();
    }

    /// Runs what is to be done with the outcome, if there are both.
    fn run(&self) {
        let mut state = self.lock();
        if state.then.is_none() || state.outcome.is_none() {
            return;
        }
        let (then, outcome) = (state.then.take(), state.outcome.take());
        drop(state);
        if let (Some(then), Some(outcome)) = (then, outcome) {
            let result = self.result(outcome);
            guarded(|| then(result));
        }
    }

    /// The outcome, if it has ended, once.
    pub fn take(&self) -> Option<Result<Bytes, Error>> {
        let outcome = self.lock().outcome.take()?;
        Some(self.result(outcome))
    }

    /// Waits for the outcome until then.
    pub fn wait(&self, until: Option<Instant>) -> Option<Result<Bytes, Error>> {
        let mut state = self.lock();
        let outcome = loop {
            if let Some(outcome) = state.outcome.take() {
                break outcome;
            }
            let Some(until) = until else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = until.saturating_duration_since(clock::now());
            if left.is_zero() {
                return None;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        };
        drop(state);
        Some(self.result(outcome))
    }

    /// The error for a call that is over its time.
    pub fn late(&self, given: Duration, progress: Progress) -> Error {
        Error::late(&self.endpoint, given, self.began, progress)
    }

    pub fn misuse(&self, problem: &str) -> Error {
        Error::Misuse { endpoint: self.endpoint.clone(), problem: problem.to_owned() }
    }

    fn result(&self, outcome: Outcome) -> Result<Bytes, Error> {
        let endpoint = self.endpoint.clone();
        Err(match outcome {
            Outcome::Reply(body) => return Ok(body),
            Outcome::Error(reply) => Error::Answered { endpoint, reply: *reply },
            Outcome::Deadline(progress) => self.late(self.given, progress),
            Outcome::Closed(reason, progress) => Error::Closed { endpoint, reason, progress },
            Outcome::TooLarge { limit, body } => {
                Error::TooLarge { endpoint, size: body.len(), limit, message: body }
            }
        })
    }
}

impl fmt::Debug for Calling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calling").field("id", &self.id).finish_non_exhaustive()
    }
}
