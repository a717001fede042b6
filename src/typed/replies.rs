//! What a blocking client has of calls with many parts.

use super::codec::Codec;
use super::error::{CallError, ServiceError};
use super::method::Method;
use super::received::{failed, reply, unsendable_item};
use crate::client as blocking;
use crate::client::{Parts, Received, Upload};
use crate::error::Error;
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

/// The items of a reply, in order. As an iterator it waits for each without a limit; dropping it cancels the call. An error
/// ends it, also that of an item that cannot be read. So items without an error are all.
#[must_use = "a reply that is dropped is cancelled"]
pub struct Replies<T, E> {
    parts: Parts,
    method: &'static Method,
    codec: Codec,
    has_failed: bool,
    of: PhantomData<fn() -> (T, E)>,
}

impl<T: DeserializeOwned, E: ServiceError> Replies<T, E> {
    pub(super) fn new(parts: Parts, method: &'static Method, codec: Codec) -> Replies<T, E> {
        Replies { parts, method, codec, has_failed: false, of: PhantomData }
    }

    /// Waits for the next item, at most for `timeout`. `None`: the reply has ended.
    ///
    /// # Errors
    /// [`Error::Deadline`] in [`CallError::Call`] if there is none within `timeout`: the next one can still be waited for. Any
    /// other is the end.
    pub fn next_within(&mut self, timeout: Duration) -> Result<Option<T>, CallError<E>> {
        if self.has_failed {
            return Ok(None);
        }
        let part = self.parts.next_within(timeout).transpose();
        self.read(part).transpose()
    }

    fn read(&mut self, part: Option<Result<Bytes, Error>>) -> Option<Result<T, CallError<E>>> {
        let item = reply(self.method, self.codec, part?);
        let is_late = matches!(&item, Err(CallError::Call(Error::Deadline { .. })));
        self.has_failed = item.is_err() && !is_late;
        Some(item)
    }
}

impl<T: DeserializeOwned, E: ServiceError> Iterator for Replies<T, E> {
    type Item = Result<T, CallError<E>>;

    fn next(&mut self) -> Option<Result<T, CallError<E>>> {
        if self.has_failed {
            return None;
        }
        let part = self.parts.next();
        self.read(part)
    }
}

impl<T, E> fmt::Debug for Replies<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replies").field("method", &self.method.name).finish_non_exhaustive()
    }
}

/// Sends the items of a request while its reply comes in parts. [`end`](Sender::end) it: dropped, the method learns that the
/// request is incomplete.
#[must_use = "dropped, the request is incomplete"]
pub struct Sender<T, E> {
    upload: Upload,
    method: &'static Method,
    codec: Codec,
    of: PhantomData<fn(T) -> E>,
}

impl<T: Serialize, E: ServiceError> Sender<T, E> {
    pub(super) fn new(upload: Upload, method: &'static Method, codec: Codec) -> Sender<T, E> {
        Sender { upload, method, codec, of: PhantomData }
    }

    /// Sends an item. Blocks while there is no room for it, until the server takes items or the call ends.
    ///
    /// # Errors
    /// [`Error::Stopped`] in [`CallError::Call`] if the server takes no more: the reply says why. [`CallError::Mismatch`] for
    /// one that cannot be encoded; the request goes on without it.
    pub fn send(&mut self, item: &T) -> Result<(), CallError<E>> {
        let item = self.codec.encode(item);
        let item = item.map_err(|problem| unsendable_item(self.method, self.codec, problem))?;
        self.upload.send(item).map_err(|error| failed(self.method, self.codec, error))
    }

    /// Ends the request: all has been sent.
    ///
    /// # Errors
    /// As [`Upload::end`].
    pub fn end(self) -> Result<(), CallError<E>> {
        Ok(self.upload.end()?)
    }
}

impl<T, E> fmt::Debug for Sender<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("method", &self.method.name).finish_non_exhaustive()
    }
}

/// What is published, in order. As an iterator it waits without a limit; dropping it ends the subscription. Over a
/// [`ReconnectingClient`](crate::ReconnectingClient) it goes on after the end of a connection, and tells of the gap.
#[must_use = "a subscription that is dropped is cancelled"]
pub struct Subscription<T, E> {
    source: Source,
    method: &'static Method,
    codec: Codec,
    has_failed: bool,
    of: PhantomData<fn() -> (T, E)>,
}

enum Source {
    Parts(Box<Parts>),
    Reconnecting(Box<blocking::Subscription>),
}

/// What a [`Subscription`] returns.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Update<T> {
    /// What was published.
    Value(T),
    /// The connection has ended for this reason, and there is another one: what was published between them is missing. Only over
    /// a [`ReconnectingClient`](crate::ReconnectingClient).
    Gap(Arc<Error>),
}

impl<T: DeserializeOwned, E: ServiceError> Subscription<T, E> {
    pub(super) fn of_parts(parts: Parts, method: &'static Method, codec: Codec) -> Self {
        let source = Source::Parts(Box::new(parts));
        Subscription { source, method, codec, has_failed: false, of: PhantomData }
    }

    pub(super) fn reconnecting(
        subscription: blocking::Subscription,
        method: &'static Method,
        codec: Codec,
    ) -> Self {
        let source = Source::Reconnecting(Box::new(subscription));
        Subscription { source, method, codec, has_failed: false, of: PhantomData }
    }

    /// Waits for what is next, at most for `timeout`. `None`: the server has ended the subscription.
    ///
    /// # Errors
    /// [`Error::Deadline`] in [`CallError::Call`] if there is nothing within `timeout`: it can still be waited for. Any other is
    /// the end.
    pub fn next_within(&mut self, timeout: Duration) -> Result<Option<Update<T>>, CallError<E>> {
        if self.has_failed {
            return Ok(None);
        }
        let next = match &mut self.source {
            Source::Parts(parts) => parts.next_within(timeout).map(|it| it.map(Received::Part)),
            Source::Reconnecting(subscription) => subscription.next_within(timeout),
        };
        self.read(next.transpose()).transpose()
    }

    fn read(
        &mut self,
        received: Option<Result<Received, Error>>,
    ) -> Option<Result<Update<T>, CallError<E>>> {
        let part = match received? {
            Ok(Received::Gap(reason)) => return Some(Ok(Update::Gap(reason))),
            Ok(Received::Part(part)) => Ok(part),
            Err(error) => Err(error),
        };
        let value = reply(self.method, self.codec, part);
        let is_late = matches!(&value, Err(CallError::Call(Error::Deadline { .. })));
        self.has_failed = value.is_err() && !is_late;
        Some(value.map(Update::Value))
    }
}

impl<T: DeserializeOwned, E: ServiceError> Iterator for Subscription<T, E> {
    type Item = Result<Update<T>, CallError<E>>;

    fn next(&mut self) -> Option<Result<Update<T>, CallError<E>>> {
        if self.has_failed {
            return None;
        }
        let next = match &mut self.source {
            Source::Parts(parts) => parts.next().map(|part| part.map(Received::Part)),
            Source::Reconnecting(subscription) => subscription.next(),
        };
        self.read(next)
    }
}

impl<T, E> fmt::Debug for Subscription<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("method", &self.method.name).finish_non_exhaustive()
    }
}
