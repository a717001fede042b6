//! Calls of an async client.

use super::arguments::{Arguments, Named};
use super::async_replies::{AsyncReplies, AsyncSender};
use super::codec::Codec;
use super::error::{CallError, Never, ServiceError};
use super::interface::Interface;
use super::method::{DESCRIBE_METHOD, Method};
use super::received::{failed, no_reply, reply, step, unsendable, unsendable_item};
use super::step::Step;
use crate::client::driven::Client;
use crate::error::Error;
use futures_core::Stream;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::future::poll_fn;
use std::pin::pin;

/// The connection of a typed async client: a [`msgpipe::tokio::Client`](crate::tokio::Client), with the time and the metadata
/// that were set there, and a codec. Features `typed` and `tokio`.
#[derive(Clone, Debug)]
pub struct AsyncCaller {
    client: Client,
    codec: Codec,
}

impl From<Client> for AsyncCaller {
    fn from(client: Client) -> AsyncCaller {
        AsyncCaller { client, codec: Codec::default() }
    }
}

impl AsyncCaller {
    /// The same connection with another codec.
    #[must_use]
    pub fn with_codec(&self, codec: Codec) -> AsyncCaller {
        AsyncCaller { codec, ..self.clone() }
    }

    /// The codec of its calls.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Asks the server what it serves.
    ///
    /// # Errors
    /// As any call; [`CallError::Mismatch`] if the server is not typed.
    pub async fn describe(&self) -> Result<Interface, CallError<Never>> {
        self.with_codec(Codec::Json).unary(&DESCRIBE_METHOD, &()).await
    }

    fn client(&self, method: &Method) -> Client {
        self.client.with_method(method.number)
    }

    fn arguments<A: Arguments, E>(
        &self,
        method: &'static Method,
        arguments: &A,
    ) -> Result<Vec<u8>, CallError<E>> {
        let encoded = self.codec.encode(&Named(method.arguments, arguments));
        encoded.map_err(|problem| unsendable(method, self.codec, problem))
    }
}

/// For the code of the attribute.
#[doc(hidden)]
impl AsyncCaller {
    /// One request, one reply.
    pub async fn unary<A, T, E>(
        &self,
        method: &'static Method,
        arguments: &A,
    ) -> Result<T, CallError<E>>
    where
        A: Arguments,
        T: DeserializeOwned,
        E: ServiceError,
    {
        let request = self.arguments(method, arguments)?;
        reply(method, self.codec, self.client(method).call(request).await)
    }

    /// No reply.
    pub async fn one_way<A: Arguments, E>(
        &self,
        method: &'static Method,
        arguments: &A,
    ) -> Result<(), CallError<E>> {
        let body = self.arguments(method, arguments)?;
        Ok(self.client(method).notify(body).await?)
    }

    /// A reply of many parts.
    pub async fn replies<A, T, E>(
        &self,
        method: &'static Method,
        arguments: &A,
    ) -> Result<AsyncReplies<T, E>, CallError<E>>
    where
        A: Arguments,
        T: DeserializeOwned,
        E: ServiceError,
    {
        let request = self.arguments(method, arguments)?;
        let parts = self.client(method).stream(request).await?;
        Ok(AsyncReplies::new(parts, method, self.codec))
    }

    /// A request of many parts. What the server takes no more is not sent; its reply says why.
    pub async fn upload<A, I, T, E>(
        &self,
        method: &'static Method,
        arguments: &A,
        items: impl Stream<Item = I>,
    ) -> Result<T, CallError<E>>
    where
        A: Arguments,
        I: Serialize,
        T: DeserializeOwned,
        E: ServiceError,
    {
        let first = self.arguments(method, arguments)?;
        let mut upload = self.client(method).upload()?;
        let mut sent = upload.send(first).await;
        let mut items = pin!(items);
        while sent.is_ok() {
            let Some(item) = poll_fn(|context| items.as_mut().poll_next(context)).await else {
                break;
            };
            let item = self.codec.encode(&item);
            let item = item.map_err(|problem| unsendable_item(method, self.codec, problem))?;
            sent = upload.send(item).await;
        }
        match sent {
            Ok(()) | Err(Error::Stopped { .. }) => {}
            Err(error) => return Err(failed(method, self.codec, error)),
        }
        reply(method, self.codec, upload.finish()?.await)
    }

    /// Both.
    #[allow(clippy::type_complexity)]
    pub async fn duplex<A, I, T, E>(
        &self,
        method: &'static Method,
        arguments: &A,
    ) -> Result<(AsyncSender<I, E>, AsyncReplies<T, E>), CallError<E>>
    where
        A: Arguments,
        I: Serialize,
        T: DeserializeOwned,
        E: ServiceError,
    {
        let first = self.arguments(method, arguments)?;
        let (mut upload, parts) = self.client(method).duplex()?;
        match upload.send(first).await {
            // Its reply says why.
            Ok(()) | Err(Error::Stopped { .. }) => {}
            Err(error) => return Err(failed(method, self.codec, error)),
        }
        let sender = AsyncSender::new(upload, method, self.codec);
        Ok((sender, AsyncReplies::new(parts, method, self.codec)))
    }

    /// A reply, and progress until then.
    pub async fn progress<A, P, T, E>(
        &self,
        method: &'static Method,
        arguments: &A,
        mut told: impl FnMut(P),
    ) -> Result<T, CallError<E>>
    where
        A: Arguments,
        P: DeserializeOwned,
        T: DeserializeOwned,
        E: ServiceError,
    {
        let request = self.arguments(method, arguments)?;
        let mut parts = self.client(method).stream(request).await?;
        let mut last = None;
        while let Some(part) = parts.next().await {
            match step(method, self.codec, part)? {
                Step::Progress(progress) => told(progress),
                Step::Reply(reply) => last = Some(reply),
            }
        }
        last.ok_or_else(|| no_reply(method, self.codec))
    }
}
