//! The client's end of a socket: blocking, with deadlines.

use super::identity::{peer_of, trusts};
use super::listener::{name_of, resolve, system_address};
use super::stream::{largest_message, receive, receive_message, send, waiting_message};
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
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How much longer than asked a read may wait, to save a system call for each call with a deadline.
const SLACK: Duration = Duration::from_millis(5);

/// Connects to the server at `endpoint`; returns the name in words too.
pub(crate) fn connect(
    endpoint: &Endpoint,
    limits: &Limits,
    carrier: Carrier,
    trust: &Trust,
) -> Result<Connected, Error> {
    let address = resolve(endpoint)?;
    let name = name_of(&address);
    let socket = connect_socket(&address, limits.connect, carrier).map_err(|source| {
        match source.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
                Error::NoServer { endpoint: name.clone(), source }
            }
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Error::busy(&name, limits.connect),
            // EPROTOTYPE: a socket of the other type listens there.
            _ if is_other_type(&source) => {
                let action = "connecting in this framing (the server's carries the other of whole \
                              messages and bytes: choose the server's framing)";
                Error::system(&name, action, source)
            }
            _ => Error::system(&name, "connecting", source),
        }
    })?;
    let (socket, peer) =
        peer_of(socket).map_err(|source| Error::system(&name, "asking who serves", source))?;
    if !trusts(trust, &peer, socket.as_fd()) {
        let problem = format!("it is served by {peer}, whom this client does not trust");
        return Err(Error::Insecure { endpoint: name, problem });
    }
    let is_whole = carrier != Carrier::Stream;
    let most = largest_message(&socket, carrier)
        .map_err(|source| Error::system(&name, "setting up the socket", source))?;
    let stream = ClientSocket { socket, peer, is_whole, most, receive_timeout: AtomicU64::new(0) };
    Ok((Box::new(stream), name))
}

fn is_other_type(error: &io::Error) -> bool {
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
    Ok(socket)
}

/// Connects, waiting for room in the backlog for so long: on Linux connect(2) of a blocking socket
/// does, up to the time-out for sending, and then fails with EAGAIN. (A non-blocking one would fail
/// with EAGAIN at once, and would not be connecting.)
fn connect_socket(
    address: &SocketAddress,
    timeout: Duration,
    carrier: Carrier,
) -> io::Result<OwnedFd> {
    let socket = new_socket(carrier)?;
    let address = system_address(address)?;
    let until = Instant::now().checked_add(timeout);
    loop {
        let left = until.map_or(timeout, |until| until.saturating_duration_since(Instant::now()));
        // Zero would mean for ever.
        set_socket_timeout(&socket, Timeout::Send, Some(left.max(Duration::from_micros(1))))?;
        match rustix::net::connect(&socket, &address) {
            Ok(()) => break,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    set_socket_timeout(&socket, Timeout::Send, None)?;
    Ok(socket)
}

/// Whether somebody listens at `path`: an error says who not.
pub(super) fn probe(path: &Path) -> io::Result<()> {
    let address = SocketAddress::File { path: path.to_owned(), private: None };
    match connect_socket(&address, Duration::ZERO, Carrier::Stream) {
        // Somebody does, with another type of socket.
        Err(error) if is_other_type(&error) => Ok(()),
        connected => connected.map(drop),
    }
}

/// A connected socket in blocking mode.
struct ClientSocket {
    socket: OwnedFd,
    peer: Peer,
    /// Each record is a message.
    is_whole: bool,
    /// The most bytes of one message.
    most: usize,
    /// The socket's time-out for receiving in microseconds as it is set now; 0 is none.
    receive_timeout: AtomicU64,
}

impl ClientSocket {
    /// Sets the time-out for receiving, unless the one that is set does.
    fn set_receive_timeout(&self, timeout: Option<Duration>, exact: bool) -> io::Result<()> {
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let wanted = timeout.map_or(0, |timeout| micros(timeout).max(1));
        let set = self.receive_timeout.load(Ordering::Relaxed);
        let will_do = if wanted == 0 || set == 0 {
            set == wanted
        } else {
            // One that ends too early is only followed by another read.
            !exact && set <= wanted + micros(SLACK)
        };
        if !will_do {
            let timeout = (wanted != 0).then(|| Duration::from_micros(wanted));
            set_socket_timeout(&self.socket, Timeout::Recv, timeout)?;
            self.receive_timeout.store(wanted, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Receives as soon as something is there, until `deadline` at the latest.
    fn when_there(
        &self,
        deadline: Option<Instant>,
        mut receive: impl FnMut(RecvFlags) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut exact = false;
        loop {
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            let flags = match left {
                Some(Duration::ZERO) => RecvFlags::DONTWAIT,
                _ => RecvFlags::empty(),
            };
            if flags.is_empty() {
                self.set_receive_timeout(left, exact)?;
            }
            match receive(flags) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if !flags.is_empty() {
                        return Err(ErrorKind::TimedOut.into());
                    }
                    exact = true;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }
}

impl ClientStream for ClientSocket {
    fn read(&self, buffer: &mut BytesMut, deadline: Option<Instant>) -> io::Result<usize> {
        self.when_there(deadline, |flags| receive(&self.socket, buffer, flags))
    }

    fn read_message(
        &self,
        buffer: &mut BytesMut,
        limit: usize,
        deadline: Option<Instant>,
    ) -> io::Result<ReadMessage> {
        let size = self.when_there(deadline, |flags| waiting_message(&self.socket, flags))?;
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
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        match rustix::event::poll(&mut [PollFd::new(&self.socket, interest)], timeout.as_ref()) {
            Ok(0) => Err(ErrorKind::TimedOut.into()),
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn shutdown(&self) {
        // It fails only if the peer has closed before.
        let _: Result<(), Errno> = rustix::net::shutdown(&self.socket, Shutdown::Both);
    }

    fn peer(&self) -> &Peer {
        &self.peer
    }
}
