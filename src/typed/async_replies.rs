//! What an async client has of calls with many parts.

use super::codec::Codec;
use super::error::{CallError, ServiceError};
use super::method::Method;
use super::received::{failed, reply, unsendable_item};
use crate::client::driven::{Parts, Upload};
#[cfg(doc)]
use crate::error::Error;
use futures_core::Stream;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// The items of a reply, or what is published, in order: a [`Stream`] of them. Dropping it cancels the call. An error is the
/// last item, also that of an item that cannot be read. Features `typed` and `tokio`.
#[must_use = "a reply that is dropped is cancelled"]
pub struct AsyncReplies<T, E> {
    parts: Parts,
    method: &'static Method,
    codec: Codec,
    has_failed: bool,
    of: PhantomData<fn() -> (T, E)>,
}

impl<T: DeserializeOwned, E: ServiceError> AsyncReplies<T, E> {
    pub(super) fn new(parts: Parts, method: &'static Method, codec: Codec) -> AsyncReplies<T, E> {
        AsyncReplies { parts, method, codec, has_failed: false, of: PhantomData }
    }

    /// Waits for the next item. `None`: the reply has ended. There is no limit of time: put a `timeout` around it.
    ///
    /// Cancel safety: a dropped future takes nothing.
    ///
    /// # Errors
    /// As [`CallError`].
    pub async fn next(&mut self) -> Option<Result<T, CallError<E>>> {
        poll_fn(|context| self.poll_item(context)).await
    }

    fn poll_item(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<T, CallError<E>>>> {
        if self.has_failed {
            return Poll::Ready(None);
        }
        let part = ready!(Pin::new(&mut self.parts).poll_next(context));
        let item = part.map(|part| reply(self.method, self.codec, part));
        self.has_failed = matches!(item, Some(Err(_)));
        Poll::Ready(item)
    }
}

impl<T: DeserializeOwned, E: ServiceError> Stream for AsyncReplies<T, E> {
    type Item = Result<T, CallError<E>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_item(context)
    }
}

impl<T, E> fmt::Debug for AsyncReplies<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncReplies").field("method", &self.method.name).finish_non_exhaustive()
    }
}

/// Sends the items of a request while its reply comes in parts. [`end`](AsyncSender::end) it: dropped, the method learns that the
/// request is incomplete. Features `typed` and `tokio`.
#[must_use = "dropped, the request is incomplete"]
pub struct AsyncSender<T, E> {
    upload: Upload,
    method: &'static Method,
    codec: Codec,
    of: PhantomData<fn(T) -> E>,
}

impl<T: Serialize, E: ServiceError> AsyncSender<T, E> {
    pub(super) fn new(upload: Upload, method: &'static Method, codec: Codec) -> AsyncSender<T, E> {
        AsyncSender { upload, method, codec, of: PhantomData }
    }

    /// Sends an item. Waits while there is no room for it, until the server takes items or the call ends.
    ///
    /// Cancel safety: dropped before it is done, the item was not sent, and the request goes on without it.
    ///
    /// # Errors
    /// [`Error::Stopped`] in [`CallError::Call`] if the server takes no more: the reply says why. [`CallError::Mismatch`] for
    /// one that cannot be encoded; the request goes on without it.
    pub async fn send(&mut self, item: &T) -> Result<(), CallError<E>> {
        let item = self.codec.encode(item);
        let item = item.map_err(|problem| unsendable_item(self.method, self.codec, problem))?;
        self.upload.send(item).await.map_err(|error| failed(self.method, self.codec, error))
    }

    /// Ends the request: all has been sent.
    ///
    /// # Errors
    /// As [`msgpipe::tokio::Upload::end`](crate::tokio::Upload::end).
    pub fn end(self) -> Result<(), CallError<E>> {
        Ok(self.upload.end()?)
    }
}

impl<T, E> fmt::Debug for AsyncSender<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncSender").field("method", &self.method.name).finish_non_exhaustive()
    }
}
