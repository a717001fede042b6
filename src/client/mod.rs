//! The client for calls. It blocks, and does its I/O on the caller's own thread.
#![forbid(unsafe_code)]

mod batch;
mod channel;
mod messages;
mod pending;
mod turn;

pub use batch::Batch;
pub use messages::MessageClient;

use crate::client_stream::ClientStream;
use crate::endpoint::Endpoint;
use crate::error::{CloseReason, Error};
use crate::exchange::{Envelope, Kind};
use crate::framing::{ENVELOPE_LEN, Framing, Native};
use crate::limits::Limits;
use crate::message_server::Peer;
use crate::options::ClientOptions;
use bytes::Bytes;
use channel::{Channel, Failure, Inbox as _};
use pending::{NotBegun, Outcome, Pending, Slot};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A connection to a [`Server`](crate::Server), for calls.
///
/// Calls block until their reply is there. A clone is cheap and uses the same connection; threads
/// that share it have their calls under way at once, and whichever of them waits reads for all.
///
/// ```no_run
/// let client = msgpipe::Client::connect("com.example.notes")?;
/// let reply = client.call("hello")?;
/// # Ok::<_, msgpipe::Error>(())
/// ```
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
    /// How long a call waits; each clone may have its own.
    timeout: Duration,
}

struct Inner {
    channel: Channel,
    pending: Pending,
    endpoint: Arc<str>,
}

impl Client {
    /// Connects to the server at `endpoint` with the default [`Limits`].
    ///
    /// Blocks while the server is busy, [`Limits::connect`] at most.
    ///
    /// # Errors
    /// [`Error::NoServer`] at once when there is none, [`Error::Busy`] when its time passed,
    /// [`Error::Insecure`] when whoever serves it is not [trusted](crate::Trust),
    /// [`Error::Name`] for a bad name, [`Error::System`] when the system refused.
    pub fn connect<E>(endpoint: E) -> Result<Client, Error>
    where
        E: TryInto<Endpoint>,
        Error: From<E::Error>,
    {
        Client::connect_with(endpoint, Limits::default())
    }

    /// Connects with limits of one's own; else as [`connect`](Client::connect).
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

    /// A client over a stream that is connected already; `endpoint` is its name in errors. See
    /// [`ClientStream`] for an example.
    pub fn over(stream: Box<dyn ClientStream>, endpoint: &str, limits: Limits) -> Client {
        let framing = Native::for_calls(limits.clamped().message);
        Client::over_framing(stream, &framing, endpoint, &limits)
    }

    /// As [`over`](Client::over), in another framing than this crate's own.
    pub(crate) fn over_framing(
        stream: Box<dyn ClientStream>,
        framing: &dyn Framing,
        endpoint: &str,
        limits: &Limits,
    ) -> Client {
        let limits = limits.clamped();
        let inner = Inner {
            channel: Channel::new(stream, framing),
            pending: Pending::new(limits.in_flight),
            endpoint: endpoint.into(),
        };
        Client { inner: Arc::new(inner), timeout: limits.call }
    }

    /// The same connection with another time for its calls than [`Limits::call`].
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// let client = msgpipe::Client::connect("com.example.notes")?;
    /// let reply = client.within(Duration::from_millis(500)).call("quick question")?;
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    #[must_use]
    pub fn within(&self, timeout: Duration) -> Client {
        Client { inner: self.inner.clone(), timeout }
    }

    /// Sends a request and waits for its reply.
    ///
    /// # Errors
    /// [`Error::Answered`] when the server answered with an error, [`Error::Deadline`] when nothing
    /// came in time, [`Error::TooLarge`] and [`Error::TooManyCalls`] for a request that was not
    /// sent, [`Error::Closed`] when the connection has ended.
    pub fn call(&self, request: impl Into<Bytes>) -> Result<Bytes, Error> {
        self.start(request)?.wait()
    }

    /// Sends a request and does not wait: any number up to [`Limits::in_flight`] may be under way.
    /// The time for the reply counts from here.
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
    /// As [`call`](Client::call), less [`Error::Answered`].
    pub fn start(&self, request: impl Into<Bytes>) -> Result<Call, Error> {
        let (call, unsent) = self.register(request.into())?;
        self.send(&mut [unsent], call.deadline)?;
        Ok(call)
    }

