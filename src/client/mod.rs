//! The client for calls. It blocks, and does its I/O on the calling thread.
#![forbid(unsafe_code)]

mod arrived;
mod batch;
mod begin;
mod call;
mod channel;
mod child;
mod connect;
mod counts;
mod deadline_lock;
mod dispatching;
#[cfg(feature = "tokio")]
pub mod driven;
mod failing;
mod given;
mod incoming;
mod inner;
mod lead;
mod messages;
mod notifying;
mod options;
mod over;
mod parts;
mod pending;
pub(crate) mod reconnecting;
mod server_message;
mod spawn;
mod start;
pub(crate) mod starting;
mod stderr_tail;
mod upload;
#[cfg(test)]
mod wake_tests;

pub use batch::Batch;
pub use call::Call;
pub use child::ChildProcess;
pub use counts::ClientCounts;
pub use incoming::Incoming;
pub use messages::MessageClient;
pub use options::ClientOptions;
pub use parts::Parts;
pub use reconnecting::{Backoff, Received, ReconnectingClient, Subscription};
pub use server_message::{Notification, ServerMessage, ServerRequest};
pub use start::Start;
pub use upload::Upload;

use crate::body::IntoBody;
use crate::client_stream::ClientStream;
use crate::clock;
use crate::endpoint::Endpoint;
use crate::error::{CloseReason, Error};
use crate::exchange::Metadata;
use crate::framing::{Framing, Native};
use crate::limits::Limits;
use crate::peer::Peer;
use bytes::Bytes;
use channel::Channel;
use inner::Inner;
use pending::Pending;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A connection to a [`Server`](crate::Server), for calls.
///
/// A call blocks until its reply has arrived. A clone is cheap and uses the same connection. Threads that
/// share a client have their calls in flight at once; one of the waiting threads reads for all.
///
/// ```no_run
/// let client = msgpipe::Client::connect("com.example.notes")?;
/// let reply = client.call("hello")?;
/// # Ok::<_, msgpipe::Error>(())
/// ```
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
    /// The deadline of a call after its start; each clone may have its own, and so with the others.
    timeout: Duration,
    method: u32,
    metadata: Metadata,
}

impl Client {
    /// Connects to the server at `endpoint` with the default [`Limits`].
    ///
    /// Blocks while the server is busy, at most for [`Limits::connect`].
    ///
    /// # Errors
    /// [`Error::NoServer`] at once if no server runs, [`Error::Busy`] at the deadline,
    /// [`Error::Insecure`] if the server is not [trusted](crate::Trust),
    /// [`Error::Name`] for an invalid name, [`Error::System`] if a system call failed.
    pub fn connect<E>(endpoint: E) -> Result<Client, Error>
    where
        E: TryInto<Endpoint>,
        Error: From<E::Error>,
    {
        Client::connect_with(endpoint, Limits::default())
    }

    /// Connects with the given limits; otherwise as [`connect`](Client::connect).
    ///
    /// # Errors
    /// As [`connect`](Client::connect).
    ///
    /// ```no_run
    /// let mut limits = msgpipe::Limits::default();
    /// limits.connect = std::time::Duration::from_secs(2);
    /// let client = msgpipe::Client::connect_with("com.example.notes", limits)?;
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    pub fn connect_with<E>(endpoint: E, limits: Limits) -> Result<Client, Error>
    where
        E: TryInto<Endpoint>,
        Error: From<E::Error>,
    {
        ClientOptions::new().limits(limits).connect(endpoint)
    }

    /// A client over a connected stream. `endpoint` is its name in errors. [`ClientStream`] has an example.
    pub fn over(stream: Box<dyn ClientStream>, endpoint: &str, limits: Limits) -> Client {
        let framing = Native::for_calls(limits.clamped().message);
        Client::over_framing(stream, framing, endpoint, limits)
    }

