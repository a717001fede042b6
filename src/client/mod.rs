//! The client for calls. It blocks, and does its I/O on the calling thread.
#![forbid(unsafe_code)]

mod arrived;
mod batch;
mod call;
mod channel;
mod connect;
mod deadline_lock;
mod lead;
mod messages;
mod options;
mod pending;

pub use batch::Batch;
pub use call::Call;
pub use messages::MessageClient;
pub use options::ClientOptions;

use crate::body::{Body, IntoBody};
use crate::client_stream::ClientStream;
use crate::endpoint::Endpoint;
use crate::error::{CloseReason, Error, ErrorReply, Progress};
use crate::exchange::Settings;
use crate::framing::{Framing, Native};
use crate::limits::Limits;
use crate::peer::Peer;
use bytes::Bytes;
use channel::{Channel, Failure};
use lead::{Inbox as _, Lead};
use pending::{NotBegun, Pending, Times};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

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
    /// The deadline of a call after its start; each clone may have its own.
    timeout: Duration,
}

struct Inner {
    channel: Channel,
    pending: Pending,
    endpoint: Arc<str>,
    /// The largest body that this side sends.
    limit: usize,
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
        Client { inner: Arc::new(inner), timeout: limits.call }
    }

    /// The same connection with another deadline for its calls, instead of [`Limits::call`].
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// let client = msgpipe::Client::connect("com.example.notes")?;
    /// let reply = client.with_timeout(Duration::from_millis(500)).call("quick question")?;
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Client {
        Client { inner: self.inner.clone(), timeout: Limits::clamp(timeout) }
    }

    /// Sends a request and waits for its reply, until the call's deadline.
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
    /// when the server has memory for it, by the next thread that waits for a reply.
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
        let began = Instant::now();
        let mut calls = Vec::with_capacity(1);
        self.start_all(&[request.into_body()], began, &mut calls)?;
        Ok(calls.swap_remove(0))
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

    /// Closes the connection, for all clones. Calls in flight end with [`CloseReason::Local`].
    pub fn close(&self) {
        self.inner.close(CloseReason::Local);
    }

    /// Begins a call for each of these requests and sends them: all of them or none.
    fn start_all<'a>(
        &self,
        requests: &[Body<'a>],
        began: Instant,
        calls: &mut Vec<Call>,
    ) -> Result<(), Error> {
        let (inner, deadline) = (&self.inner, began + self.timeout);
        let failed = |why, at: usize| {
            let request = requests.get(at).cloned();
            self.not_begun(why, request.unwrap_or_else(|| ().into_body()), began)
        };
        inner.make_room(requests.len()).map_err(|why| failed(why, inner.pending.room()))?;
        for (at, request) in requests.iter().enumerate() {
            inner.wait_for_limit(request.len(), deadline).map_err(|why| failed(why, at))?;
        }
        let mut refused = 0;
        let sent = inner.channel.send(Some(deadline), &inner.pending, |filler| {
            let begun = inner.pending.begin(requests, Times { began, deadline }, filler);
            let begun = begun.map_err(|(at, why)| {
                refused = at;
                why
            })?;
            let new = |id| Call::new(inner.clone(), id, began, deadline);
            calls.extend(begun.into_iter().map(new));
            Ok(())
        });
        match sent {
            Ok(()) => Ok(()),
            // They were begun: perhaps some of it was sent.
            Err(NotBegun::Unsent(Failure::Closed(reason))) if !calls.is_empty() => {
                let end = calls.iter().map(Call::end).min().unwrap_or(u64::MAX);
                let reason = inner.close(reason);
                let unsent = inner.channel.is_surely_unsent(end);
                let progress = if unsent { Progress::NotBegun } else { Progress::of(&reason) };
                Err(Error::closed(&inner.endpoint, reason.of_open_call(), progress))
            }
            Err(NotBegun::Unsent(failure)) if !calls.is_empty() => {
                Err(Error::late(&inner.endpoint, self.timeout, began, failure.progress()))
            }
            Err(why) => Err(failed(why, refused)),
        }
    }

    /// The error for a call that was not begun.
    fn not_begun(&self, why: NotBegun, request: Body<'_>, began: Instant) -> Error {
        let endpoint = self.inner.endpoint.clone();
        match why {
            NotBegun::TooMany { limit } => {
                Error::TooManyCalls { endpoint, limit, request: request.into_bytes() }
            }
            NotBegun::Closed(reason) => Error::closed(&endpoint, reason, Progress::NotBegun),
            NotBegun::Draining => {
                let reply = ErrorReply::new(ErrorReply::STOPPING, "the server stops");
                Error::Answered { endpoint, reply }
            }
            NotBegun::TooLarge { limit } => {
                let (size, message) = (request.len(), request.into_bytes());
                Error::TooLarge { endpoint, size, limit, message }
            }
            NotBegun::Refused(problem) => Error::refused(&endpoint, problem, request.into_bytes()),
            NotBegun::Unsent(Failure::Closed(reason)) => {
                let reason = self.inner.close(reason);
                Error::closed(&endpoint, reason.of_open_call(), Progress::NotBegun)
            }
            NotBegun::Unsent(_) => Error::late(&endpoint, self.timeout, began, Progress::NotBegun),
        }
    }
}

