//! A client that makes a new connection when its connection has ended.

mod backoff;
mod link;
pub(crate) mod patience;
pub(crate) mod resuming;
mod subscription;
pub(crate) mod tries;
pub(crate) mod turns;

pub use backoff::Backoff;
pub use resuming::Received;
pub use subscription::Subscription;

use super::{Client, ClientOptions};
use crate::body::IntoBody;
use crate::clock;
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::exchange::{Metadata, carries_calls};
use crate::limits::Limits;
use crate::nesting;
use bytes::Bytes;
use link::Link;
use patience::Patience;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tries::{Loss, Tries, loss};

/// A client that connects when it is first used, and again when its connection has ended: it waits for a server that has not
/// started yet, or that is being restarted, with pauses and for so many tries as its [`Backoff`] says.
/// [`ClientOptions::reconnecting`] makes one. With [`ClientOptions::start_with`] it also starts the server, each time.
///
/// A clone is cheap and shares the connection. Of several threads that find it ended, one makes a new one, for all.
///
/// # What is sent again
///
/// A call whose connection has ended is sent again only if it was certainly not begun
/// ([`Error::is_not_begun`]), or if it is marked as [`idempotent`](ReconnectingClient::idempotent): carrying it out twice is
/// the same as once. Otherwise it ends with [`Error::Closed`], and the next call has a new connection.
///
/// Not sent again is what the server has answered, with an error too, except that it stops; and what was over its time.
/// A connection that ends since the two sides do not understand each other, since the server refuses this client, or
/// on purpose of either application, is no reason to send again either.
///
/// A call has one time for all of that ([`with_timeout`](ReconnectingClient::with_timeout), [`Limits::call`]): waiting for
/// a server, and all tries. Its first try is made at once, whatever became of other calls. If its time ends while it
/// starts a server, and no other call waits for that, a thread goes on with the start until the server serves or the start
/// has failed, for [`Limits::start`] at most; the next call uses the connection, or starts again.
///
/// A [`subscription`](ReconnectingClient::subscribe) is taken up again, and its application is told of the gap.
///
/// For everything else there is the present connection, [`client`](ReconnectingClient::client).
///
/// ```no_run
/// use msgpipe::{Backoff, ClientOptions};
///
/// let client = ClientOptions::new().reconnecting("com.example.notes", Backoff::new())?;
/// client.call("add a note")?; // once at most
/// let notes = client.idempotent().call("list all notes")?; // perhaps again
/// # Ok::<_, msgpipe::Error>(())
/// ```
#[derive(Clone)]
pub struct ReconnectingClient {
    link: Arc<Link>,
    timeout: Duration,
    method: u32,
    metadata: Metadata,
    is_idempotent: bool,
}

impl ClientOptions {
    /// A client that connects when it is used, and again when its connection has ended. Does not block, and does not
    /// connect yet.
    ///
    /// # Errors
    /// [`Error::Name`] for an invalid name; [`Error::Misuse`] for a framing that does not carry any bytes.
    pub fn reconnecting<E>(
        &self,
        endpoint: E,
        backoff: Backoff,
    ) -> Result<ReconnectingClient, Error>
    where
        E: TryInto<Endpoint>,
        Error: From<E::Error>,
    {
        let endpoint = endpoint.try_into()?;
        carries_calls(self.framing.as_deref(), &endpoint)?;
        Ok(ReconnectingClient {
            timeout: self.limits.clamped().call,
            link: Arc::new(Link::new(self.clone(), endpoint, backoff.clamped())),
            method: 0,
            metadata: Metadata::default(),
            is_idempotent: false,
        })
    }
}

