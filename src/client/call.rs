//! A call in flight.

use super::inner::Inner;
use super::pending::Outcome;
use crate::clock;
use crate::counts::CallEnd;
use crate::error::Error;
use crate::exchange::Metadata;
use crate::limits::Limits;
use crate::trace::CallSpan;
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A request that was sent; its reply can be waited for. Dropping it, or the end of its time, cancels the call: the
/// server is told, and work that it has not begun is not done. Until the server has confirmed it, the call counts
/// against [`Limits::in_flight`](crate::Limits::in_flight): it does so when its handler has let go of the request, since
/// work that goes on costs as much as before. A handler can ask
/// ([`Responder::is_cancelled`](crate::Responder::is_cancelled)).
///
/// | | the caller | the request |
/// |---|---|---|
/// | [`wait`](Call::wait) | blocks until the end of the call | |
/// | [`wait_within`](Call::wait_within) | blocks for a time | goes on after it |
/// | [`try_wait`](Call::try_wait) | does not block | goes on |
/// | [`wait_any`](Call::wait_any) | blocks until one of several has ended | |
/// | [`cancel`](Call::cancel), drop | is done | is cancelled, if that is not too late |
/// | [`detach`](Call::detach) | is done | is carried out |
#[must_use = "a call that is dropped is cancelled"]
pub struct Call {
    inner: Arc<Inner>,
    id: u32,
    began: Instant,
    deadline: Instant,
    /// Its outcome has been returned.
    collected: bool,
    span: CallSpan,
}

impl Call {
    pub(super) fn new(
        inner: Arc<Inner>,
        id: u32,
        began: Instant,
        deadline: Instant,
        span: CallSpan,
    ) -> Call {
        Call { inner, id, began, deadline, collected: false, span }
    }

    /// Waits for the reply, until the call's deadline.
    ///
    /// # Errors
    /// As [`Client::call`](crate::Client::call); [`Error::Misuse`] if [`try_wait`](Call::try_wait) or
    /// [`wait_within`](Call::wait_within) has returned the outcome before.
    pub fn wait(mut self) -> Result<Bytes, Error> {
        if self.collected {
            return Err(
                self.misuse("the outcome of this call was returned before: there is no other")
            );
        }
        loop {
            if let Some(result) = self.collect() {
                return result;
            }
            self.inner.wait(&[self.id], Some(self.deadline));
            self.expire();
        }
    }

    /// As [`wait`](Call::wait), with the metadata that the server has sent beside the reply
    /// ([`Responder::with_metadata`](crate::Responder::with_metadata)); mostly there are none.
    ///
    /// # Errors
    /// As [`wait`](Call::wait).
    ///
    /// ```no_run
    /// let client = msgpipe::Client::connect("com.example.notes")?;
    /// let (reply, metadata) = client.start("the second note")?.wait_with_metadata()?;
    /// println!("{reply:?}, version {:?}", metadata.get(b"version"));
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    pub fn wait_with_metadata(self) -> Result<(Bytes, Metadata), Error> {
        while !self.collected && !self.inner.pending.is_ready(&[self.id]) {
            self.inner.wait(&[self.id], Some(self.deadline));
            self.expire();
        }
        let metadata = self.inner.pending.metadata(self.id);
        let reply = self.wait()?;
        Ok((reply, metadata))
    }

    /// Waits for the reply, at most for `limit`. `None`: it has not arrived yet, and the call goes on. After `Some` the
    /// call has ended, and every further call of this function returns `None` at once.
    ///
    /// # Errors
    /// As [`Client::call`](crate::Client::call); [`Error::Deadline`] only at the call's own deadline.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// let client = msgpipe::Client::connect("com.example.notes")?;
    /// let mut call = client.start("a long question")?;
    /// let reply = loop {
    ///     match call.wait_within(Duration::from_secs(1)) {
    ///         Some(reply) => break reply?,
    ///         None => println!("still waiting"),
    ///     }
    /// };
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    pub fn wait_within(&mut self, limit: Duration) -> Option<Result<Bytes, Error>> {
        let limit = Limits::until(limit);
        while !self.collected {
            let result = self.collect();
            if result.is_some() || limit <= clock::now() {
                return result;
            }
            self.inner.wait(&[self.id], Some(self.deadline.min(limit)));
            self.expire();
        }
        None
    }

