//! What the poll reports of a client's socket: when it can be read, and when it can be written to.
//!
//! On Linux an edge-triggered socket reports writability each time its peer has read something: an event
//! for each reply, of which nothing follows. So writability is asked for only while something waits to be
//! sent (`epoll_ctl(2)`, EPOLL_CTL_MOD: a socket that has become writable meanwhile is reported at once).
//!
//! With one exception: while requests come from one client only, the event wakes the server just
//! when it pays. That client goes on to its next request, and the server's CPU, which would take longer to
//! wake than the call takes, is awake when it comes (`ARCHITECTURE.md`, Decisions, has the figures).
//!
//! On other systems writability is asked for always: kqueue reports by the same filter that a peer has gone.

use mio::net::UnixStream;
use mio::{Interest, Registry, Token};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};

/// Whether the interest in writability comes and goes.
const CHANGES: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// After so many reads from one client in a row it counts as the only one. Enough that a change of the
/// interest, which costs a system call, is rare where several clients take turns.
pub(super) const ONLY_ONE: u32 = 64;

/// Urgent data makes a read come up short with more behind it, so it is reported too, where there is such
/// a thing.
#[cfg(any(target_os = "linux", target_os = "android"))]
const TO_READ: Interest = Interest::READABLE.add(Interest::PRIORITY);
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const TO_READ: Interest = Interest::READABLE;

const TO_READ_AND_WRITE: Interest = TO_READ.add(Interest::WRITABLE);

/// With what a client's socket is registered.
pub(super) const AT_FIRST: Interest = if CHANGES { TO_READ } else { TO_READ_AND_WRITE };

/// What the registrations of a server share.
pub(super) struct Interests {
    registry: Registry,
    /// The socket that was read last, and how often in a row.
    last_read: AtomicUsize,
    in_a_row: AtomicU32,
}

impl Interests {
    pub fn new(registry: Registry) -> Interests {
        Interests { registry, last_read: AtomicUsize::new(0), in_a_row: AtomicU32::new(0) }
    }
}

/// A socket's registration with the poll.
pub(super) struct Registration {
    interests: Arc<Interests>,
    token: Token,
    /// Writability is asked for.
    writability: bool,
}

impl Registration {
    /// Of a socket that was registered [`AT_FIRST`].
    pub fn new(interests: Arc<Interests>, token: Token) -> Registration {
        Registration { interests, token, writability: !CHANGES }
    }

    /// Something was read from the socket.
    pub fn read(&self) {
        let Interests { last_read, in_a_row, .. } = &*self.interests;
        if last_read.load(Relaxed) == self.token.0 {
            in_a_row.store(in_a_row.load(Relaxed).saturating_add(1), Relaxed);
        } else {
            last_read.store(self.token.0, Relaxed);
            in_a_row.store(1, Relaxed);
        }
    }

    /// Whether all recent reads were from this socket.
    fn is_only_one(&self) -> bool {
        let Interests { last_read, in_a_row, .. } = &*self.interests;
        last_read.load(Relaxed) == self.token.0 && in_a_row.load(Relaxed) >= ONLY_ONE
    }

    /// Something waits to be sent, or nothing does any more.
    pub fn set_blocked(&mut self, socket: &mut UnixStream, blocked: bool) -> io::Result<()> {
        let wanted = blocked || self.is_only_one();
        if CHANGES && wanted != self.writability {
            let interest = if wanted { TO_READ_AND_WRITE } else { TO_READ };
            self.interests.registry.reregister(socket, self.token, interest)?;
            self.writability = wanted;
        }
        Ok(())
    }
}