impl ReconnectingClient {
    /// The same connection with another time for its calls, instead of [`Limits::call`]. It includes the waiting for a
    /// connection. A call that a handler makes on its own thread has at most what is left of the time of its request.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> ReconnectingClient {
        ReconnectingClient { timeout: Limits::clamp(timeout), ..self.clone() }
    }

    /// The same connection, with this number of the method in its calls; see [`Client::with_method`].
    #[must_use]
    pub fn with_method(&self, method: u32) -> ReconnectingClient {
        ReconnectingClient { method, ..self.clone() }
    }

    /// The same connection, with these metadata in its requests; see [`Client::with_metadata`].
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

    /// Sends a request and waits for its reply; connects, and sends it again, as the type says. Blocks until the
    /// end of its time at most.
    ///
    /// # Errors
    /// - As [`Client::call`]. [`Error::Closed`] if the connection has ended and the request may have been carried out.
    /// - [`Error::GaveUp`] with the last error and the number of tries, if the tries or the time are over;
    ///   [`Error::Deadline`] if the time is over and no try has failed.
    ///   [`Error::is_not_begun`] speaks of all tries.
    /// - The errors of [`ClientOptions::connect`] that another try does not mend: [`Error::NotStarted`],
    ///   [`Error::Insecure`], [`Error::System`].
    pub fn call(&self, request: impl IntoBody) -> Result<Bytes, Error> {
        let (request, patience) = (request.into_body(), self.patience());
        let mut tries = Tries::default();
        loop {
            let reply = self.begin(&mut tries, patience, |client| client.call(request.clone()))?;
            if let Some(reply) = reply {
                return Ok(reply);
            }
        }
    }

    /// Sends a request whose reply has any number of parts, as [`Client::stream`], and sends it again each time that the
    /// connection ends or the server stops, or that the subscriber was too slow
    /// ([`ErrorReply::LAGGED`](crate::ErrorReply::LAGGED)). Blocks until the request was sent first, at most for the time of
    /// a call.
    ///
    /// The request is sent again whether it is marked as idempotent or not.
    ///
    /// # Errors
    /// As [`call`](ReconnectingClient::call), without [`Error::Answered`].
    pub fn subscribe(&self, request: impl IntoBody) -> Result<Subscription, Error> {
        let client = ReconnectingClient { is_idempotent: true, ..self.clone() };
        Subscription::new(client, request.into_body().into_bytes())
    }

    /// The present connection; connects if there is none, for the time of a call at most. What is done with it is not done
    /// again. If it is closed, the next call makes another one.
    ///
    /// # Errors
    /// As [`call`](ReconnectingClient::call), without [`Error::Answered`].
    pub fn client(&self) -> Result<Client, Error> {
        let client = self.link.client(&mut Tries::default(), self.patience())?;
        Ok(self.with_own(&client, self.timeout))
    }

    /// Ends the connection for all clones. Calls in flight end with [`CloseReason::Local`](crate::CloseReason::Local), and
    /// so does all that waits for a connection; no other one is made.
    pub fn close(&self) {
        self.link.close();
    }

    fn patience(&self) -> Patience {
        let began = clock::now();
        Patience { began, given: Some(nesting::time_left(self.timeout, began)) }
    }

    /// Makes one try. `None`: it has failed, and there may be another one.
    fn begin<T>(
        &self,
        tries: &mut Tries,
        patience: Patience,
        try_it: impl FnOnce(&Client) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        let client = self.link.client(tries, patience)?;
        let until = patience.until();
        let left = until.map(|until| until.saturating_duration_since(clock::now()));
        let error = match try_it(&self.with_own(&client, left.unwrap_or(self.timeout))) {
            Ok(done) => return Ok(Some(done)),
            Err(error) => error,
        };
        if loss(&error) != Loss::None {
            self.link.lost(&client);
        }
        tries.after(error, self.is_idempotent, &self.link.backoff)?;
        self.link.pause(tries, patience);
        Ok(None)
    }

    /// A connection with the settings of this client.
    fn with_own(&self, client: &Client, timeout: Duration) -> Client {
        Client { timeout, method: self.method, metadata: self.metadata.clone(), ..client.clone() }
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
