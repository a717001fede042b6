//! What the poll tells of a client's socket.
//!
//! On Linux an edge-triggered socket reports writability each time its peer has read something: one event
//! for each reply, of which nothing follows. So writability is asked for only while something waits to be
//! sent (`epoll_ctl(2)`, EPOLL_CTL_MOD: a socket that has become writable meanwhile is reported at once).
//! On other systems it is asked for always: kqueue tells by the same filter that a peer has gone.

use mio::net::UnixStream;
use mio::{Interest, Registry, Token};
use std::io;
use std::sync::Arc;

/// Whether the interest in writability comes and goes.
const CHANGES: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// Urgent data makes a read come up short with more behind it, so it is reported too, where there is such
/// a thing.
#[cfg(any(target_os = "linux", target_os = "android"))]
const TO_READ: Interest = Interest::READABLE.add(Interest::PRIORITY);
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const TO_READ: Interest = Interest::READABLE;

const TO_READ_AND_WRITE: Interest = TO_READ.add(Interest::WRITABLE);

/// With what a client's socket is registered.
pub(super) const AT_FIRST: Interest = if CHANGES { TO_READ } else { TO_READ_AND_WRITE };

/// A socket's registration with the poll.
pub(super) struct Registration {
    registry: Arc<Registry>,
    token: Token,
    /// Writability is asked for.
    writability: bool,
}

impl Registration {
    /// Of a socket that was registered [`AT_FIRST`].
    pub fn new(registry: Arc<Registry>, token: Token) -> Registration {
        Registration { registry, token, writability: !CHANGES }
    }

    /// Something waits to be sent, or nothing does any more.
    pub fn set_blocked(&mut self, socket: &mut UnixStream, blocked: bool) -> io::Result<()> {
        if CHANGES && blocked != self.writability {
            let interest = if blocked { TO_READ_AND_WRITE } else { TO_READ };
            self.registry.reregister(socket, self.token, interest)?;
            self.writability = blocked;
        }
        Ok(())
    }
}
