//! A call in flight.

use super::shared::Handle;
use crate::client::pending::Outcome;
use crate::counts::CallEnd;
use crate::error::Error;
use crate::exchange::Metadata;
use crate::trace::CallSpan;
use bytes::Bytes;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// A request that was begun, and the future of its reply; [`Client::start`](super::Client::start) begins it.
///
/// Dropping it, or the end of its time, cancels the call: the server is told, and work that it has not begun is not done.
/// [`detach`](Call::detach) leaves it to itself. It can be polled by any task, one after another; the last one is woken.
/// Polled by `&mut`, as by a `select!` or a `timeout` around it, the call goes on when that is dropped.
///
/// ```no_run
/// # async fn f(client: msgpipe::tokio::Client) -> Result<(), msgpipe::Error> {
/// use std::time::Duration;
/// let mut call = client.start("a long question").await?;
/// let reply = loop {
///     match tokio::time::timeout(Duration::from_secs(1), &mut call).await {
///         Ok(reply) => break reply?,
///         Err(_) => println!("still waiting"),
///     }
/// };
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// As [`msgpipe::Client::call`](crate::Client::call); [`Error::Misuse`] if its outcome was returned before.
#[must_use = "a call that is dropped is cancelled"]
pub struct Call {
    inner: Arc<Handle>,
    id: u32,
    began: Instant,
    time: Duration,
    /// Its outcome has been returned.
    is_collected: bool,
    span: CallSpan,
}

impl Call {
    pub(super) fn new(
        inner: Arc<Handle>,
        id: u32,
        began: Instant,
        time: Duration,
        span: CallSpan,
    ) -> Call {
        Call { inner, id, began, time, is_collected: false, span }
    }

    /// Returns the reply if it has arrived. `None`: no reply yet, or it was returned before. Does not wait.
    ///
    /// # Errors
    /// As the call itself.
    pub fn try_wait(&mut self) -> Option<Result<Bytes, Error>> {
        if self.is_collected {
            return None;
        }
        let (outcome, end, has_unsent) = self.inner.pending.collect(self.id)?;
        self.is_collected = true;
        if has_unsent {
            // Of a reply of parts only the first was asked for: the server is told.
            self.inner.kick();
        }
        let result = match outcome {
            Outcome::Reply(reply) => Ok(reply),
            outcome => Err(self.inner.error(outcome, end, self.began, self.time)),
        };
        self.span.outcome(&result);
        Some(result)
    }

    /// Waits for the reply, with the metadata that the server has sent beside it
    /// ([`Responder::with_metadata`](crate::Responder::with_metadata)); mostly there are none.
    ///
    /// Cancel safety: dropping the future cancels the call, which it owns.
    ///
    /// # Errors
    /// As the call itself.
    pub async fn wait_with_metadata(mut self) -> Result<(Bytes, Metadata), Error> {
        let (inner, id, is_collected) = (self.inner.clone(), self.id, self.is_collected);
        poll_fn(|context| match !is_collected && inner.pending.watch(id, context.waker()) {
            true => Poll::Pending,
            false => Poll::Ready(()),
        })
        .await;
        let metadata = inner.pending.metadata(id);
        let reply = (&mut self).await?;
        Ok((reply, metadata))
    }

    /// Cancels the call, as a drop does. Whether the request was carried out is not known after it.
    pub fn cancel(self) {
        drop(self);
    }

    /// Leaves the call to itself: the request is carried out, and its reply is dropped when it arrives.
    ///
    /// The call keeps its deadline, and counts against [`Limits::in_flight`](crate::Limits::in_flight) until its reply has
    /// come. When the last handle of the connection is dropped, it ends as all do: a request that was sent may still be
    /// carried out then.
    ///
    /// ```no_run
    /// # async fn f(client: msgpipe::tokio::Client) -> Result<(), msgpipe::Error> {
    /// client.start("remember that I was here").await?.detach();
    /// # Ok(())
    /// # }
    /// ```
    pub fn detach(mut self) {
        if !std::mem::replace(&mut self.is_collected, true) {
            self.inner.pending.detach(self.id);
        }
    }
}

impl Future for Call {
    type Output = Result<Bytes, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Bytes, Error>> {
        if self.is_collected {
            let problem = "the outcome of this call was returned before: there is no other";
            let endpoint = self.inner.endpoint.clone();
            return Poll::Ready(Err(Error::Misuse { endpoint, problem: problem.to_owned() }));
        }
        loop {
            if let Some(result) = self.try_wait() {
                return Poll::Ready(result);
            }
            if self.inner.pending.watch(self.id, context.waker()) {
                return Poll::Pending;
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
        if !self.is_collected {
            self.span.ends(CallEnd::Cancelled);
            self.inner.pending.abandon(self.id);
            self.inner.kick();
        }
    }
}
