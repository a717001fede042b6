//! A call in flight.

use super::Inner;
use super::lead::Lead;
use super::pending::Outcome;
use crate::error::{Error, Progress};
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

/// A request that was sent; its reply can be waited for. Dropping it, or the end of its time, cancels the call: the
/// server is told, and work that it has not begun is not done. Until the server has confirmed it, the call counts
/// against [`Limits::in_flight`](crate::Limits::in_flight).
#[must_use = "a call that is dropped is cancelled"]
pub struct Call {
    inner: Arc<Inner>,
    id: u32,
    began: Instant,
    deadline: Instant,
    /// Its outcome has been returned.
    collected: bool,
}

impl Call {
    pub(super) fn new(inner: Arc<Inner>, id: u32, began: Instant, deadline: Instant) -> Call {
        Call { inner, id, began, deadline, collected: false }
    }

    /// The position in the stream at which its request ends; `u64::MAX` until all of it is queued.
    pub(super) fn end(&self) -> u64 {
        self.inner.pending.end_of(self.id)
    }

    /// Waits for the reply, until the call's deadline.
    ///
    /// # Errors
    /// As [`Client::call`](crate::Client::call); [`Error::Misuse`] if [`try_wait`](Call::try_wait) has
    /// returned the outcome before.
    pub fn wait(mut self) -> Result<Bytes, Error> {
        if self.collected {
            let problem = "try_wait has returned the outcome of this call: there is no other";
            let endpoint = self.inner.endpoint.clone();
            return Err(Error::Misuse { endpoint, problem: problem.to_owned() });
        }
        loop {
            if let Some(result) = self.collect() {
                return result;
            }
            if self.inner.pending.lead_or_follow(self.id, Some(self.deadline)) {
                let lead = Lead::taken(&self.inner.channel, &self.inner.pending);
                self.inner.lead(&lead, self.id, self.deadline);
            }
            self.expire();
        }
    }

    /// Returns the reply if it has arrived. Reads arrived bytes and does not wait. `None`: no reply yet. After
    /// `Some` the call has ended, and every further call of this function returns `None`.
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
        if self.collected {
            return None;
        }
        if let Some(result) = self.collect() {
            return Some(result);
        }
        // If another thread has the lead, that thread delivers the reply.
        if let Some(lead) = Lead::take(&self.inner.channel, &self.inner.pending) {
            self.inner.read_arrived(&lead);
        }
        self.expire();
        self.collect()
    }

    /// The outcome, if the call has ended.
    fn collect(&mut self) -> Option<Result<Bytes, Error>> {
        let (outcome, end) = self.inner.pending.collect(self.id)?;
        self.collected = true;
        Some(self.result(outcome, end))
    }

    /// If the deadline has passed and the call has not ended: ends all calls with passed deadlines.
    fn expire(&self) {
        let now = Instant::now();
        if self.deadline <= now && !self.inner.pending.is_ended(self.id) {
            self.inner.pending.expire(now);
            self.inner.channel.send_soon(&self.inner.pending);
        }
    }

    fn result(&self, outcome: Outcome, end: u64) -> Result<Bytes, Error> {
        let endpoint = &self.inner.endpoint;
        match outcome {
            Outcome::Reply(reply) => Ok(reply),
            Outcome::Error(reply) => {
                Err(Error::Answered { endpoint: endpoint.clone(), reply: *reply })
            }
            Outcome::Deadline => {
                let given = self.deadline - self.began;
                Err(Error::late(endpoint, given, self.began, Progress::Unknown))
            }
            Outcome::Closed(reason) => {
                let unsent = self.inner.channel.is_surely_unsent(end);
                let progress = if unsent { Progress::NotBegun } else { Progress::of(&reason) };
                Err(Error::closed(endpoint, *reason, progress))
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
        if !self.collected && self.inner.pending.abandon(self.id) {
            self.inner.channel.send_soon(&self.inner.pending);
        }
    }
}
