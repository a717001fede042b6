//! The `MessageServer` of this operating system.

use super::event_loop::{EventLoop, Poller};
use super::os::{self, Listener, ListeningSocket};
use super::standard_streams;
use crate::framing::{Carrier, Framing};
use crate::goodbye::Goodbye;
use crate::message_server::{ConnectionId, Event, MessageServer, SendError, Waker};
use crate::peer::Peer;
use crate::{Endpoint, Error, ServerOptions, Share, Waitable};
use bytes::Bytes;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The [`MessageServer`] of this operating system: message-mode named pipes on Windows, Unix domain
/// sockets elsewhere. It runs on the thread that calls [`poll`](MessageServer::poll). Only processes of the
/// user who started it may connect, unless [`Access`](crate::Access) allows others.
///
/// ```no_run
/// use msgpipe::{Event, LocalServer, MessageServer};
///
/// let mut server = LocalServer::bind("com.example.shout")?;
/// while let Some(event) = server.poll(None)? {
///     if let Event::Message(from, message) = event {
///         // Refused if the client does not read; the message is then dropped.
///         let _ = server.send(from, message.to_ascii_uppercase().into());
///     }
/// }
/// # Ok::<_, msgpipe::Error>(())
/// ```
pub struct LocalServer {
    event_loop: EventLoop<Listener>,
}

impl LocalServer {
    /// A server of messages at `endpoint`, with the native framing and the default
    /// [`Limits`](crate::Limits). Clients can connect as soon as this returns. [`ServerOptions`] has all
    /// other settings.
    ///
    /// # Errors
    /// As [`Server::bind`](crate::Server::bind).
    pub fn bind<E>(endpoint: E) -> Result<LocalServer, Error>
    where
        E: TryInto<Endpoint>,
        Error: From<E::Error>,
    {
        ServerOptions::new().bind_messages(endpoint)
    }

    pub(crate) fn listen(
        endpoint: &Endpoint,
        framing: Arc<dyn Framing>,
        options: &ServerOptions,
    ) -> Result<LocalServer, Error> {
        let mut poller = Poller::new().map_err(|source| {
            Error::system(&endpoint.to_string().into(), "setting up the event loop", source)
        })?;
        let (listener, name) = Listener::bind(endpoint, options, framing.carrier(), &mut poller)?;
        Ok(LocalServer { event_loop: EventLoop::new(poller, listener, framing, options, name) })
    }

    pub(crate) fn listen_on(
        socket: ListeningSocket,
        framing: Arc<dyn Framing>,
        options: &ServerOptions,
    ) -> Result<LocalServer, Error> {
        let mut poller = Poller::new()
            .map_err(|source| Error::system(&socket.name(), "setting up the event loop", source))?;
        let (listener, name) =
            Listener::handed_over(socket, options, framing.carrier(), &mut poller)?;
        Ok(LocalServer { event_loop: EventLoop::new(poller, listener, framing, options, name) })
    }
}

impl LocalServer {
    /// The server of the connection that this process's parent has given to it.
    pub(crate) fn inherited(
        framing: Arc<dyn Framing>,
        options: &ServerOptions,
    ) -> Result<LocalServer, Error> {
        standard_streams::take(|endpoint| {
            let failed = |action| move |source| Error::system(endpoint, action, source);
            if framing.carrier() != Carrier::Stream {
                let source = std::io::ErrorKind::Unsupported.into();
                return Err(failed("carrying whole messages over a stream of bytes")(source));
            }
            let mut poller = Poller::new().map_err(failed("setting up the event loop"))?;
            let (client, name) = os::inherit(&mut poller, options.exit_after_parent, endpoint)?;
            let mut event_loop = EventLoop::of_one(poller, framing.clone(), options, name);
            event_loop.add(client);
            Ok(LocalServer { event_loop })
        })
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

    fn event_time(&self) -> Instant {
        self.event_loop.event_time
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

    fn abort(&mut self, connection: ConnectionId) {
        self.event_loop.connections.abort(connection);
    }

    fn is_reachable(&self, connection: ConnectionId) -> bool {
        self.event_loop.connections.is_reachable(connection)
    }

    fn has_room(&mut self, to: ConnectionId) -> bool {
        self.event_loop.connections.has_room(to)
    }

    fn wait_for_memory(&mut self, connection: ConnectionId) {
        self.event_loop.connections.wait_for_memory(connection);
    }

    fn keep_going(&mut self, connection: ConnectionId, keeps_going: bool) {
        self.event_loop.connections.keep_going(connection, keeps_going);
    }

    fn limit_in_transit(&mut self, connection: ConnectionId, limited: bool) {
        self.event_loop.connections.limit_in_transit(connection, limited);
    }

    fn allow_unread(&mut self, connection: ConnectionId, allowed: bool) {
        self.event_loop.connections.allow_unread(connection, allowed, Instant::now());
    }

    fn largest_message(&self, to: ConnectionId) -> usize {
        self.event_loop.connections.largest_message(to)
    }

    fn share(&self, connection: ConnectionId) -> Option<Share> {
        self.event_loop.connections.share(connection)
    }

    fn peer(&self, connection: ConnectionId) -> Option<&Peer> {
        self.event_loop.connections.peer(connection)
    }

    fn stop_accepting(&mut self) {
        self.event_loop.stop_accepting();
    }

    fn waitable(&self) -> io::Result<Option<Waitable>> {
        self.event_loop.waitable()
    }

    fn poll_at(&self) -> Option<Instant> {
        self.event_loop.poll_at()
    }

    fn is_over(&self) -> bool {
        self.event_loop.is_over()
    }

    fn waker(&self) -> Waker {
        self.event_loop.waker()
    }

    fn endpoint(&self) -> &str {
        self.event_loop.endpoint()
    }
}
