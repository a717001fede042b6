//! A reply of any number of parts.

use super::shared::Handle;
use crate::client::pending::Outcome;
use crate::counts::CallEnd;
use crate::error::Error;
use crate::exchange::Metadata;
use crate::trace::CallSpan;
use bytes::Bytes;
use futures_core::Stream;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

/// So many parts without bytes are passed over in one poll: a server may send them without end, and others wait for the thread.
const EMPTY_PARTS: usize = 128;

/// The parts of a reply, in order; [`Client::stream`](super::Client::stream) begins the call.
///
/// It is a [`Stream`] of them. As [`AsyncRead`](tokio::io::AsyncRead) it joins the bytes of all parts; an error is then in
/// the [`io::Error`]. Dropping it cancels the call: the server is told, and sends no more. While nobody takes parts, the
/// server waits, and other calls go on.
///
/// A sender that gives up, as by a panic, ends the reply with [`Error::Answered`], code
/// [`ErrorReply::FAILED`](crate::ErrorReply::FAILED). So a reply without an error is complete.
///
/// ```no_run
/// # async fn f(client: msgpipe::tokio::Client) -> Result<(), Box<dyn std::error::Error>> {
/// let mut parts = client.stream("the notes of 2026").await?;
/// tokio::io::copy(&mut parts, &mut tokio::io::sink()).await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a reply that is dropped is cancelled"]
pub struct Parts {
    inner: Arc<Handle>,
    id: u32,
    began: Instant,
    /// The reply has ended, and its end has been returned.
    is_over: bool,
    /// It has ended with an error.
    has_failed: bool,
    /// Of the part that is being read.
    rest: Bytes,
    span: CallSpan,
}

impl Parts {
    pub(super) fn new(inner: Arc<Handle>, id: u32, began: Instant, span: CallSpan) -> Parts {
        let (is_over, has_failed, rest) = (false, false, Bytes::new());
        Parts { inner, id, began, is_over, has_failed, rest, span }
    }

    /// Waits for the next part. `None`: the reply has ended. An item that is an error is the last.
    ///
    /// Cancel safety: a dropped future takes nothing. There is no limit of time: put a `timeout` around it.
    ///
    /// # Errors
    /// [`Error::Answered`] for an error reply, also after parts, and [`Error::Closed`] if the connection has ended.
    pub async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        poll_fn(|context| self.poll_part(context)).await
    }

    /// Returns the next part if it has arrived. Does not wait. `Some(Ok(None))`: the reply has ended.
    ///
    /// # Errors
    /// As [`next`](Parts::next).
    pub fn try_next(&mut self) -> Option<Result<Option<Bytes>, Error>> {
        if self.is_over {
            return Some(Ok(None));
        }
        let pending = &self.inner.pending;
        if let Some((part, has_unsent)) = pending.next_part(self.id) {
            if has_unsent {
                self.inner.kick();
            }
            return Some(Ok(Some(part)));
        }
        let (outcome, end, _) = pending.collect(self.id)?;
        self.is_over = true;
        let result = match outcome {
            Outcome::End => Ok(None),
            outcome => {
                self.has_failed = true;
                Err(self.inner.error(outcome, end, self.began, Duration::ZERO))
            }
        };
        self.span.outcome(&result);
        Some(result)
    }

    /// What the server has sent beside the first part ([`Responder::with_metadata`](crate::Responder::with_metadata)), once
    /// that has been taken and until the end; mostly nothing.
    pub fn metadata(&self) -> Metadata {
        self.inner.pending.metadata(self.id)
    }

    /// Whether the server has said that it begins no more calls.
    pub(crate) fn server_stops(&self) -> bool {
        self.inner.pending.is_draining()
    }

    pub(crate) fn endpoint(&self) -> &Arc<str> {
        &self.inner.endpoint
    }

    pub(crate) fn poll_part(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Error>>> {
        loop {
            if let Some(next) = self.try_next() {
                return Poll::Ready(next.transpose());
            }
            if self.inner.pending.watch(self.id, context.waker()) {
                return Poll::Pending;
            }
        }
    }

    /// Bytes of the part that is being read, or of the next one. None at the end.
    pub(crate) fn poll_bytes(&mut self, context: &mut Context<'_>) -> Poll<io::Result<&mut Bytes>> {
        for _ in 0..EMPTY_PARTS {
            if !self.rest.is_empty() {
                return Poll::Ready(Ok(&mut self.rest));
            }
            match ready!(self.poll_part(context)) {
                Some(part) => self.rest = part.map_err(io::Error::other)?,
                None if self.has_failed => {
                    let text = "the reply ended with an error, and is incomplete";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, text)));
                }
                None => return Poll::Ready(Ok(&mut self.rest)),
            }
        }
        // One that is not empty waits for the next poll, too.
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Stream for Parts {
    type Item = Result<Bytes, Error>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Error>>> {
        self.poll_part(context)
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoint = &self.inner.endpoint;
        f.debug_struct("Parts")
            .field("endpoint", endpoint)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        if !self.is_over {
            self.span.ends(CallEnd::Cancelled);
            self.inner.pending.abandon(self.id);
            self.inner.kick();
        }
    }
}