impl Inner {
    /// Checks that `count` calls may begin. Late replies of abandoned calls free their places only when they are
    /// read: at the limit they are read first.
    fn make_room(&self, count: usize) -> Result<(), NotBegun> {
        let checked = self.pending.check(count);
        if !matches!(checked, Err(NotBegun::TooMany { .. })) {
            return checked;
        }
        if let Some(lead) = Lead::take(&self.channel, &self.pending) {
            while self.pending.room() < count && self.read_arrived(&lead) {}
        }
        self.pending.check(count)
    }

    /// Checks that the server takes a body of this size. Waits for its limit, if not every server does.
    fn wait_for_limit(&self, size: usize, deadline: Instant) -> Result<(), NotBegun> {
        if size > Settings::assumed().body as usize && !self.pending.is_settled() {
            let is_settled = || self.pending.is_settled();
            self.channel.wait_for_peer(Some(deadline), &self.pending, is_settled)?;
        }
        match self.limit.min(self.pending.limit()) {
            limit if size > limit => Err(NotBegun::TooLarge { limit }),
            _ => Ok(()),
        }
    }

    /// Reads arrived bytes and delivers the replies in them. `false`: no bytes had arrived. Sends what they allow to
    /// be sent: nobody else may come to do it.
    fn read_arrived(&self, lead: &Lead<'_>) -> bool {
        let received = self.channel.receive_now(lead);
        self.channel.send_left(&self.pending);
        match received {
            Ok(read) => read > 0,
            Err(Failure::Closed(reason)) => {
                self.close(reason);
                false
            }
            Err(_) => false,
        }
    }

    /// Ends all calls. Returns the reason why the connection has ended: the first one counts.
    fn close(&self, reason: CloseReason) -> CloseReason {
        self.pending.end(&reason);
        let reason = self.pending.closed().unwrap_or(reason);
        self.channel.close(&reason);
        reason
    }

    /// Reads, and delivers all replies, until this call has ended or its deadline has passed.
    fn lead(&self, lead: &Lead<'_>, id: u32, deadline: Instant) {
        while !self.pending.is_ended(id) {
            match self.channel.receive(lead, Some(deadline)) {
                Ok(()) => {}
                Err(Failure::Closed(reason)) => drop(self.close(reason)),
                Err(_) => break,
            }
            // A stream of other replies must not prevent the check of the deadline.
            if !self.pending.is_ended(id) && deadline <= Instant::now() {
                break;
            }
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("endpoint", &self.inner.endpoint).finish_non_exhaustive()
    }
}
