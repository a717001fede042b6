//! Calls of a service through the engine.

use crate::engine::{Engine, check_service, subject};
use crate::error::Error;
use crate::headers::{self, Terms};
use crate::pending::Pending;
use async_nats::client::PublishErrorKind;
use async_nats::{ConnectOptions, Message, StatusCode, Subject};
use bytes::Bytes;
use futures_util::StreamExt;
use msgpipe::{ErrorReply, IntoBody, Metadata, Request};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout_at};

/// The calls of a client that are in flight at most, as of [`msgpipe::Limits::in_flight`]. One more is
/// [`Error::TooManyCalls`]. Replies wait for nobody: of memory they take so many times the engine's `max_payload` at most.
pub const IN_FLIGHT: usize = 1024;

/// The time of a call that [`NatsClient::with_timeout`] does not set: 30 s, as in msgpipe.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// A longer time is no deadline.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Calls a service whose instances are behind an engine. Each request goes to one of them.
///
/// A clone is cheap and uses the same connection, which is made again when it was lost. Nothing is sent twice:
/// [`Error::is_not_begun`] says what can be repeated.
///
/// ```no_run
/// # async fn f() -> Result<(), msgpipe_nats::Error> {
/// let notes = msgpipe_nats::NatsClient::connect("nats://127.0.0.1:4222", "notes").await?;
/// println!("{:?}", notes.with_method(7).call("hello").await?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct NatsClient {
    inner: Arc<Inner>,
    timeout: Duration,
    method: u32,
    metadata: Metadata,
}

struct Inner {
    engine: Engine,
    service: Arc<str>,
    subject: Subject,
    /// Replies come to this with `.TOKEN` behind it.
    inbox: String,
    pending: Pending,
    /// Takes the replies.
    taker: JoinHandle<()>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.taker.abort();
    }
}

impl NatsClient {
    /// Connects to the engine. Instances of the service need not be there yet. `url` is one like `nats://HOST:4222`, or
    /// several with commas between them.
    ///
    /// # Errors
    /// [`Error::NoEngine`] at once, or after 5 s if the engine does not answer; [`Error::Misuse`] for a name or URL that is none.
    ///
    /// # Panics
    /// Outside of a runtime of tokio with I/O and time.
    pub async fn connect(url: &str, service: &str) -> Result<NatsClient, Error> {
        NatsClient::connect_with(url, service, ConnectOptions::new()).await
    }

    /// Connects with credentials, certificates and other options of async-nats. Its callback for events, its capacities
    /// and its interval of pings are set by this crate.
    ///
    /// # Errors
    /// As [`connect`](NatsClient::connect).
    ///
    /// # Panics
    /// As [`connect`](NatsClient::connect).
    pub async fn connect_with(
        url: &str,
        service: &str,
        options: ConnectOptions,
    ) -> Result<NatsClient, Error> {
        check_service(service)?;
        let engine = Engine::connect(url, options, IN_FLIGHT).await?;
        let inbox = engine.client.new_inbox();
        let replies = engine.client.subscribe(format!("{inbox}.*")).await;
        let mut replies = replies.map_err(|why| Error::Misuse {
            problem: format!("no replies can be received: {why}"),
        })?;
        let pending = Pending::new(IN_FLIGHT);
        let taker = tokio::spawn({
            let pending = pending.clone();
            async move {
                while let Some(message) = replies.next().await {
                    pending.arrived(message);
                }
            }
        });
        let (service, subject) = (service.into(), subject(service).into());
        let inner = Inner { engine, service, subject, inbox, pending, taker };
        Ok(NatsClient {
            inner: Arc::new(inner),
            timeout: DEFAULT_TIMEOUT,
            method: 0,
            metadata: Metadata::default(),
        })
    }

