//! The async client: its calls are the blocking client's, and a driver task does the I/O. No runtime is named here.

mod alarm;
#[cfg(test)]
mod alone_tests;
mod call;
mod driver;
#[cfg(test)]
mod driver_tests;
mod incoming;
mod notifying;
mod parts;
#[cfg(feature = "tower")]
mod place;
mod shared;
mod stage;
mod upload;

pub use call::Call;
pub(crate) use driver::Driver;
pub use incoming::Incoming;
pub use parts::Parts;
#[cfg(feature = "tower")]
pub(crate) use place::{Place, Places};
pub use upload::Upload;

use super::counts::ClientCounts;
use super::pending::Terms;
use super::reconnecting::turns::OneConnection;
use crate::async_io::AsyncIo;
use crate::body::IntoBody;
use crate::error::{CloseReason, Error, Progress};
use crate::exchange::Metadata;
use crate::framing::Framing;
use crate::limits::Limits;
use crate::nesting;
use crate::peer::Peer;
use crate::trace::CallSpan;
use bytes::Bytes;
use shared::{Handle, Shared};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A connection to a [`Server`](crate::Server), for calls by tasks.
///
/// It is the async form of [`msgpipe::Client`](crate::Client): the same calls, limits, errors and counters. A clone is
/// cheap and uses the same connection. Its futures need no runtime of their own: they can be polled in another one than
/// the driver's, and in several.
///
/// The **driver** is one task that reads and writes for all; [`connect`](Client::connect) spawns it. So a future that is
/// dropped, forgotten or not polled for long never leaves half a message, and stops no other call. When the driver ends,
/// all calls end with the reason and are woken. When the last handle is dropped (clients, calls, parts, uploads,
/// [`Incoming`]) the driver sends what is to be sent, for a second at most, and ends. A server that sees at once that the
/// client has gone may drop it: await a reply to know.
///
/// **Cancel safety**: each method says what a drop of its future does. None loses what has arrived.
///
/// ```no_run
/// # async fn f() -> Result<(), msgpipe::Error> {
/// let client = msgpipe::tokio::Client::connect("com.example.notes").await?;
/// let reply = client.call("hello").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    inner: Arc<Handle>,
    timeout: Duration,
    method: u32,
    metadata: Metadata,
}

impl Client {
    /// A client over a stream, and its driver.
    pub(crate) fn over_io<T: AsyncIo>(
        io: T,
        framing: &dyn Framing,
        endpoint: Arc<str>,
        server: Peer,
        limits: &Limits,
    ) -> (Client, Driver<T>) {
        let limits = limits.clamped();
        let shared = Arc::new(Shared::new(framing, &limits, endpoint, server, io.writer(), T::now));
        let driver = Driver::new(shared.clone(), framing, io);
        let inner = Handle::new(shared);
        let metadata = Metadata::default();
        (Client { inner, timeout: limits.call, method: 0, metadata }, driver)
    }

