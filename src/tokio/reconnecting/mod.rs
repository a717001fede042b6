//! A client that makes a new connection when its connection has ended.

mod link;
mod subscription;

pub use subscription::Subscription;

use crate::body::IntoBody;
use crate::client::ClientOptions;
use crate::client::driven::Client;
use crate::client::reconnecting::Backoff;
use crate::client::reconnecting::patience::Patience;
use crate::client::reconnecting::tries::{Loss, Tries, loss};
use crate::endpoint::Endpoint;
use crate::error::{Error, Progress};
use crate::exchange::{Metadata, carries_calls};
use crate::limits::Limits;
use crate::nesting;
use crate::tokio::runtime::{now, timeout};
use bytes::Bytes;
use link::{Link, UNDRIVEN};
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// A client that connects when it is first used, and again when its connection has ended: the async form of
/// [`msgpipe::ReconnectingClient`](crate::ReconnectingClient), with the same rules, limits and errors. A clone is cheap and shares
/// the connection.
///
/// A call whose connection has ended is sent again only if it was certainly not begun, or if it is marked as
/// [`idempotent`](ReconnectingClient::idempotent). A server that is not there is waited for, with the pauses and the number of
/// tries of a [`Backoff`]; with [`ClientOptions::start_with`] it is started, each time. A
/// [`subscription`](ReconnectingClient::subscribe) is taken up again, and its application is told of the gap. For everything
/// else there is the present connection, [`client`](ReconnectingClient::client).
///
/// **A task makes the connection**, in the runtime of the call that finds none; its [driver](super::Client) runs there too. A
/// call only waits for it, so one that is dropped, forgotten or not polled for long stops no other. If nobody waits any
/// more, the task stops, except that it sees a server through that it has started.
///
/// **Runtimes**: futures of this type are polled in a runtime of tokio. If the one that has the connection is dropped, the
/// connection ends as if the server had gone, and the next call connects in its own. If it is kept and not driven, a
/// call ends a second after its time, and the next one has a new connection.
///
/// A [hook](crate::Start::hook) that starts the server is called on a thread that may block. If it panics, the call that has
/// begun the start ends with [`Error::NotStarted`].
///
/// **Cancel safety**: dropping the future of a call cancels it, as dropping a [`Call`](super::Call); whether it was carried
/// out is not known then.
///
/// ```no_run
/// # async fn f() -> Result<(), msgpipe::Error> {
/// use msgpipe::{Backoff, ClientOptions, tokio::ReconnectingClient};
///
/// let options = ClientOptions::new();
/// let client = ReconnectingClient::new("com.example.notes", &options, Backoff::new())?;
/// client.call("add a note").await?; // once at most
/// let notes = client.idempotent().call("list all notes").await?; // perhaps again
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ReconnectingClient {
    link: Arc<Link>,
    timeout: Duration,
    method: u32,
    metadata: Metadata,
    is_idempotent: bool,
}

impl ReconnectingClient {
    /// A client that connects when it is used, and again when its connection has ended. It does not connect yet, and needs
    /// no runtime yet.
    ///
    /// # Errors
    /// [`Error::Name`] for an invalid name; [`Error::Misuse`] for a framing that does not carry any bytes.
    pub fn new<E>(
        endpoint: E,
        options: &ClientOptions,
        backoff: Backoff,
    ) -> Result<ReconnectingClient, Error>
    where
        E: TryInto<Endpoint>,
        Error: From<E::Error>,
    {
        let (endpoint, limits) = (endpoint.try_into()?, options.limits_of_calls());
        carries_calls(options.own_framing(), &endpoint)?;
        Ok(ReconnectingClient {
            timeout: limits.call,
            link: Arc::new(Link::new(options.clone(), endpoint, backoff.clamped())),
            method: 0,
            metadata: Metadata::default(),
            is_idempotent: false,
        })
    }

