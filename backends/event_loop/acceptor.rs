//! The interface between the event loop and what accepts clients.

use super::wake::Wake;
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

    /// Registers for readiness. Clients could connect before; from now on they cause events. `wake` reports
    /// readiness that is detected outside the loop.
    fn open(
        &mut self,
        registry: &Registry,
        tokens: &mut Tokens,
        wake: &Arc<Wake>,
    ) -> io::Result<()>;

    /// An event for `token`, which belongs to no connection. Returns whether a client may be waiting.
    fn ready(&mut self, token: Token) -> bool;

    /// The next waiting client. There is room for `room` clients, at least one.
    ///
    /// An error is temporary: the loop tries again after a pause.
    fn accept(
        &mut self,
        registry: &Registry,
        tokens: &mut Tokens,
        room: usize,
    ) -> io::Result<Next<Self::Stream>>;

    /// Stops accepting clients and releases the name.
    fn close(self, registry: &Registry);

    /// Polls until the system has closed every dropped stream.
    fn wait_until_gone(poll: &mut Poll, events: &mut Events) {
        let _ = (poll, events);
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

/// Allocates tokens, each only once: a late event of a connection that has ended is never mistaken for an
/// event of another connection.
#[derive(Debug)]
pub(crate) struct Tokens {
    next: usize,
}

impl Tokens {
    pub fn starting_at(first: Token) -> Tokens {
        Tokens { next: first.0 }
    }

    pub fn next(&mut self) -> Token {
        let token = Token(self.next);
        self.next += 1;
        token
    }
}