    /// Waits until one of these calls has ended, at most for `limit`; `None`: until one has. Returns its index: its
    /// [`wait`](Call::wait) or [`try_wait`](Call::try_wait) returns at once then. `Ok(None)`: none has ended within
    /// `limit`; all go on. A call ends at its own deadline too. Calls with an outcome that was returned are passed over.
    ///
    /// All calls must be of the same connection (a [`Client`](crate::Client) and its clones): a thread waits for one
    /// stream at a time. For calls of several connections use a thread for each, or
    /// [`try_wait`](Call::try_wait).
    ///
    /// # Errors
    /// [`Error::Misuse`] for calls of different connections, or if there is none to wait for.
    ///
    /// ```no_run
    /// use msgpipe::Call;
    /// let client = msgpipe::Client::connect("com.example.notes")?;
    /// let mut calls = vec![client.start("one")?, client.start("two")?];
    /// while !calls.is_empty() {
    ///     if let Some(index) = Call::wait_any(&mut calls, None)? {
    ///         println!("{:?}", calls.swap_remove(index).wait()?);
    ///     }
    /// }
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    pub fn wait_any(calls: &mut [Call], limit: Option<Duration>) -> Result<Option<usize>, Error> {
        let limit = limit.map(Limits::until);
        let open: Vec<usize> = (0..calls.len()).filter(|at| !calls[*at].collected).collect();
        let Some(first) = open.first().map(|at| &calls[*at]) else {
            let endpoint: Arc<str> =
                calls.first().map_or("calls".into(), |it| it.inner.endpoint.clone());
            let problem =
                "there is no call to wait for: the outcomes of all were returned".to_owned();
            return Err(Error::Misuse { endpoint, problem });
        };
        if open.iter().any(|at| !Arc::ptr_eq(&calls[*at].inner, &first.inner)) {
            let problem =
                "these calls are of different connections: wait for those of one at a time";
            return Err(first.misuse(problem));
        }
        let ids: Vec<u32> = open.iter().map(|at| calls[*at].id).collect();
        let deadline = open.iter().map(|at| calls[*at].deadline).chain(limit).min();
        loop {
            let now = clock::now();
            if deadline.is_some_and(|at| at <= now) {
                open.iter().for_each(|at| calls[*at].expire());
            }
            let ended = open.iter().find(|at| first.inner.pending.is_ready(&[calls[**at].id]));
            if ended.is_some() || limit.is_some_and(|at| at <= now) {
                return Ok(ended.copied());
            }
            first.inner.wait(&ids, deadline);
        }
    }

    /// Cancels the call, as a drop does: the server is told, and work that it has not begun is not done. Whether the
    /// request was carried out is not known after it. Does not block: while the system takes nothing more, because the
    /// server does not read, the server is told by the next thread that sends or reads with this client.
    pub fn cancel(self) {
        drop(self);
    }

    /// Leaves the call to itself: the request is carried out, and its reply is dropped when it arrives. Nothing of
    /// the reply is kept, an error neither. Does not block.
    ///
    /// The call keeps its deadline: at the end of its time the server cancels it
    /// ([`Client::with_timeout`](crate::Client::with_timeout)). It counts against
    /// [`Limits::in_flight`](crate::Limits::in_flight) until a thread reads its reply; a new call at the limit does. Of
    /// a request of more than 1 MiB, and of more requests than the server takes at once
    /// ([`Limits::connection_window`](crate::Limits::connection_window)), the rest is sent by the next thread that sends or reads. As all of a client it ends
    /// when the last clone of the client is dropped: a request that was sent may still be carried out then.
    ///
    /// ```no_run
    /// let client = msgpipe::Client::connect("com.example.notes")?;
    /// client.start("remember that I was here")?.detach();
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    pub fn detach(mut self) {
        if !std::mem::replace(&mut self.collected, true) {
            self.inner.pending.detach(self.id);
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

    fn misuse(&self, problem: &str) -> Error {
        Error::Misuse { endpoint: self.inner.endpoint.clone(), problem: problem.to_owned() }
    }

    /// The outcome, if the call has ended.
    fn collect(&mut self) -> Option<Result<Bytes, Error>> {
        let (outcome, end) = self.inner.collect(self.id)?;
        self.collected = true;
        let result = match outcome {
            Outcome::Reply(reply) => Ok(reply),
            outcome => Err(self.inner.error(outcome, end, self.began, self.deadline - self.began)),
        };
        self.span.outcome(&result);
        Some(result)
    }

    /// If the deadline has passed and the call has not ended: ends all calls with passed deadlines.
    fn expire(&self) {
        let now = clock::now();
        if self.deadline <= now && !self.inner.pending.is_ready(&[self.id]) {
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
            self.span.ends(CallEnd::Cancelled);
            self.inner.abandon(self.id);
        }
    }
}
