//! Connections without a name, between a parent and its child: a pair of sockets, of which the child has one as its
//! standard input.

use super::client_stream::ClientSocket;
use super::ending::EndsOnDrop;
use super::identity::peer_of;
use super::interest::{self, Interests, Registration};
use super::standard::{duplicate_input, empty_input};
use super::stream::{SocketStream, suppress_sigpipe};
use crate::backends::event_loop::{Accepted, Poller};
use crate::client_stream::ClientStream;
use crate::error::Error;
use crate::framing::Carrier;
use crate::peer::Peer;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::FileType;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// The exit status of a child that did not end by itself after its parent.
const LEFT: libc::c_int = 1;

/// Starts a child with one end, and returns the other.
pub(crate) fn spawn(command: &mut Command) -> io::Result<(Box<dyn ClientStream>, Child)> {
    let (ours, theirs) = socket_pair()?;
    let child = command.stdin(Stdio::from(theirs)).spawn();
    // The command would keep the child's end open, and the child's end would not be noticed.
    command.stdin(Stdio::null());
    let stream = ClientSocket::new(ours, Peer::default(), Carrier::Stream, usize::MAX);
    Ok((Box::new(stream), child?))
}

/// Two connected sockets that child processes do not inherit. (The child gets a duplicate of its one.)
fn socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    #[cfg(not(target_vendor = "apple"))]
    let flags = SocketFlags::CLOEXEC;
    #[cfg(target_vendor = "apple")]
    let flags = SocketFlags::empty();
    let pair = rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    for socket in [&pair.0, &pair.1] {
        #[cfg(target_vendor = "apple")]
        rustix::io::fcntl_setfd(socket, rustix::io::FdFlags::CLOEXEC)?;
        suppress_sigpipe(socket)?;
    }
    Ok(pair)
}

/// Takes the end that the parent has given to this process. With `exit_after` this process ends that long after the
/// connection. After an error everything is as before.
pub(crate) fn inherit(
    poller: &mut Poller,
    exit_after: Option<Duration>,
    endpoint: &Arc<str>,
) -> Result<(Accepted<SocketStream>, Arc<str>), Error> {
    check_input().map_err(|problem| Error::Misuse { endpoint: endpoint.clone(), problem })?;
    take(poller, exit_after)
        .map_err(|source| Error::system(endpoint, "taking the connection to the parent", source))
}

fn take(
    poller: &mut Poller,
    exit_after: Option<Duration>,
) -> io::Result<(Accepted<SocketStream>, Arc<str>)> {
    let (socket, peer) = peer_of(duplicate_input()?)?;
    suppress_sigpipe(&socket)?;
    let watched = exit_after.map(|_| socket.try_clone()).transpose()?;
    let ends = watched.as_ref().map(OwnedFd::try_clone).transpose()?;
    let socket = std::os::unix::net::UnixStream::from(socket);
    socket.set_nonblocking(true)?;
    let mut socket = mio::net::UnixStream::from_std(socket);
    let token = poller.next_token();
    poller.registry().register(&mut socket, token, interest::INITIAL)?;
    let interests = Arc::new(Interests::new(poller.registry().try_clone()?));
    let registration = Registration::new(interests, token);
    let stream = SocketStream::new(socket, Carrier::Stream, Some(registration))?;
    let stream = stream.ending(ends.map(EndsOnDrop::new));
    empty_input()?;
    if let Some((socket, grace)) = watched.zip(exit_after) {
        watch(socket, grace)?;
    }
    let name = format!("parent {peer}").into();
    Ok((Accepted { token, stream, peer, readable: true }, name))
}

/// Says what standard input is, if it is not a connection to a parent.
fn check_input() -> Result<(), String> {
    const ADVICE: &str = "start this program with Client::spawn";
    let input = io::stdin();
    if input.is_terminal() {
        return Err(format!("it is a terminal: {ADVICE}, and not by hand"));
    }
    let found = match rustix::fs::fstat(&input).map(|it| FileType::from_raw_mode(it.st_mode)) {
        Ok(FileType::Socket) => {
            let family = rustix::net::getpeername(&input).ok().flatten();
            let family = family.map(|address| address.address_family());
            let kind = sockopt::socket_type(&input).ok();
            match (family, kind) {
                (Some(AddressFamily::UNIX), Some(SocketType::STREAM)) => return Ok(()),
                (None, _) => "a socket that is not connected",
                _ => "a socket of another kind",
            }
        }
        Ok(FileType::Fifo) => {
            return Err(format!(
                "it is an ordinary pipe: {ADVICE}; for pipes there is Server::over_stdio"
            ));
        }
        Ok(FileType::RegularFile) => "a file",
        Ok(_) => "a device",
        Err(_) => "closed",
    };
    Err(format!("it is no connection to a parent, but {found}: {ADVICE}"))
}

/// Says why standard input and output do not carry a connection, if that is certain: nobody should see the protocol at a
/// terminal, and what a child of [`spawn`] has leads to its parent in one direction only.
pub(crate) fn check_standard_streams() -> Result<(), String> {
    let (input, output) = (io::stdin(), io::stdout());
    if input.is_terminal() || output.is_terminal() {
        return Err("one of them is a terminal".to_owned());
    }
    let kind = |stream: BorrowedFd<'_>| {
        rustix::fs::fstat(stream).map(|it| FileType::from_raw_mode(it.st_mode)).ok()
    };
    match (kind(input.as_fd()), kind(output.as_fd())) {
        (Some(FileType::CharacterDevice), _) => Err("standard input is a device".to_owned()),
        (_, Some(FileType::CharacterDevice)) => Err("standard output is a device".to_owned()),
        (Some(FileType::Socket), Some(FileType::Socket)) => Ok(()),
        (Some(FileType::Socket), _) => {
            Err("standard input is a socket, and output is none".to_owned())
        }
        _ => Ok(()),
    }
}

/// Ends this process some time after the connection, whatever its other threads do.
fn watch(socket: OwnedFd, grace: Duration) -> io::Result<()> {
    let watching = thread::Builder::new().name("msgpipe watch".into());
    watching.spawn(move || {
        let ended = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
        loop {
            let mut polled = [PollFd::new(&socket, PollFlags::empty())];
            if poll(&mut polled, None).is_ok() && polled[0].revents().intersects(ended) {
                break;
            }
        }
        thread::sleep(grace);
        // SAFETY: it takes a number and does not return. Nothing of the process is run any more: the threads that hang
        // may hold the locks of its exit handlers.
        unsafe { libc::_exit(LEFT) };
    })?;
    Ok(())
}
