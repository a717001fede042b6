//! The `MessageServer` of this operating system.

use super::event_loop::EventLoop;
use super::os::Listener;
use crate::framing::{Framing, Layer, Native};
use crate::message_server::{ConnectionId, Event, Goodbye, MessageServer, Peer, SendError, Waker};
use crate::{Endpoint, Error, Limits};
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The [`MessageServer`] of this operating system: message-mode named pipes on Windows, Unix domain
/// sockets elsewhere. One thread, driven by [`poll`](MessageServer::poll); only processes of the
/// user who started it get in.
///
/// ```no_run
/// use msgpipe::{Event, LocalServer, MessageServer};
///
/// let mut server = LocalServer::bind("com.example.shout")?;
/// while let Some(event) = server.poll(None)? {
///     if let Event::Message(from, message) = event {
///         // A client that does not read may be refused; here the message is then dropped.
///         let _ = server.send(from, message.to_ascii_uppercase().into());
///     }
/// }
/// # Ok::<_, msgpipe::Error>(())
/// ```
pub struct LocalServer {
    event_loop: EventLoop<Listener>,
}

impl LocalServer {
    /// A server of messages at `endpoint`, in this crate's framing and with the default [`Limits`].
    /// Clients can connect as soon as this returns.
    ///
    /// # Errors
    /// As [`Server::bind`](crate::Server::bind).
    pub fn bind<E>(endpoint: E) -> Result<LocalServer, Error>
    where
        E: TryInto<Endpoint>,
        Error: From<E::Error>,
    {
        let limits = Limits::default();
        let framing = Native::new(Layer::Messages, limits.message);
        LocalServer::bind_with(&endpoint.try_into()?, Arc::new(framing), &limits)
    }

    /// A server with a framing and limits of one's own. [`Limits::message`] is the framing's
    /// affair; the others are applied here.
    ///
    /// # Errors
    /// As [`Server::bind`](crate::Server::bind).
    ///
    /// ```no_run
    /// use msgpipe::framing::{Layer, Native};
    /// use msgpipe::{Endpoint, Limits, LocalServer};
    ///
    /// let endpoint = Endpoint::name("com.example.shout")?;
    /// let framing = Native::new(Layer::Messages, 64 * 1024);
    /// let server = LocalServer::bind_with(&endpoint, std::sync::Arc::new(framing), &Limits::default())?;
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    pub fn bind_with(
        endpoint: &Endpoint,
        framing: Arc<dyn Framing>,
        limits: &Limits,
    ) -> Result<LocalServer, Error> {
        let (listener, name) = Listener::bind(endpoint)?;
        Ok(LocalServer { event_loop: EventLoop::new(listener, framing, limits, name)? })
    }
}

impl fmt::Debug for LocalServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalServer").field("endpoint", &self.endpoint()).finish_non_exhaustive()
    }
}

impl MessageServer for LocalServer {
    fn poll(&mut self, timeout: Option<Duration>) -> Result<Option<Event>, Error> {
        self.event_loop.poll(timeout)
    }

    fn send_with_head(
        &mut self,
        to: ConnectionId,
        head: &[u8],
        body: Bytes,
    ) -> Result<(), SendError> {
        self.event_loop.connections.send(to, head, body)
    }

    fn close(&mut self, connection: ConnectionId, why: Goodbye) {
        self.event_loop.close(connection, &why);
    }

    fn peer(&self, connection: ConnectionId) -> Option<&Peer> {
        self.event_loop.connections.peer(connection)
    }

    fn stop_accepting(&mut self) {
        self.event_loop.stop_accepting();
    }

    fn waker(&self) -> Waker {
        self.event_loop.waker()
    }

    fn endpoint(&self) -> &str {
        self.event_loop.endpoint()
    }
}
