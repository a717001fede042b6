//! The client's end of a socket: blocking, with deadlines.

use super::address::{addresses, name_of, system_address};
use super::client_stream::ClientSocket;
use super::explain::{explained, without};
use super::identity::{peer_of, trusts};
use super::place::REFUSED_IS_STALE;
use super::stream::{largest_message, silence};
use crate::access::Trust;
use crate::backends::Connected;
use crate::endpoint::{Endpoint, SocketAddress};
use crate::error::Error;
use crate::framing::Carrier;
use crate::limits::Limits;
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketType};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// How long a server may need to make room in a full backlog, where a refusal can mean that: all
/// clients that wait are taken in with one turn of its loop. No longer, since it can also mean that
/// there is no server, of which a caller wants to know at once.
const CROWD: Duration = Duration::from_millis(250);

/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// Connects to the server at `endpoint`; returns the name in words too.
pub(crate) fn connect(
    endpoint: &Endpoint,
    limits: &Limits,
    carrier: Carrier,
    trust: &Trust,
) -> Result<Connected, Error> {
    let mut nobody = None;
    for address in addresses(endpoint) {
        match address.and_then(|address| connect_at(&address, limits, carrier, trust)) {
            // Another place may have one.
            Err(error @ (Error::NoServer { .. } | Error::Name(_))) => {
                nobody = Some(without(nobody, error));
            }
            outcome => return outcome,
        }
    }
    Err(nobody.unwrap_or_else(|| {
        Error::no_server(&endpoint.to_string().into(), ErrorKind::NotFound.into())
    }))
}

fn connect_at(
    address: &SocketAddress,
    limits: &Limits,
    carrier: Carrier,
    trust: &Trust,
) -> Result<Connected, Error> {
    let name = name_of(address);
    let socket = connect_socket(address, limits.connect, carrier)
        .map_err(|source| explained(address, &name, limits, source))?;
    let (socket, peer) =
        peer_of(socket).map_err(|source| Error::system(&name, "asking who serves", source))?;
    if !trusts(trust, &peer, socket.as_fd()) {
        let remedy = match peer.uid {
            Some(_) => {
                "if it is the right one, name its user to ClientOptions::trust (Trust::Only)"
            }
            None => "that user has no number here, so only Trust::Anyone would do",
        };
        let problem = format!("it is served by {peer}, whom this client does not trust: {remedy}");
        return Err(Error::Insecure { endpoint: name, problem });
    }
    let failed = |source| Error::system(&name, "setting up the socket", source);
    let most = largest_message(&socket, carrier).map_err(failed)?;
    let stream = ClientSocket::new(socket, peer, carrier, most);
    Ok((Box::new(stream), name))
}

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
