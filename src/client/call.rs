//! A call in flight.

use super::inner::Inner;
use super::pending::Outcome;
use crate::error::Error;
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
            self.inner.wait(self.id, Some(self.deadline));
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
        self.inner.look();
        self.expire();
        self.collect()
    }

    /// The outcome, if the call has ended.
    fn collect(&mut self) -> Option<Result<Bytes, Error>> {
        let (outcome, end) = self.inner.collect(self.id)?;
        self.collected = true;
        Some(match outcome {
            Outcome::Reply(reply) => Ok(reply),
            outcome => Err(self.inner.error(outcome, end, self.began, self.deadline - self.began)),
        })
    }

    /// If the deadline has passed and the call has not ended: ends all calls with passed deadlines.
    fn expire(&self) {
        let now = Instant::now();
        if self.deadline <= now && !self.inner.pending.is_ready(self.id) {
            self.inner.pending.expire(now);
            self.inner.channel.send_soon(&self.inner.pending);
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
        if !self.collected {
            self.inner.abandon(self.id);
        }
    }
}
