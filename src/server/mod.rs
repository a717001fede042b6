//! The server for calls, on any [`MessageServer`].
#![forbid(unsafe_code)]

mod answering;
mod arrival;
mod bind;
mod caller;
mod calling;
mod changed;
mod client_call;
mod connection;
mod connections;
mod counters;
mod flow;
#[cfg(test)]
mod flow_tests;
mod hooks;
mod inflow;
mod interrupt;
mod monitoring;
mod nested;
mod notification;
mod of_one;
mod options;
mod outbox;
mod parts;
mod reply;
mod request_parts;
mod responder;
mod rooms;
#[cfg(feature = "test-util")]
mod simulated;
mod tally;
#[cfg(feature = "tokio")]
mod tasks;
mod topic;
mod workers;

pub use client_call::ClientCall;
pub use connection::Connection;
pub use connections::Connections;
pub use counters::Counters;
pub use interrupt::Interrupt;
pub use notification::ClientNotification;
pub use options::{Instances, Risk, ServerOptions};
pub use parts::{PartError, PartSender};
pub use reply::{Failure, IntoReply};
pub use request_parts::{ReceiveError, RequestParts};
pub use responder::{Request, Responder};
pub use tally::{ServerCounts, SlowCall};
#[cfg(feature = "tokio")]
pub use tasks::Tasks;
pub use topic::{Published, Topic, WhenFull};
pub use workers::Workers;

use crate::backends::LocalServer;
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::limits::Limits;
use crate::message_server::{MessageServer, Waker};
use crate::sync::atomic::{AtomicBool, Ordering};
use answering::Answering;
use hooks::Hooks;
use outbox::Outbox;
use std::fmt;
use std::sync::Arc;

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
    connections: Connections,
    hooks: Hooks,
    takes_streams: bool,
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
        let limits = limits.clamped();
        let outbox = Outbox::new(messages.waker(), messages.endpoint(), &limits);
        let outbox = Arc::new(outbox);
        let (stop, connections, hooks) = Default::default();
        Server { messages, limits, outbox, stop, connections, hooks, takes_streams: false }
    }

    /// Accepts requests of any number of parts, for a handler that replies at any time: [`Request::into_parts`] has
    /// them. Otherwise they are refused
    /// ([`ErrorReply::PARTS_REFUSED`](crate::ErrorReply::PARTS_REFUSED)), so that a handler that does not know of them does not
    /// take the first part for the whole request. [`RequestParts`] has an example.
    #[must_use]
    pub fn accept_streams(mut self) -> Server<M> {
        self.takes_streams = true;
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
            answer.with(request.method, || {
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
        let takes = self.takes_streams;
        let mut handler = |request: Request, responder| {
            let _handling = request.begin(None);
            handler(request, responder);
        };
        let answering = Answering::new(self).with_streams(takes);
        answering.run(|request, answer| answer.later(request, &mut handler))
    }

    /// Who is connected, for any thread. The list is kept from this call on: call it before the server serves.
    pub fn connections(&self) -> Connections {
        self.connections.keep();
        self.connections.clone()
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
    /// outstanding replies have been sent, after [`Limits::drain`] at the latest. Does not block.
    ///
    /// At Ctrl-C, and at SIGTERM with its feature `termination`, the crate ctrlc calls it on a thread of its own. With
    /// [`LocalServer`] on Linux it may be called in a signal handler too: it stores flags and writes to an
    /// eventfd (signal-safety(7)).
    ///
    /// ```no_run
    /// let server = msgpipe::Server::bind("com.example.notes")?;
    /// let stopper = server.stopper();
    /// ctrlc::set_handler(move || stopper.stop())?;
    /// server.serve(|request| request.body())?;
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.waker.wake();
    }
}
