//! The hooks of the application, whose panics end nothing.

use super::{Connection, Server};
use crate::error::{CloseReason, Error};
use crate::guard::{discard, guarded};
use crate::message_server::{ConnectionId, MessageServer};
use crate::server::notification::ClientNotification;
use std::any::Any;
use std::time::Instant;

/// The hooks of the application. They run in the server's loop.
#[derive(Default)]
pub(super) struct Hooks {
    accept_failed: Option<Box<OnAcceptFailure>>,
    connected: Option<Box<OnConnected>>,
    pub closed: Option<Box<OnClosed>>,
    pub panicked: Option<Box<OnPanic>>,
    notified: Option<Box<OnNotification>>,
    /// The crate's own, of workers.
    pub draining: Option<Box<OnDraining>>,
}

/// A stopped server drains.
pub(super) enum Draining {
    /// Until this time.
    Begins(Instant),
    /// The time is over: what was not begun is to be refused.
    IsLate,
}

type OnAcceptFailure = dyn FnMut(Error) + Send;
type OnConnected = dyn FnMut(&Connection) + Send;
pub(super) type OnClosed = dyn FnMut(&Connection, &CloseReason) + Send;
pub(super) type OnPanic = dyn FnMut(ConnectionId, &str) + Send;
type OnNotification = dyn FnMut(ClientNotification) + Send;
pub(super) type OnDraining = dyn FnMut(Draining) + Send;

impl<M: MessageServer> Server<M> {
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

    /// Sets a hook that runs for each client that has connected, before its first request. Keep a clone of the
    /// [`Connection`] to notify the client, to call it or to close it later.
    ///
    /// Hooks run on the server's thread: meanwhile no client is served. If a hook panics, the server goes on.
    ///
    /// ```no_run
    /// let server = msgpipe::Server::bind("com.example.notes")?
    ///     .on_connected(|client| println!("{}: {}", client.id(), client.peer()))
    ///     .on_closed(|client, why| println!("{}: {} has gone: {why}", client.id(), client.peer()))
    ///     .on_panic(|id, text| eprintln!("a request of {id} made the handler panic: {text}"));
    /// server.serve(|request| request.body())?;
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    #[must_use]
    pub fn on_connected(mut self, tell: impl FnMut(&Connection) + Send + 'static) -> Server<M> {
        self.hooks.connected = Some(Box::new(tell));
        self
    }

    /// Sets a hook that runs for each connection that has ended, with the reason.
    /// [`on_connected`](Server::on_connected) has an example. Requests in flight of that connection are
    /// cancelled: see [`Responder::on_interrupt`](super::Responder::on_interrupt).
    #[must_use]
    pub fn on_closed(
        mut self,
        tell: impl FnMut(&Connection, &CloseReason) + Send + 'static,
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

    /// Sets a hook for notifications: messages of clients that ask for no reply. Those of one client come in the order
    /// in which they were sent, but requests may overtake them. Without the hook they are dropped.
    ///
    /// ```no_run
    /// let server = msgpipe::Server::bind("com.example.notes")?
    ///     .on_notification(|it| println!("{}: {:?}", it.connection().id(), it.body()));
    /// server.serve(|request| request.body())?;
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    #[must_use]
    pub fn on_notification(
        mut self,
        tell: impl FnMut(ClientNotification) + Send + 'static,
    ) -> Server<M> {
        self.hooks.notified = Some(Box::new(tell));
        self
    }
}

impl Hooks {
    /// Only the hook for panics, if there is one.
    pub fn of_panics(panicked: Option<Box<OnPanic>>) -> Hooks {
        Hooks { panicked, ..Hooks::default() }
    }

    pub fn accept_failed(&mut self, error: Error) {
        if let Some(tell) = &mut self.accept_failed {
            guarded(|| tell(error));
        }
    }

    pub fn connected(&mut self, connection: &Connection) {
        if let Some(tell) = &mut self.connected {
            guarded(|| tell(connection));
        }
    }

    pub fn closed(&mut self, connection: &Connection, reason: &CloseReason) {
        if let Some(tell) = &mut self.closed {
            guarded(|| tell(connection, reason));
        }
    }

    pub fn notified(&mut self, notification: impl FnOnce() -> ClientNotification) {
        if let Some(tell) = &mut self.notified {
            guarded(|| tell(notification()));
        }
    }

    pub fn tell_draining(&mut self, draining: Draining) {
        if let Some(tell) = &mut self.draining {
            tell(draining);
        }
    }

    /// A handler has panicked.
    pub fn panicked(&mut self, connection: ConnectionId, panic: Box<dyn Any + Send>) {
        self.tell_of(connection, &*panic);
        discard(panic);
    }

    fn tell_of(&mut self, connection: ConnectionId, panic: &(dyn Any + Send)) {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        if let Some(tell) = &mut self.panicked {
            guarded(|| tell(connection, text.unwrap_or("a panic without a text")));
        }
    }
}
