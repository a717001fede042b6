//! Calls of a blocking client.

use super::arguments::{Arguments, Named};
use super::codec::Codec;
use super::error::{CallError, Never, ServiceError};
use super::interface::Interface;
use super::method::{DESCRIBE_METHOD, Method};
use super::received::{failed, no_reply, reply, step, unsendable, unsendable_item};
use super::replies::{Replies, Sender, Subscription};
use super::step::Step;
use crate::client::{Client, ReconnectingClient};
use crate::error::Error;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The connection of a typed client: a [`Client`] or a [`ReconnectingClient`], with the time and the metadata that were set
/// there, and a codec.
#[derive(Clone, Debug)]
pub struct Caller {
    link: Link,
    codec: Codec,
}

#[derive(Clone)]
enum Link {
    Plain(Client),
    /// Methods with one reply are sent again as it does, `#[idempotent]` ones also if they may have been carried out.
    Reconnecting(ReconnectingClient),
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Link::Plain(client) => client.fmt(f),
            Link::Reconnecting(_) => f.write_str("ReconnectingClient"),
        }
    }
}

impl From<Client> for Caller {
    fn from(client: Client) -> Caller {
        Caller { link: Link::Plain(client), codec: Codec::default() }
    }
}

impl From<ReconnectingClient> for Caller {
    fn from(client: ReconnectingClient) -> Caller {
        Caller { link: Link::Reconnecting(client), codec: Codec::default() }
    }
}

impl Caller {
    /// The same connection with another codec.
    #[must_use]
    pub fn with_codec(&self, codec: Codec) -> Caller {
        Caller { codec, ..self.clone() }
    }

    /// The codec of its calls.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Asks the server what it serves.
    ///
    /// # Errors
    /// As any call; [`CallError::Mismatch`] if the server is not typed.
    pub fn describe(&self) -> Result<Interface, CallError<Never>> {
        self.with_codec(Codec::Json).unary(&DESCRIBE_METHOD, &())
    }

    /// The present connection, with the number of the method.
    fn client(&self, method: &Method) -> Result<Client, Error> {
        Ok(match &self.link {
            Link::Plain(client) => client.with_method(method.number),
            Link::Reconnecting(client) => client.client()?.with_method(method.number),
        })
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
impl Caller {
    /// One request, one reply.
    pub fn unary<A, T, E>(&self, method: &'static Method, arguments: &A) -> Result<T, CallError<E>>
    where
        A: Arguments,
        T: DeserializeOwned,
        E: ServiceError,
    {
        let request = self.arguments(method, arguments)?;
        let answer = match &self.link {
            Link::Plain(client) => client.with_method(method.number).call(request),
            Link::Reconnecting(client) => match method.is_idempotent {
                true => client.idempotent().with_method(method.number).call(request),
                false => client.with_method(method.number).call(request),
            },
        };
        reply(method, self.codec, answer)
    }

    /// No reply.
    pub fn one_way<A: Arguments, E>(
        &self,
        method: &'static Method,
        arguments: &A,
    ) -> Result<(), CallError<E>> {
        let body = self.arguments(method, arguments)?;
        Ok(self.client(method)?.notify(body)?)
    }

    /// A reply of many parts.
    pub fn replies<A, T, E>(
        &self,
        method: &'static Method,
        arguments: &A,
    ) -> Result<Replies<T, E>, CallError<E>>
    where
        A: Arguments,
        T: DeserializeOwned,
        E: ServiceError,
    {
        let request = self.arguments(method, arguments)?;
        Ok(Replies::new(self.client(method)?.stream(request)?, method, self.codec))
    }

    /// A request of many parts. What the server takes no more is not sent; its reply says why.
    pub fn upload<A, I, T, E>(
        &self,
        method: &'static Method,
        arguments: &A,
        items: impl IntoIterator<Item = I>,
    ) -> Result<T, CallError<E>>
    where
        A: Arguments,
        I: Serialize,
        T: DeserializeOwned,
        E: ServiceError,
    {
        let first = self.arguments(method, arguments)?;
        let mut upload = self.client(method)?.upload()?;
        let mut sent = upload.send(first);
        let mut items = items.into_iter();
        while sent.is_ok() {
            let Some(item) = items.next() else { break };
            let item = self.codec.encode(&item);
            sent =
                upload.send(item.map_err(|problem| unsendable_item(method, self.codec, problem))?);
        }
        match sent {
            Ok(()) | Err(Error::Stopped { .. }) => {}
            Err(error) => return Err(failed(method, self.codec, error)),
        }
        reply(method, self.codec, upload.finish()?.wait())
    }

    /// Both.
    #[allow(clippy::type_complexity)]
    pub fn duplex<A, I, T, E>(
        &self,
        method: &'static Method,
        arguments: &A,
    ) -> Result<(Sender<I, E>, Replies<T, E>), CallError<E>>
    where
        A: Arguments,
        I: Serialize,
        T: DeserializeOwned,
        E: ServiceError,
    {
        let first = self.arguments(method, arguments)?;
        let (mut upload, parts) = self.client(method)?.duplex()?;
        match upload.send(first) {
            // Its reply says why.
            Ok(()) | Err(Error::Stopped { .. }) => {}
            Err(error) => return Err(failed(method, self.codec, error)),
        }
        let sender = Sender::new(upload, method, self.codec);
        Ok((sender, Replies::new(parts, method, self.codec)))
    }

    /// A reply, and progress until then.
    pub fn progress<A, P, T, E>(
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
        let mut last = None;
        for part in self.client(method)?.stream(request)? {
            match step(method, self.codec, part)? {
                Step::Progress(progress) => told(progress),
                Step::Reply(reply) => last = Some(reply),
            }
        }
        last.ok_or_else(|| no_reply(method, self.codec))
    }

    /// What is published from now on.
    pub fn subscription<A, T, E>(
        &self,
        method: &'static Method,
        arguments: &A,
    ) -> Result<Subscription<T, E>, CallError<E>>
    where
        A: Arguments,
        T: DeserializeOwned,
        E: ServiceError,
    {
        let request = self.arguments(method, arguments)?;
        match &self.link {
            Link::Plain(client) => {
                let parts = client.with_method(method.number).stream(request)?;
                Ok(Subscription::of_parts(parts, method, self.codec))
            }
            Link::Reconnecting(client) => {
                let subscription = client.with_method(method.number).subscribe(request)?;
                Ok(Subscription::reconnecting(subscription, method, self.codec))
            }
        }
    }
}
