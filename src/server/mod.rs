//! The server for calls, on any [`MessageServer`].
#![forbid(unsafe_code)]

mod answering;
mod arrival;
mod bind;
mod caller;
mod flow;
mod nested;
mod options;
mod parts;
mod reply;
mod responder;
mod rooms;
mod workers;

pub use options::{Instances, Risk, ServerOptions};
pub use parts::{PartError, PartSender};
pub use reply::{Failure, IntoReply};
pub use responder::{Request, Responder};
pub use workers::Workers;

use crate::backends::LocalServer;
use crate::endpoint::Endpoint;
use crate::error::{CloseReason, Error};
use crate::limits::Limits;
use crate::message_server::{ConnectionId, MessageServer, Waker};
use crate::peer::Peer;
use answering::Answering;
use responder::Outbox;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// A server for calls: a handler gets each request, and its reply is sent to the client.
///
/// One thread serves all clients. A handler that replies at once runs in the server's loop
/// ([`serve`](Server::serve)); one that needs longer replies from another thread
/// ([`serve_deferred`](Server::serve_deferred)), or blocks on threads of the server's own
/// ([`serve_workers`](Server::serve_workers), with a table of which to take).
///
/// ```no_run
/// let server = msgpipe::Server::bind("com.example.notes")?;
/// server.serve(|request| request.body())?; // echo
/// # Ok::<_, msgpipe::Error>(())
/// ```
pub struct Server<M = LocalServer> {
    messages: M,
    limits: Limits,
    outbox: Arc<Outbox>,
    stop: Arc<AtomicBool>,
    hooks: Hooks,
}

/// The hooks of the application. They run in the server's loop.
#[derive(Default)]
struct Hooks {
    accept_failed: Option<Box<OnAcceptFailure>>,
    connected: Option<Box<OnConnected>>,
    closed: Option<Box<OnClosed>>,
    panicked: Option<Box<OnPanic>>,
    /// The crate's own, of workers.
    draining: Option<Box<OnDraining>>,
}

type OnAcceptFailure = dyn FnMut(Error) + Send;
type OnConnected = dyn FnMut(ConnectionId, &Peer) + Send;
type OnClosed = dyn FnMut(ConnectionId, &Peer, &CloseReason) + Send;
type OnPanic = dyn FnMut(ConnectionId, &str) + Send;
type OnDraining = dyn FnMut(Draining) + Send;

/// A stopped server drains.
enum Draining {
    /// Until this time.
    Begins(Instant),
    /// The time is over: what was not begun is to be refused.
    IsLate,
}

impl Server<LocalServer> {
    /// A server at `endpoint` with the default [`Limits`], for this user only. Clients can
    /// connect as soon as this returns.
    ///
    /// # Errors
    /// [`Error::AlreadyServed`] if another server has the name, [`Error::Name`] for an invalid name,
    /// [`Error::Insecure`] if the place of the endpoint is not safe, [`Error::System`] if a system call failed.
    pub fn bind<E>(endpoint: E) -> Result<Server, Error>
    where
        E: TryInto<Endpoint>,
        Error: From<E::Error>,
    {
        Server::bind_with(endpoint, Limits::default())
    }

    /// A server with the given limits; otherwise as [`bind`](Server::bind).
    ///
    /// # Errors
    /// As [`bind`](Server::bind).
    ///
    /// ```no_run
    /// let mut limits = msgpipe::Limits::default();
    /// limits.connections = 8;
    /// let server = msgpipe::Server::bind_with("com.example.notes", limits)?;
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    pub fn bind_with<E>(endpoint: E, limits: Limits) -> Result<Server, Error>
    where
        E: TryInto<Endpoint>,
        Error: From<E::Error>,
    {
        ServerOptions::new().limits(limits).bind(endpoint)
    }
}

impl<M: MessageServer> Server<M> {
    /// A server on top of any [`MessageServer`]. The limit of its framing must leave room for the envelope of
    /// 16 bytes, as with [`Hub::listen_for_calls`](crate::memory::Hub::listen_for_calls).
    /// [`memory`](crate::memory) has an example.
    pub fn over(messages: M, limits: Limits) -> Server<M> {
        let outbox = Arc::new(Outbox::new(messages.waker()));
        let limits = limits.clamped();
        Server { messages, limits, outbox, stop: Arc::default(), hooks: Hooks::default() }
    }

    /// Sets a hook that runs when waiting clients cannot be accepted; see [`Event::AcceptFailed`].
    ///
    /// [`Event::AcceptFailed`]: crate::Event::AcceptFailed
    ///
    /// ```no_run
    /// let server = msgpipe::Server::bind("com.example.notes")?;
    /// let server = server.on_accept_failure(|error| eprintln!("{error}: trying again"));
    /// server.serve(|request| request.body())?;
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    #[must_use]
    pub fn on_accept_failure(mut self, tell: impl FnMut(Error) + Send + 'static) -> Server<M> {
        self.hooks.accept_failed = Some(Box::new(tell));
        self
    }