    /// The same connection with another deadline for its calls, instead of [`Limits::call`].
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// # async fn f(client: msgpipe::tokio::Client) -> Result<(), msgpipe::Error> {
    /// let reply = client.with_timeout(Duration::from_millis(500)).call("quick question").await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Client {
        Client { timeout: Limits::clamp(timeout), ..self.clone() }
    }

    /// The same connection, with this number of the method in its calls instead of 0; see
    /// [`Request::method`](crate::Request::method).
    #[must_use]
    pub fn with_method(&self, method: u32) -> Client {
        Client { method, ..self.clone() }
    }

    /// The same connection, with these metadata in its requests instead of none; see
    /// [`msgpipe::Client::with_metadata`](crate::Client::with_metadata).
    #[must_use]
    pub fn with_metadata(&self, metadata: Metadata) -> Client {
        Client { metadata, ..self.clone() }
    }

    /// Sends a request and waits for its reply, until the call's deadline, which counts from the first poll.
    ///
    /// Cancel safety: dropping the future cancels the call, as dropping a [`Call`]; before its first poll nothing is sent.
    ///
    /// # Errors
    /// As [`msgpipe::Client::call`](crate::Client::call).
    pub async fn call(&self, request: impl IntoBody) -> Result<Bytes, Error> {
        self.start(request).await?.await
    }

    /// Begins a call and does not wait for its reply: [`Call`] is the future of that. Waits only for the server's settings,
    /// if the request is one of the first and has more than 240 bytes. Up to [`Limits::in_flight`] calls may be in flight.
    /// The deadline counts from the first poll.
    ///
    /// On a Unix domain socket a request is written at once if no other call is in flight. Else the driver sends it: until
    /// then it is held in memory, of so many calls, and of each whole.
    ///
    /// Cancel safety: dropped before it is done, no call was begun.
    ///
    /// ```no_run
    /// # async fn f(client: msgpipe::tokio::Client) -> Result<(), msgpipe::Error> {
    /// let (one, two) = (client.start("one").await?, client.start("two").await?);
    /// println!("{:?} {:?}", two.await?, one.await?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`msgpipe::Client::start`](crate::Client::start). A call that was dropped counts against
    /// [`Limits::in_flight`] until the server has confirmed it.
    pub async fn start(&self, request: impl IntoBody) -> Result<Call, Error> {
        let began = (self.inner.clock)();
        let time = nesting::time_left(self.timeout, began);
        let (span, request) = (self.span(), request.into_body().into_bytes());
        let id = self.begin(request, began, time, false, || false, &span).await?;
        Ok(Call::new(self.inner.clone(), id, began, time, span))
    }

    /// As [`call`](Client::call), with a place that is kept for it.
    #[cfg(feature = "tower")]
    pub(crate) async fn call_in(&self, place: Place, request: Bytes) -> Result<Bytes, Error> {
        let began = (self.inner.clock)();
        let time = nesting::time_left(self.timeout, began);
        let span = self.span();
        let id = self.begin(request, began, time, false, || place.take(), &span).await?;
        Call::new(self.inner.clone(), id, began, time, span).await
    }

    /// Sends a request with a reply of any number of parts: a listing, a download, a subscription. The parts are taken from
    /// [`Parts`] as they arrive.
    ///
    /// The call itself has no deadline: it lasts until the server ends the reply, or [`Parts`] is dropped. A server
    /// sends ahead up to [`Limits::call_window`] bytes that were not taken, and waits then.
    ///
    /// Cancel safety: dropped before it is done, no call was begun.
    ///
    /// ```no_run
    /// # async fn f(client: msgpipe::tokio::Client) -> Result<(), msgpipe::Error> {
    /// let mut parts = client.stream("all notes").await?;
    /// while let Some(part) = parts.next().await {
    ///     println!("{:?}", part?);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`start`](Client::start). An error reply is returned by [`Parts`].
    pub async fn stream(&self, request: impl IntoBody) -> Result<Parts, Error> {
        let began = (self.inner.clock)();
        let time = nesting::time_left(self.timeout, began);
        let (span, request) = (self.span(), request.into_body().into_bytes());
        let id = self.begin(request, began, time, true, || false, &span).await?;
        Ok(Parts::new(self.inner.clone(), id, began, span))
    }

    async fn begin(
        &self,
        request: Bytes,
        began: Instant,
        time: Duration,
        has_parts: bool,
        takes_place: impl FnOnce() -> bool,
        span: &CallSpan,
    ) -> Result<u32, Error> {
        let (inner, deadline) = (&self.inner, began + time);
        if time < self.timeout && time.is_zero() {
            // The time of the request that this thread handles is over.
            return Err(Error::late(&inner.endpoint, time, began, Progress::NotBegun));
        }
        // In a handler: who waits for this call goes with it. Asked before the first wait, which may end elsewhere.
        let metadata = self.metadata_to_send(span)?;
        let fits = inner.wait_for_limit(request.len(), deadline).await;
        fits.map_err(|why| inner.unfit(why, &request, time, began))?;
        let terms = Terms {
            began,
            deadline: Some(deadline).filter(|_| !has_parts),
            method: self.method,
            metadata: metadata.as_ref().unwrap_or(&self.metadata),
            has_parts,
            // It is the call's from now on.
            is_kept: takes_place(),
        };
        inner.begin(&request, terms).map_err(|why| inner.not_begun(why, &request))
    }

    /// The span of a call that begins.
    fn span(&self) -> CallSpan {
        CallSpan::begin(&self.inner.endpoint, self.method)
    }

    /// `None`: those of this client.
    fn metadata_to_send(&self, span: &CallSpan) -> Result<Option<Metadata>, Error> {
        let nested = nesting::outgoing(&self.metadata, span);
        nested.map_err(|why| why.error(&self.inner.endpoint))
    }

    /// The same connection with these settings.
    pub(crate) fn with_own(&self, timeout: Duration, method: u32, metadata: Metadata) -> Client {
        Client { inner: self.inner.clone(), timeout, method, metadata }
    }

    /// The identity of the server, which the operating system gave when the connection was made; over a stream, what the
    /// application knows of it.
    pub fn server(&self) -> &Peer {
        &self.inner.server
    }

    /// The endpoint as text.
    pub fn endpoint(&self) -> &str {
        &self.inner.endpoint
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.close_reason().is_some()
    }

    /// Why the connection has ended, if it has.
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.inner.pending.closed()
    }

    /// Closes the connection, for all clones. Calls in flight end with [`CloseReason::Local`].
    pub fn close(&self) {
        self.inner.end(CloseReason::Local);
    }

    /// What this client has counted, with all its clones.
    pub fn counts(&self) -> ClientCounts {
        self.inner.pending.counts()
    }
}

impl OneConnection for Client {
    fn is_usable(&self) -> bool {
        !self.is_closed() && !self.inner.pending.is_draining()
    }

    fn is_same(&self, other: &Client) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("endpoint", &self.inner.endpoint).finish_non_exhaustive()
    }
}
