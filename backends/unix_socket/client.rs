//! The client's end of a socket: blocking, with deadlines.

use super::address::{addresses, name_of, system_address};
use super::bell::Bell;
use super::explain::{explained, without};
use super::identity::{peer_of, trusts};
use super::place::REFUSED_IS_STALE;
use super::stream::{largest_message, receive, receive_message, send, silence, waiting_message};
use crate::access::Trust;
use crate::backends::Connected;
use crate::client_stream::{ClientStream, ReadMessage};
use crate::endpoint::{Endpoint, SocketAddress};
use crate::error::Error;
use crate::framing::Carrier;
use crate::limits::Limits;
use crate::message_server::Peer;
use bytes::BytesMut;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, Shutdown, SocketType};
use std::io::{self, ErrorKind, IoSlice};
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
    let stream = ClientSocket::new(socket, peer, carrier, most)
        .map_err(|source| Error::system(&name, "making a way to wake its reader", source))?;
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

/// A connected socket in blocking mode.
pub(super) struct ClientSocket {
    socket: OwnedFd,
    peer: Peer,
    /// Each record is a message.
    is_whole: bool,
    /// The most bytes of one message.
    most: usize,
    /// Wakes the threads that wait.
    bell: Bell,
}

impl ClientSocket {
    pub fn new(
        socket: OwnedFd,
        peer: Peer,
        carrier: Carrier,
        most: usize,
    ) -> io::Result<ClientSocket> {
        let is_whole = carrier != Carrier::Stream;
        Ok(ClientSocket { socket, peer, is_whole, most, bell: Bell::new()? })
    }

    /// Waits until something of `interest` is so, until `deadline` at the latest. May return early;
    /// `false`: it was woken instead.
    fn wait(&self, interest: PollFlags, deadline: Option<Instant>) -> io::Result<bool> {
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        let mut waited = [PollFd::new(&self.socket, interest), self.bell.poll_fd()];
        match rustix::event::poll(&mut waited, timeout.as_ref()) {
            Ok(0) => Err(ErrorKind::TimedOut.into()),
            Ok(_) => {
                let is_so = !waited[0].revents().is_empty();
                if !waited[1].revents().is_empty() {
                    self.bell.heard();
                }
                Ok(is_so)
            }
            Err(Errno::INTR) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// Receives as soon as something is there, until `deadline` at the latest. It is waited for with
    /// poll(2): a blocking recv(2) could not be woken, and setting its time-out fails on macOS once the
    /// peer has closed.
    fn when_there(
        &self,
        deadline: Option<Instant>,
        mut receive: impl FnMut() -> io::Result<usize>,
    ) -> io::Result<usize> {
        loop {
            let is_over = deadline.is_some_and(|at| at <= Instant::now());
            if !is_over && !self.wait(PollFlags::IN, deadline)? {
                return Err(ErrorKind::Interrupted.into());
            }
            match receive() {
                Err(error) if error.kind() == ErrorKind::WouldBlock && is_over => {
                    return Err(ErrorKind::TimedOut.into());
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }
}

impl ClientStream for ClientSocket {
    fn read(&self, buffer: &mut BytesMut, deadline: Option<Instant>) -> io::Result<usize> {
        self.when_there(deadline, || {
            receive(&self.socket, buffer, RecvFlags::DONTWAIT).map(|received| received.bytes)
        })
    }

    fn read_message(
        &self,
        buffer: &mut BytesMut,
        limit: usize,
        deadline: Option<Instant>,
    ) -> io::Result<ReadMessage> {
        let waiting = || waiting_message(&self.socket, RecvFlags::DONTWAIT);
        let size = self.when_there(deadline, waiting)?;
        receive_message(&self.socket, buffer, size, limit)
    }

    fn largest_message(&self) -> usize {
        self.most
    }

    fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        // A gathering write would make one record of several messages.
        let slices = if self.is_whole { &slices[..slices.len().min(1)] } else { slices };
        send(&self.socket, slices, SendFlags::DONTWAIT)
    }

    fn is_sent(&self) -> bool {
        true
    }

    fn wait_writable(&self, or_readable: bool, deadline: Option<Instant>) -> io::Result<()> {
        let mut interest = PollFlags::OUT;
        interest.set(PollFlags::IN, or_readable);
        self.wait(interest, deadline).map(drop)
    }

    fn wake(&self) {
        self.bell.ring();
    }

    fn shutdown(&self) {
        // It fails only if the peer has closed before.
        let _: Result<(), Errno> = rustix::net::shutdown(&self.socket, Shutdown::Both);
    }

    fn peer(&self) -> &Peer {
        &self.peer
    }
}
