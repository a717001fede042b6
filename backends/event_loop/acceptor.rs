//! The interface between the event loop and what accepts clients.

use super::wake::{self, Wake};
use crate::connections::ServerStream;
use crate::peer::Peer;
use mio::{Events, Poll, Registry, Token};
use std::io;
use std::sync::Arc;

/// Accepts clients: a listening socket, or a set of pipe instances.
pub(crate) trait Acceptor: Sized {
    type Stream: ServerStream;

    /// Whether a dropped stream is closed only at the next poll of the system.
    const CLOSES_BY_POLLING: bool = false;

    /// An event for `token`, which belongs to no connection. Returns whether a client may be waiting.
    fn ready(&mut self, token: Token) -> bool;

    /// Accepts the next waiting client. At most `limit` clients may be accepted now, at least one.
    ///
    /// An error is temporary: the loop tries again after a pause.
    fn accept(&mut self, poller: &mut Poller, limit: usize) -> io::Result<Next<Self::Stream>>;

    /// Stops accepting clients and releases the name.
    fn close(self, registry: &Registry);

    /// Polls until the system has closed every dropped stream, and so the name `endpoint` is free.
    fn wait_until_gone(poller: &mut Poller, events: &mut Events, endpoint: &str) {
        let _ = (poller, events, endpoint);
    }
}

/// The outcome of accepting the next waiting client.
pub(crate) enum Next<S> {
    /// A client, registered with its token.
    Client(Accepted<S>),
    /// The client has disconnected, or cannot be identified. Others may wait behind it.
    Skipped,
    /// The client has no access and gets a goodbye that says so. Others may wait behind it. On a pipe, the
    /// access list keeps such clients from connecting.
    #[cfg(unix)]
    NoAccess(S, Peer),
    /// No client waits; `ready` reports when one may.
    NoneWaiting,
}

/// An accepted client.
pub(crate) struct Accepted<S> {
    pub token: Token,
    pub stream: S,
    pub peer: Peer,
    /// Bytes may have arrived that no readiness event will report.
    pub readable: bool,
}

/// The poll of a server and what belongs to it. It exists before the server listens, so that a listener is
/// registered from its beginning.
pub(crate) struct Poller {
    pub poll: Poll,
    /// Wakes the loop for readiness that is detected outside of it.
    pub wake: Arc<Wake>,
    next_token: usize,
}

impl Poller {
    pub fn new() -> io::Result<Poller> {
        let poll = Poll::new()?;
        let wake = Arc::new(Wake::new(poll.registry())?);
        Ok(Poller { poll, wake, next_token: FIRST_TOKEN })
    }

    pub fn registry(&self) -> &Registry {
        self.poll.registry()
    }

    /// Allocates a token. Each is used only once: a late event of a connection that has ended is never
    /// mistaken for an event of another connection.
    pub fn next_token(&mut self) -> Token {
        let token = Token(self.next_token);
        self.next_token += 1;
        token
    }
}

/// The first token after the waker's.
pub(super) const FIRST_TOKEN: usize = wake::TOKEN.0 + 1;