    /// As [`over`](Client::over), with another framing. Its limit must leave room for the envelope of 16 bytes, and
    /// it must carry any bytes ([`Framing::carries_any_bytes`]). Larger bodies are sent in pieces.
    ///
    /// ```
    /// use msgpipe::framing::LengthPrefix;
    /// use msgpipe::{Client, Limits, Server, memory};
    ///
    /// let framing = LengthPrefix::big_endian(1024);
    /// let hub = memory::Hub::new();
    /// let server = hub.listen_with("echo", Limits::default(), framing)?;
    /// let server = Server::over(server, Limits::default());
    /// let stopper = server.stopper();
    /// let serving = std::thread::spawn(move || server.serve(|request| request.body()));
    ///
    /// let stream = Box::new(hub.connect("echo")?);
    /// let client = Client::over_framing(stream, framing, "echo in memory", Limits::default());
    /// assert_eq!(client.call("hello")?, "hello");
    /// # stopper.stop();
    /// # serving.join().unwrap()?;
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    pub fn over_framing(
        stream: Box<dyn ClientStream>,
        framing: impl Framing,
        endpoint: &str,
        limits: Limits,
    ) -> Client {
        let limits = limits.clamped();
        let inner = Inner {
            channel: Channel::new(stream, &framing),
            pending: Pending::new(limits.of_calls()),
            endpoint: endpoint.into(),
            limit: limits.message,
        };
        inner.channel.begin(&inner.pending);
        Client {
            inner: Arc::new(inner),
            timeout: limits.call,
            method: 0,
            metadata: Metadata::default(),
        }
    }

    /// The same connection with another deadline for its calls, instead of [`Limits::call`]. A call that a handler makes
    /// on its own thread has at most what is left of the time of its request; a [`stream`](Client::stream), which may
    /// outlive the handler, has not.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// let client = msgpipe::Client::connect("com.example.notes")?;
    /// let reply = client.with_timeout(Duration::from_millis(500)).call("quick question")?;
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Client {
        Client { timeout: Limits::clamp(timeout), ..self.clone() }
    }

    /// The same connection, with this number of the method in its calls instead of 0; see
    /// [`Request::method`](crate::Request::method).
    ///
    /// ```no_run
    /// const COUNT: u32 = 7;
    /// let client = msgpipe::Client::connect("com.example.notes")?;
    /// let count = client.with_method(COUNT).call("")?;
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    #[must_use]
    pub fn with_method(&self, method: u32) -> Client {
        Client { method, ..self.clone() }
    }

    /// The same connection, with these metadata in its requests instead of none; see
    /// [`Request::metadata`](crate::Request::metadata). Keys that begin with a byte 0 belong to the protocol. A call in a
    /// handler adds up to 133 bytes; without room for them it fails with [`Error::Misuse`].
    ///
    /// ```no_run
    /// let client = msgpipe::Client::connect("com.example.notes")?;
    /// let metadata = msgpipe::Metadata::default().with(b"trace", b"00-4bf9-00f0-01")?;
    /// let reply = client.with_metadata(metadata).call("hello")?;
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn with_metadata(&self, metadata: Metadata) -> Client {
        Client { metadata, ..self.clone() }
    }

    /// Sends a request and waits for its reply, until the call's deadline. A reply in several parts is the error
    /// [`ErrorReply::REPLY_IN_PARTS`](crate::ErrorReply::REPLY_IN_PARTS): [`stream`](Client::stream) takes them.
    ///
    /// # Errors
    /// [`Error::Answered`] for an error reply, [`Error::Deadline`] at the deadline; the connection stays
    /// usable after both. [`Error::TooLarge`], [`Error::Unsendable`] and [`Error::TooManyCalls`] for a request
    /// that was not sent, [`Error::Busy`] if the server is at its limit of connections, [`Error::Closed`] if
    /// the connection has ended.
    pub fn call(&self, request: impl IntoBody) -> Result<Bytes, Error> {
        self.start(request)?.wait()
    }

