//! Sockets: making one, connecting it, and asking whether somebody listens.

use super::address::system_address;
use super::stream::silence;
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

/// Whether a refused connect shows that nobody listens. On the BSDs and on macOS a full backlog
/// refuses too (`connect(2)`, ECONNREFUSED there).
pub(super) const REFUSED_IS_STALE: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// How long a server may need to make room in a full backlog, where a refusal can mean that: all
/// clients that wait are taken in with one turn of its loop. No longer, since it can also mean that
/// there is no server, of which a caller wants to know at once.
const CROWD: Duration = Duration::from_millis(250);

/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// EPROTOTYPE: a socket of the other type listens there.
pub(super) fn is_other_type(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::PROTOTYPE)
}

/// The type of socket that carries a framing. The records of SOCK_SEQPACKET are messages that the
/// system keeps apart, and only Linux says how long one is before it is read (`recv(2)`, MSG_TRUNC).
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

/// A new socket that is not handed down to child processes.
pub(super) fn new_socket(carrier: Carrier) -> io::Result<OwnedFd> {
    let kind = socket_type(carrier)?;
    #[cfg(not(target_vendor = "apple"))]
    let flags = rustix::net::SocketFlags::CLOEXEC;
    #[cfg(target_vendor = "apple")]
    let flags = rustix::net::SocketFlags::empty();
    let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)?;
    #[cfg(target_vendor = "apple")]
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    silence(&socket)?;
    Ok(socket)
}

/// Connects, waiting for room in the backlog for so long: on Linux connect(2) of a blocking socket
/// does, up to the time-out for sending, and then fails with EAGAIN. (A non-blocking one would fail
/// with EAGAIN at once, and would not be connecting.) Others refuse at once, as they do where nobody
/// listens, and are asked again for a moment.
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
        // Zero would mean for ever. It stays set: nothing else that a client does waits by it.
        set_socket_timeout(&socket, Timeout::Send, Some(left.max(Duration::from_micros(1))))?;
        match rustix::net::connect(&socket, &address) {
            Ok(()) => return Ok(socket),
            Err(Errno::INTR) => {}
            Err(Errno::CONNREFUSED)
                if !REFUSED_IS_STALE && started.elapsed() < timeout.min(CROWD) =>
            {
                thread::sleep(LOOK);
                socket = new_socket(carrier)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether somebody listens at `path`: an error says who not.
pub(super) fn probe(path: &Path) -> io::Result<()> {
    let address = SocketAddress::File { path: path.to_owned(), private: None };
    match connect_socket(&address, Duration::ZERO, Carrier::Stream) {
        // Somebody does, with another type of socket, or without room for one more client.
        Err(error) if is_other_type(&error) || error.kind() == ErrorKind::WouldBlock => Ok(()),
        connected => connected.map(drop),
    }
}
