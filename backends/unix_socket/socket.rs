//! Sockets: creating one, connecting it, and probing whether a server listens.

use super::address::system_address;
use super::stream::suppress_sigpipe;
use crate::endpoint::SocketAddress;
use crate::framing::Carrier;
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketType};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// Whether a refused connect proves that nobody listens. On the BSDs and on macOS a full backlog
/// refuses too (`connect(2)`, ECONNREFUSED there).
pub(super) const REFUSED_IS_STALE: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// How long a client retries after a refusal that can mean a full backlog: a server accepts all waiting
/// clients in one turn of its loop. Not longer, since a refusal can also mean that no server runs, which
/// callers want to know at once.
pub(super) const BACKLOG_RETRY: Duration = Duration::from_millis(250);

/// The pause between two tries.
const RETRY_PAUSE: Duration = Duration::from_millis(5);

/// EPROTOTYPE: a socket of the other type listens there.
pub(super) fn is_other_type(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::PROTOTYPE)
}

/// The type of socket for a carrier. The records of SOCK_SEQPACKET are messages that the
/// system keeps apart. Only Linux returns the length of a record before it is read (`recv(2)`, MSG_TRUNC).
fn socket_type(carrier: Carrier) -> io::Result<SocketType> {
    match carrier {
        Carrier::Stream => Ok(SocketType::STREAM),
        _ if cfg!(any(target_os = "linux", target_os = "android")) => Ok(SocketType::SEQPACKET),
        _ => Err(io::Error::new(
            ErrorKind::Unsupported,
            "this system's sockets do not carry whole messages: choose a framing with lengths",
        )),
    }
}

/// A new socket that child processes do not inherit.
pub(super) fn new_socket(carrier: Carrier) -> io::Result<OwnedFd> {
    let kind = socket_type(carrier)?;
    #[cfg(not(target_vendor = "apple"))]
    let flags = rustix::net::SocketFlags::CLOEXEC;
    #[cfg(target_vendor = "apple")]
    let flags = rustix::net::SocketFlags::empty();
    let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)?;
    #[cfg(target_vendor = "apple")]
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    suppress_sigpipe(&socket)?;
    Ok(socket)
}

/// Connects, waiting up to `timeout` for room in the backlog. On Linux connect(2) of a blocking socket
/// waits up to the send time-out, and then fails with EAGAIN. (A non-blocking socket would fail
/// with EAGAIN at once, and would not be connecting.) Other systems refuse at once, as they do if nobody
/// listens; there connecting is retried for [`BACKLOG_RETRY`].
pub(super) fn connect_socket(
    address: &SocketAddress,
    timeout: Duration,
    carrier: Carrier,
) -> io::Result<OwnedFd> {
    let mut socket = new_socket(carrier)?;
    let address = system_address(address)?;
    let started = Instant::now();
    loop {
        let left = timeout.saturating_sub(started.elapsed());
        // Zero would mean no time-out. It stays set: no other call of a client depends on it.
        set_socket_timeout(&socket, Timeout::Send, Some(left.max(Duration::from_micros(1))))?;
        match rustix::net::connect(&socket, &address) {
            Ok(()) => return Ok(socket),
            Err(Errno::INTR) => {}
            Err(Errno::CONNREFUSED)
                if !REFUSED_IS_STALE && started.elapsed() < timeout.min(BACKLOG_RETRY) =>
            {
                thread::sleep(RETRY_PAUSE);
                socket = new_socket(carrier)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Checks whether a server listens at `path`; an error says why not.
pub(super) fn probe(path: &Path) -> io::Result<()> {
    let address = SocketAddress::File { path: path.to_owned(), private: None };
    match connect_socket(&address, Duration::ZERO, Carrier::Stream) {
        // A server listens, with another type of socket, or with a full backlog.
        Err(error) if is_other_type(&error) || error.kind() == ErrorKind::WouldBlock => Ok(()),
        connected => connected.map(drop),
    }
}