    /// Sets a hook that runs for each client that has connected, before its first request.
    ///
    /// Hooks run on the server's thread: meanwhile no client is served. If a hook panics, the server goes on.
    ///
    /// ```no_run
    /// let server = msgpipe::Server::bind("com.example.notes")?
    ///     .on_connected(|id, peer| println!("{id}: {peer}"))
    ///     .on_closed(|id, peer, why| println!("{id}: {peer} has gone: {why}"))
    ///     .on_panic(|id, text| eprintln!("a request of {id} made the handler panic: {text}"));
    /// server.serve(|request| request.body())?;
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    #[must_use]
    pub fn on_connected(
        mut self,
        tell: impl FnMut(ConnectionId, &Peer) + Send + 'static,
    ) -> Server<M> {
        self.hooks.connected = Some(Box::new(tell));
        self
    }

    /// Sets a hook that runs for each connection that has ended, with the reason.
    /// [`on_connected`](Server::on_connected) has an example. Requests in flight of that connection are
    /// cancelled: see [`Responder::is_cancelled`].
    #[must_use]
    pub fn on_closed(
        mut self,
        tell: impl FnMut(ConnectionId, &Peer, &CloseReason) + Send + 'static,
    ) -> Server<M> {
        self.hooks.closed = Some(Box::new(tell));
        self
    }

    /// Sets a hook that runs when the handler has panicked in the loop or on a worker, with the panic's text.
    /// [`on_connected`](Server::on_connected) has an example. In any case the client gets the error reply
    /// [`ErrorReply::FAILED`](crate::ErrorReply::FAILED), and the server goes on.
    #[must_use]
    pub fn on_panic(mut self, tell: impl FnMut(ConnectionId, &str) + Send + 'static) -> Server<M> {
        self.hooks.panicked = Some(Box::new(tell));
        self
    }

    /// Serves with a handler that replies at once, until the server is [stopped](Stopper::stop).
    ///
    /// The handler runs on this thread, for one request at a time; meanwhile no other client is served. So it must not
    /// call its own server: that call would wait for itself until its time is over. Clients
    /// take turns of a limited number of requests, however many one of them sends. The handler returns the
    /// reply: bytes or a text, or a `Result` of these with an error that becomes an
    /// [`ErrorReply`](crate::ErrorReply).
    ///
    /// If the handler panics, the client gets the error reply [`ErrorReply::FAILED`](crate::ErrorReply::FAILED),
    /// the [`on_panic`](Server::on_panic) hook runs, and the server goes on. The handler's own state stays as the
    /// panic left it. Requests of a disconnected client are not begun.
    ///
    /// ```no_run
    /// let server = msgpipe::Server::bind("com.example.double")?;
    /// server.serve(|request| {
    ///     let number: u64 = std::str::from_utf8(&request.body())
    ///         .ok()
    ///         .and_then(|text| text.parse().ok())
    ///         .ok_or("not a number")?;
    ///     Ok::<_, &str>((2 * number).to_string())
    /// })?;
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::System`] if the operating system's event queue failed.
    pub fn serve<H, R>(self, mut handler: H) -> Result<(), Error>
    where
        H: FnMut(Request) -> R,
        R: IntoReply,
    {
        Answering::new(self).run(|request, answer| {
            answer.with(|| {
                let _handling = request.begin(None);
                handler(request)
            })
        })
    }

    /// Serves with a handler that replies at any time, from any thread and in any order, until
    /// the server is [stopped](Stopper::stop).
    ///
    /// ```no_run
    /// let server = msgpipe::Server::bind("com.example.slow")?;
    /// server.serve_deferred(|request, responder| {
    ///     std::thread::spawn(move || responder.reply(request.body()));
    /// })?;
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`serve`](Server::serve).
    pub fn serve_deferred<H>(self, mut handler: H) -> Result<(), Error>
    where
        H: FnMut(Request, Responder),
    {
        let mut handler = |request: Request, responder| {
            let _handling = request.begin(None);
            handler(request, responder);
        };
        Answering::new(self).run(|request, answer| answer.later(request, &mut handler))
    }

    /// A handle that stops the server, from any thread.
    pub fn stopper(&self) -> Stopper {
        Stopper { stop: self.stop.clone(), waker: self.messages.waker() }
    }

    /// The endpoint as text.
    ///
    /// ```
    /// # use msgpipe::{Limits, Server, memory};
    /// let messages = memory::Hub::new().listen_for_calls("notes", Limits::default())?;
    /// assert_eq!(Server::over(messages, Limits::default()).endpoint(), "memory:notes");
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    pub fn endpoint(&self) -> &str {
        self.messages.endpoint()
    }
}

impl<M: MessageServer> fmt::Debug for Server<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("endpoint", &self.endpoint()).finish_non_exhaustive()
    }
}

/// Stops a server; [`Server::stopper`] returns it.
///
/// ```
/// # use msgpipe::{Limits, Server, memory};
/// # let messages = memory::Hub::new().listen_for_calls("notes", Limits::default())?;
/// # let server = Server::over(messages, Limits::default());
/// let stopper = server.stopper();
/// std::thread::spawn(move || stopper.stop());
/// server.serve(|request| request.body())?; // returns once it was stopped
/// # Ok::<_, msgpipe::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Stopper {
    stop: Arc<AtomicBool>,
    waker: Waker,
}

impl Stopper {
    /// Stops the server: it accepts no new clients, begins no new requests, and drains. `serve` returns once the
    /// outstanding replies have been sent, after [`Limits::drain`] at the latest.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.waker.wake();
    }
}
