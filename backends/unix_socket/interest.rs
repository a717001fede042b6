//! The interest of a client's socket: the readiness that the poll reports of it.
//!
//! On Linux an edge-triggered socket reports writability each time its peer has read something: one event
//! for each reply, with nothing to do. So the interest in writability is set only while something waits to be
//! sent (`epoll_ctl(2)`, EPOLL_CTL_MOD: a socket that has become writable meanwhile is reported at once).
//!
//! There is one exception: a server with requests from one client only. Its CPU sleeps between two requests,
//! and takes longer to wake than a call takes. The event for the last reply wakes it before the next request
//! arrives (`ARCHITECTURE.md`, Decisions, has the figures).
//!
//! On other systems the interest in writability is always set: kqueue reports by the same filter that a peer
//! has closed.

use mio::net::UnixStream;
use mio::{Interest, Registry, Token};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};

/// Whether the interest in writability is set only when it is needed.
const ON_DEMAND: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// After this many consecutive reads from one client it counts as the only one. The number is large enough that
/// the interest, whose change is a system call, is rarely changed while several clients send requests.
pub(super) const SOLE_CLIENT_READS: u32 = 64;

/// A read ends at urgent data, although more bytes may follow: so urgent data is reported too. Only Linux has
/// it on these sockets.
#[cfg(any(target_os = "linux", target_os = "android"))]
const READ: Interest = Interest::READABLE.add(Interest::PRIORITY);
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const READ: Interest = Interest::READABLE;

const READ_WRITE: Interest = READ.add(Interest::WRITABLE);

/// The interest with which a client's socket is registered.
pub(super) const INITIAL: Interest = if ON_DEMAND { READ } else { READ_WRITE };

/// What the registrations of a server share.
pub(super) struct Interests {
    registry: Registry,
    /// The socket that was read last.
    last_read: AtomicUsize,
    /// How many consecutive reads were from that socket.
    consecutive_reads: AtomicU32,
}

impl Interests {
    pub fn new(registry: Registry) -> Interests {
        Interests { registry, last_read: AtomicUsize::new(0), consecutive_reads: AtomicU32::new(0) }
    }
}

/// A socket's registration with the poll.
pub(super) struct Registration {
    interests: Arc<Interests>,
    token: Token,
    /// The interest in writability is set.
    writability: bool,
}

impl Registration {
    /// Of a socket that was registered with [`INITIAL`].
    pub fn new(interests: Arc<Interests>, token: Token) -> Registration {
        Registration { interests, token, writability: !ON_DEMAND }
    }

    /// Counts a read from the socket.
    pub fn read(&self) {
        let Interests { last_read, consecutive_reads, .. } = &*self.interests;
        if last_read.load(Relaxed) == self.token.0 {
            consecutive_reads.store(consecutive_reads.load(Relaxed).saturating_add(1), Relaxed);
        } else {
            last_read.store(self.token.0, Relaxed);
            consecutive_reads.store(1, Relaxed);
        }
    }

    /// Whether all recent reads were from this socket.
    fn is_sole_client(&self) -> bool {
        let Interests { last_read, consecutive_reads, .. } = &*self.interests;
        last_read.load(Relaxed) == self.token.0
            && consecutive_reads.load(Relaxed) >= SOLE_CLIENT_READS
    }

    /// Sets the interest. `blocked`: something waits to be sent.
    pub fn set_blocked(&mut self, socket: &mut UnixStream, blocked: bool) -> io::Result<()> {
        let wanted = blocked || self.is_sole_client();
        if ON_DEMAND && wanted != self.writability {
            let interest = if wanted { READ_WRITE } else { READ };
            self.interests.registry.reregister(socket, self.token, interest)?;
            self.writability = wanted;
        }
        Ok(())
    }
}