    /// The same connection with another time for its calls.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> NatsClient {
        NatsClient { timeout: timeout.min(LONGEST), ..self.clone() }
    }

    /// The same connection with this number of the method in its calls; see [`Request::method`].
    #[must_use]
    pub fn with_method(&self, method: u32) -> NatsClient {
        NatsClient { method, ..self.clone() }
    }

    /// The same connection with these metadata in its calls; see [`Request::metadata`]. Keys that begin with a byte 0 are
    /// not sent.
    #[must_use]
    pub fn with_metadata(&self, metadata: Metadata) -> NatsClient {
        NatsClient { metadata, ..self.clone() }
    }

    /// Sends a request to one of the instances and waits for its reply.
    ///
    /// Cancel safety: dropped, the call waits no more. The instance is not told, and may carry it out.
    ///
    /// # Errors
    /// Each of [`Error`] but `NoEngine`; `Misuse` only if async-nats refuses the message.
    pub async fn call(&self, body: impl IntoBody) -> Result<Bytes, Error> {
        let reply = self.exchange(body.into_body().into_bytes()).await?;
        let service = || self.inner.service.clone();
        if reply.status == Some(StatusCode::NO_RESPONDERS) {
            return Err(Error::NoInstance { service: service() });
        }
        match headers::error_of(reply.headers.as_ref()) {
            Some((reply, not_begun)) => {
                Err(Error::Answered { service: service(), reply, not_begun })
            }
            None => Ok(reply.payload),
        }
    }

    /// Passes a local client's request on, with its method, its metadata and what is left of its time: the handler of a
    /// bridge, for [`Server::serve_tasks`](msgpipe::Server::serve_tasks).
    ///
    /// ```no_run
    /// # async fn f() -> Result<(), Box<dyn std::error::Error>> {
    /// use msgpipe::tokio::Tasks;
    /// let notes = msgpipe_nats::NatsClient::connect("nats://engine.example", "notes").await?;
    /// let bridge = msgpipe::Server::bind("com.example.notes")?;
    /// bridge
    ///     .serve_tasks(Tasks::new().drop_cancelled(), |request| {
    ///         let notes = notes.clone();
    ///         async move { notes.forward(request).await }
    ///     })
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// What the instance's handler has answered, with its code. All else has the code [`NOT_BEGUN`](crate::NOT_BEGUN) or
    /// [`UNKNOWN`](crate::UNKNOWN), as the codes below 100 that would say it belong to the server that sends them.
    pub async fn forward(&self, request: Request) -> Result<Bytes, ErrorReply> {
        let timeout = match request.deadline() {
            Some(deadline) => deadline.saturating_duration_since(std::time::Instant::now()),
            None => self.timeout,
        };
        let (method, metadata) = (request.method(), request.metadata());
        let to = NatsClient { inner: self.inner.clone(), timeout, method, metadata };
        Ok(to.with_timeout(timeout).call(request.into_body()).await?)
    }

    /// The request, and whatever comes back.
    async fn exchange(&self, body: Bytes) -> Result<Message, Error> {
        let (inner, service) = (&*self.inner, &self.inner.service);
        let deadline = Instant::now() + self.timeout;
        let client = &inner.engine.client;
        let (size, limit) = (body.len(), client.max_payload());
        let too_large = || Error::TooLarge { service: service.clone(), size, limit };
        if size > limit {
            return Err(too_large());
        }
        let Some(mut waiting) = inner.pending.begin() else {
            return Err(Error::TooManyCalls { service: service.clone(), limit: IN_FLIGHT });
        };
        let engine = || inner.engine.name.clone();
        // Before the look at the state: a loss after it is then not missed.
        let mut losses = inner.engine.losses.clone();
        losses.mark_unchanged();
        if !inner.engine.is_connected() {
            return Err(Error::Away { engine: engine() });
        }
        let terms = Terms {
            method: self.method,
            time: Some(self.timeout),
            metadata: self.metadata.clone(),
        };
        let reply_to = format!("{}.{}", inner.inbox, waiting.token);
        let sending = client.publish_with_reply_and_headers(
            inner.subject.clone(),
            reply_to,
            headers::of_request(&terms),
            body,
        );
        let late =
            |not_begun| Error::Late { service: service.clone(), after: self.timeout, not_begun };
        match timeout_at(deadline, sending).await {
            Err(_) => return Err(late(true)),
            Ok(Err(why)) if why.kind() == PublishErrorKind::MaxPayloadExceeded => {
                return Err(too_large());
            }
            // The connection has ended for good: its options say how often it is made again.
            Ok(Err(why)) if why.kind() == PublishErrorKind::Send => {
                return Err(Error::Away { engine: engine() });
            }
            Ok(Err(why)) => return Err(Error::Misuse { problem: why.to_string() }),
            Ok(Ok(())) => {}
        }
        let lost = || Error::Lost { service: service.clone(), engine: engine() };
        tokio::select! {
            biased;
            reply = &mut waiting.reply => reply.map_err(|_| lost()),
            _ = losses.changed() => Err(lost()),
            () = sleep_until(deadline) => Err(late(false)),
        }
    }
}

impl fmt::Debug for NatsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &self.inner;
        let mut shown = f.debug_struct("NatsClient");
        shown.field("service", &inner.service).field("engine", &inner.engine.name);
        shown.finish_non_exhaustive()
    }
}