    /// Collects requests that leave together, in one write; see [`Batch`].
    pub fn batch(&self) -> Batch<'_> {
        Batch::new(self)
    }

    /// Who serves, as the operating system told it when the connection was made.
    ///
    /// ```no_run
    /// let client = msgpipe::Client::connect("com.example.notes")?;
    /// println!("served by {}", client.server());
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    pub fn server(&self) -> &Peer {
        self.inner.channel.stream.peer()
    }

    /// Registers a call whose request is about to be sent.
    fn register(&self, body: Bytes) -> Result<(Call, Unsent), Error> {
        let inner = &self.inner;
        let (size, limit) = (body.len(), inner.channel.limit().saturating_sub(ENVELOPE_LEN));
        if size > limit {
            let endpoint = inner.endpoint.clone();
            return Err(Error::TooLarge { endpoint, size, limit, message: body });
        }
        let deadline = Instant::now().checked_add(self.timeout);
        match inner.begin(deadline) {
            Ok((id, slot)) => {
                let call = Call { inner: inner.clone(), id, slot, deadline, timeout: self.timeout };
                Ok((call, Unsent { id, body }))
            }
            Err(NotBegun::TooMany(too_many)) => {
                let (endpoint, limit) = (inner.endpoint.clone(), too_many.limit);
                Err(Error::TooManyCalls { endpoint, limit, request: body })
            }
            Err(NotBegun::Closed(reason)) => Err(inner.closed(reason)),
        }
    }

    /// Sends requests of calls that are registered.
    fn send(&self, requests: &mut [Unsent], deadline: Option<Instant>) -> Result<(), Error> {
        let inner = &self.inner;
        let messages = requests.iter_mut().map(|request| {
            let envelope = Envelope { kind: Kind::Request, id: request.id };
            (envelope.encode(), std::mem::take(&mut request.body))
        });
        match inner.channel.send(messages, deadline, &inner.pending) {
            Ok(()) => Ok(()),
            Err(Failure::Closed(reason)) => {
                inner.close(&reason);
                Err(inner.closed(reason))
            }
            // The size was looked at before: a framing of the caller's that takes no such bytes.
            Err(Failure::Refused(problem)) => {
                requests.iter().for_each(|r| inner.pending.withdraw(r.id, Outcome::Deadline));
                let (endpoint, message) = (inner.endpoint.clone(), Bytes::new());
                Err(Error::Unsendable { endpoint, problem, message })
            }
            Err(failure) => {
                if matches!(failure, Failure::Unsent) {
                    requests.iter().for_each(|r| inner.pending.withdraw(r.id, Outcome::Deadline));
                }
                Err(Error::Deadline { endpoint: inner.endpoint.clone(), after: self.timeout })
            }
        }
    }
}

/// A request of a registered call.
struct Unsent {
    id: u32,
    body: Bytes,
}

impl Inner {
    /// Begins a call. Replies to calls that nobody waits for any more free their places only once
    /// they are read: if that is why there is no place, they are read now.
    fn begin(&self, deadline: Option<Instant>) -> Result<(u32, Arc<Slot>), NotBegun> {
        let begun = self.pending.begin(deadline);
        if !matches!(begun, Err(NotBegun::TooMany(_))) || !self.pending.try_lead() {
            return begun;
        }
        while self.pending.is_full() {
            match self.channel.receive(Some(Instant::now()), &self.pending) {
                Ok(()) => {}
                Err(Failure::Closed(reason)) => self.close(&reason),
                Err(_) => break,
            }
        }
        self.pending.stop_leading();
        self.pending.begin(deadline)
    }

    /// Ends all calls, with `reason`.
    fn close(&self, reason: &CloseReason) {
        if self.pending.close(reason) {
            self.channel.close(reason);
        }
    }

    fn closed(&self, reason: CloseReason) -> Error {
        Error::closed(&self.endpoint, reason)
    }

    /// Reads until `slot` has its outcome, for every call whose reply comes by. Only for the thread
    /// that has the right to read.
    fn lead(&self, slot: &Slot, deadline: Option<Instant>) {
        while !slot.is_finished() {
            match self.channel.receive(deadline, &self.pending) {
                Ok(()) => {}
                Err(Failure::Closed(reason)) => self.close(&reason),
                Err(_) => break,
            }
        }
        self.pending.stop_leading();
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("endpoint", &self.inner.endpoint).finish_non_exhaustive()
    }
}

/// A request that was sent; its reply can be waited for. Dropped, the reply is not waited for, and
/// is thrown away when it comes.
#[must_use = "a call that is dropped throws its reply away"]
pub struct Call {
    inner: Arc<Inner>,
    id: u32,
    slot: Arc<Slot>,
    deadline: Option<Instant>,
    timeout: Duration,
}

impl Call {
    /// Waits for the reply, until the call's time is over.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn wait(self) -> Result<Bytes, Error> {
        loop {
            if let Some(outcome) = self.slot.take() {
                return self.result(outcome);
            }
            if self.inner.pending.lead_or_follow(&self.slot, self.deadline) {
                self.inner.lead(&self.slot, self.deadline);
            }
            if !self.slot.is_finished() {
                let now = Instant::now();
                if self.deadline.is_some_and(|at| at <= now) {
                    self.inner.pending.expire(now);
                }
            }
        }
    }

    fn result(&self, outcome: Outcome) -> Result<Bytes, Error> {
        let endpoint = || self.inner.endpoint.clone();
        match outcome {
            Outcome::Reply(reply) => Ok(reply),
            Outcome::Error(reply) => Err(Error::Answered { endpoint: endpoint(), reply }),
            Outcome::Deadline => Err(Error::Deadline { endpoint: endpoint(), after: self.timeout }),
            Outcome::Closed(reason) => Err(Error::closed(&self.inner.endpoint, reason)),
        }
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoint = &self.inner.endpoint;
        f.debug_struct("Call")
            .field("endpoint", endpoint)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.slot.is_finished() {
            self.inner.pending.abandon(self.id);
        }
    }
}