    /// The same connection with another time for its calls, instead of [`Limits::call`]. It includes the waiting for a
    /// connection, and counts from the first poll.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> ReconnectingClient {
        ReconnectingClient { timeout: Limits::clamp(timeout), ..self.clone() }
    }

    /// The same connection, with this number of the method in its calls; see
    /// [`Client::with_method`](super::Client::with_method).
    #[must_use]
    pub fn with_method(&self, method: u32) -> ReconnectingClient {
        ReconnectingClient { method, ..self.clone() }
    }

    /// The same connection, with these metadata in its requests; see
    /// [`Client::with_metadata`](super::Client::with_metadata).
    #[must_use]
    pub fn with_metadata(&self, metadata: Metadata) -> ReconnectingClient {
        ReconnectingClient { metadata, ..self.clone() }
    }

    /// The same connection; its calls are sent again also if they may have been carried out. It is for requests that can be
    /// carried out any number of times with the same outcome, as those that only read.
    #[must_use]
    pub fn idempotent(&self) -> ReconnectingClient {
        ReconnectingClient { is_idempotent: true, ..self.clone() }
    }

    /// Sends a request and waits for its reply; connects, and sends it again, as the type says, until the end of its time.
    ///
    /// Cancel safety: dropping the future cancels the call; before its first poll nothing is sent.
    ///
    /// # Errors
    /// As [`msgpipe::ReconnectingClient::call`](crate::ReconnectingClient::call); [`Error::Misuse`] outside of a runtime of
    /// tokio.
    pub async fn call(&self, request: impl IntoBody) -> Result<Bytes, Error> {
        let (request, patience) = (request.into_body().into_bytes(), self.patience());
        let mut tries = Tries::default();
        loop {
            let request = request.clone();
            let call = |client: Client| async move { client.call(request).await };
            if let Some(reply) = self.begin(&mut tries, patience, call).await? {
                return Ok(reply);
            }
        }
    }

    /// Sends a request whose reply has any number of parts, as [`Client::stream`](super::Client::stream), and sends it again
    /// each time that the connection ends or the server stops, or that the subscriber was too slow
    /// ([`ErrorReply::LAGGED`](crate::ErrorReply::LAGGED)). Waits until the request was begun first, at most for the time of
    /// a call.
    ///
    /// The request is sent again whether it is marked as idempotent or not.
    ///
    /// Cancel safety: dropped before it is done, there is no subscription.
    ///
    /// # Errors
    /// As [`call`](ReconnectingClient::call), without [`Error::Answered`].
    pub async fn subscribe(&self, request: impl IntoBody) -> Result<Subscription, Error> {
        let client = ReconnectingClient { is_idempotent: true, ..self.clone() };
        Subscription::new(client, request.into_body().into_bytes()).await
    }

    /// The present connection; connects if there is none, for the time of a call at most. What is done with it is not done
    /// again. If it is closed, the next call makes another one.
    ///
    /// Cancel safety: dropping the future stops no other call.
    ///
    /// # Errors
    /// As [`call`](ReconnectingClient::call), without [`Error::Answered`].
    pub async fn client(&self) -> Result<Client, Error> {
        let client = self.link.client(&mut Tries::default(), self.patience()).await?;
        Ok(self.with_own(&client, self.timeout))
    }

    /// Ends the connection for all clones. Calls in flight end with [`CloseReason::Local`](crate::CloseReason::Local), and
    /// so does all that waits for a connection; no other one is made.
    pub fn close(&self) {
        self.link.close();
    }

    fn patience(&self) -> Patience {
        let began = now();
        Patience { began, given: Some(nesting::time_left(self.timeout, began)) }
    }

    /// Makes one try. `None`: it has failed, and there may be another one.
    async fn begin<T, F: Future<Output = Result<T, Error>>>(
        &self,
        tries: &mut Tries,
        patience: Patience,
        try_it: impl FnOnce(Client) -> F,
    ) -> Result<Option<T>, Error> {
        let (link, backoff) = (&self.link, &self.link.backoff);
        let client = link.client(tries, patience).await?;
        let left = match patience.given {
            Some(_) => patience.left(now()),
            None => self.timeout,
        };
        // The driver keeps the time. Where its runtime is not driven, it does not.
        let tried = timeout(left + UNDRIVEN, try_it(self.with_own(&client, left))).await;
        let error = match tried {
            Some(Ok(done)) => return Ok(Some(done)),
            Some(Err(error)) => error,
            None => {
                link.lost(&client);
                let given = patience.given.unwrap_or(self.timeout);
                let name = link.endpoint.named();
                return Err(Error::late(&name, given, patience.began, Progress::Unknown));
            }
        };
        if loss(&error) != Loss::None {
            link.lost(&client);
        }
        tries.after(error, self.is_idempotent, backoff)?;
        link.pause(tries, patience).await;
        Ok(None)
    }

    /// A connection with the settings of this client.
    fn with_own(&self, client: &Client, timeout: Duration) -> Client {
        client.with_own(timeout, self.method, self.metadata.clone())
    }
}

impl fmt::Debug for ReconnectingClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReconnectingClient")
            .field("endpoint", &self.link.endpoint)
            .field("backoff", &self.link.backoff)
            .finish_non_exhaustive()
    }
}
