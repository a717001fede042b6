//! What the loop needs of the part that takes clients in.

use super::wake::Wake;
use crate::connections::ServerStream;
use crate::peer::Peer;
use mio::{Events, Poll, Registry, Token};
use std::io;
use std::sync::Arc;

/// Takes clients in: a listening socket, or a set of pipe instances.
pub(crate) trait Acceptor: Sized {
    type Stream: ServerStream;

    /// Whether a stream that was dropped is closed only when the system is polled again.
    const CLOSES_BY_POLLING: bool = false;

    /// Begins to listen for readiness. Clients could connect before; now they are noticed. `wake` is
    /// for what is learned outside the loop.
    fn open(
        &mut self,
        registry: &Registry,
        tokens: &mut Tokens,
        wake: &Arc<Wake>,
    ) -> io::Result<()>;

    /// Something has happened at `token`, which is no connection's. Returns whether a client may be
    /// waiting.
    fn ready(&mut self, token: Token) -> bool;

    /// The next client that waits. There is `room` for so many clients, one at least.
    ///
    /// An error is passing: the loop tries again after a while.
    fn accept(
        &mut self,
        registry: &Registry,
        tokens: &mut Tokens,
        room: usize,
    ) -> io::Result<Next<Self::Stream>>;

    /// Takes no more clients; gives the name free.
    fn close(self, registry: &Registry);

    /// Polls until every stream that has been dropped is gone from the system.
    fn wait_until_gone(poll: &mut Poll, events: &mut Events) {
        let _ = (poll, events);
    }
}

/// Who was next of those that wait.
pub(crate) enum Next<S> {
    /// This client, registered with its token.
    Client(Accepted<S>),
    /// One that has gone, or that cannot be told. Others may wait behind it.
    TurnedAway,
    /// One that may not come in, who is to be told so. Others may wait behind it. To a pipe the access list
    /// lets nobody come who may not.
    #[cfg(unix)]
    NotAdmitted(S, Peer),
    /// Nobody: nobody waits until `ready` says so.
    Nobody,
}

/// A client that has been taken in.
pub(crate) struct Accepted<S> {
    pub token: Token,
    pub stream: S,
    pub peer: Peer,
    /// Something may be there to be read that no event will tell of.
    pub readable: bool,
}

/// Gives out tokens, each once: an event that comes late for a connection that is gone can so
/// never be taken for another's.
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
