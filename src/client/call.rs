//! A call that is under way.

use super::Inner;
use super::lead::Lead;
use super::pending::{Outcome, Slot};
use crate::error::{Error, Progress};
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A request that was sent; its reply can be waited for. Dropped, the reply is not waited for, and
/// is thrown away when it comes.
#[must_use = "a call that is dropped throws its reply away"]
pub struct Call {
    inner: Arc<Inner>,
    id: u32,
    slot: Arc<Slot>,
    began: Instant,
    deadline: Option<Instant>,
}

impl Call {
    pub(super) fn new(
        inner: Arc<Inner>,
        id: u32,
        slot: Arc<Slot>,
        began: Instant,
        deadline: Option<Instant>,
    ) -> Call {
        Call { inner, id, slot, began, deadline }
    }

    pub(super) fn id(&self) -> u32 {
        self.id
    }

    pub(super) fn slot(&self) -> &Slot {
        &self.slot
    }

    /// Waits for the reply, until the call's time is over.
    ///
    /// # Errors
    /// As [`Client::call`](crate::Client::call).
    pub fn wait(self) -> Result<Bytes, Error> {
        loop {
            if let Some(outcome) = self.slot.take() {
                return self.result(outcome);
            }
            if self.inner.pending.lead_or_follow(&self.slot, self.deadline) {
                let lead = Lead::taken(&self.inner.channel, &self.inner.pending);
                self.inner.lead(&lead, &self.slot, self.deadline);
            }
            if !self.slot.is_finished() {
                self.expire();
            }
        }
    }

    /// The reply, if it is there; reads what has arrived, and does not wait. `None`: there is none yet.
    /// After `Some` the call is over: there is nothing more to be had of it.
    ///
    /// # Errors
    /// As [`Client::call`](crate::Client::call).
    ///
    /// ```no_run
    /// let client = msgpipe::Client::connect("com.example.notes")?;
    /// let mut call = client.start("a long question")?;
    /// let reply = loop {
    ///     match call.try_wait() {
    ///         Some(reply) => break reply?,
    ///         None => std::thread::yield_now(), // or do something else meanwhile
    ///     }
    /// };
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    pub fn try_wait(&mut self) -> Option<Result<Bytes, Error>> {
        if !self.slot.is_finished() {
            // Whoever has the right to read delivers what comes.
            if let Some(lead) = Lead::take(&self.inner.channel, &self.inner.pending) {
                self.inner.read_what_is_there(&lead);
            }
            self.expire();
        }
        let outcome = self.slot.take()?;
        Some(self.result(outcome))
    }

    /// Ends it, and others, if its time is over.
    fn expire(&self) {
        let now = Instant::now();
        if self.deadline.is_some_and(|at| at <= now) {
            self.inner.pending.expire(now);
        }
    }

    fn result(&self, outcome: Outcome) -> Result<Bytes, Error> {
        let endpoint = self.inner.endpoint.clone();
        match outcome {
            Outcome::Reply(reply) => Ok(reply),
            Outcome::Error(reply) => Err(Error::Answered { endpoint, reply }),
            Outcome::Deadline => {
                let given = self.deadline.map_or(Duration::MAX, |at| at - self.began);
                Err(Error::late(&endpoint, given, self.began, Progress::Unknown))
            }
            Outcome::Closed(reason) => {
                let unsent = self.inner.channel.is_surely_unsent(self.slot.end());
                let progress = if unsent { Progress::NotBegun } else { Progress::of(&reason) };
                Err(Error::closed(&endpoint, reason, progress))
            }
        }
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoint = &self.inner.endpoint;
        f.debug_struct("Call")
            .field("endpoint", endpoint)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.slot.is_finished() {
            self.inner.pending.abandon(self.id);
        }
    }
}