    /// Sends a request and does not wait for its reply. Up to [`Limits::in_flight`] calls may be in flight.
    /// The deadline counts from here; it is sent to the server. If the first request is larger than every server
    /// accepts (240 bytes), it waits for the server's settings. Of a request of more than 1 MiB the rest is sent
    /// when the server has memory for it, by the next thread that waits for a reply. So is what is over 8 MiB of requests that
    /// the server has not begun ([`Limits::connection_window`] of the server).
    ///
    /// The client reads replies only while a thread waits for one. A server closes a connection on which
    /// nothing is read for [`Limits::write_stall`]: if the replies are larger than the system's buffers, some
    /// 100 KB, wait for them before that.
    ///
    /// ```no_run
    /// let client = msgpipe::Client::connect("com.example.notes")?;
    /// let (one, two) = (client.start("one")?, client.start("two")?);
    /// println!("{:?}", two.wait()?);
    /// println!("{:?}", one.wait()?);
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`call`](Client::call), without [`Error::Answered`]. [`Error::Deadline`] if the deadline passes
    /// while the request is being sent; the next thread that sends or reads sends the rest.
    pub fn start(&self, request: impl IntoBody) -> Result<Call, Error> {
        let began = clock::now();
        let span = self.span();
        let ids = self.start_all(&[request.into_body()], began, false, &span)?;
        Ok(Call::new(self.inner.clone(), ids[0], began, began + self.time(began), span))
    }

    /// Sends a request with a reply of any number of parts: a listing, a download, a subscription. The parts are
    /// taken from [`Parts`] as they arrive. Blocks while the request cannot be sent, at most for the time of a call
    /// ([`with_timeout`](Client::with_timeout)).
    ///
    /// The call itself has no deadline: it lasts until the server ends the reply, or [`Parts`] is dropped. A server
    /// sends ahead up to [`Limits::call_window`] bytes that were not taken, and waits then. It does not close a client
    /// that leaves parts unread, but one that leaves other replies unread; see [`start`](Client::start).
    ///
    /// ```no_run
    /// let client = msgpipe::Client::connect("com.example.notes")?;
    /// for part in client.stream("all notes")? {
    ///     println!("{:?}", part?);
    /// }
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`start`](Client::start). A server that answers with one reply, or with an error reply, is no error here:
    /// the reply is the only part, and [`Parts`] returns the error.
    pub fn stream(&self, request: impl IntoBody) -> Result<Parts, Error> {
        let began = clock::now();
        let span = self.span();
        let ids = self.start_all(&[request.into_body()], began, true, &span)?;
        Ok(Parts::new(self.inner.clone(), ids[0], began, span))
    }

    /// A batch: requests that are sent together, in one write. See [`Batch`].
    pub fn batch(&self) -> Batch<'_> {
        Batch::new(self)
    }

    /// The identity of the server, which the operating system gave when the connection was made.
    ///
    /// ```no_run
    /// let client = msgpipe::Client::connect("com.example.notes")?;
    /// println!("served by {}", client.server());
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    pub fn server(&self) -> &Peer {
        self.inner.channel.stream.peer()
    }

    /// The endpoint as text.
    pub fn endpoint(&self) -> &str {
        &self.inner.endpoint
    }

    /// Whether the client knows that the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.inner.pending.closed().is_some()
    }

    /// Why the connection has ended, if the client knows that it has.
    ///
    /// ```no_run
    /// let client = msgpipe::Client::connect("com.example.notes")?;
    /// if let Some(reason) = client.close_reason() {
    ///     println!("the server has gone: {reason}");
    /// }
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.inner.pending.closed()
    }

    /// Whether the server has said that it begins no more calls.
    fn server_stops(&self) -> bool {
        self.inner.pending.is_draining()
    }

    /// Closes the connection, for all clones. Calls in flight end with [`CloseReason::Local`].
    pub fn close(&self) {
        self.inner.close(CloseReason::Local);
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("endpoint", &self.inner.endpoint).finish_non_exhaustive()
    }
}
