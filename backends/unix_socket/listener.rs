//! The listening socket.

use super::address::{addresses, first_address, name_of, system_address};
use super::directory;
use super::identity::{admits, peer_of};
use super::interest::{self, Interests, Registration};
use super::place::{Claim, Served};
use super::socket::{new_socket, probe};
use super::stream::{SocketStream, silence};
use crate::ServerOptions;
use crate::access::Access;
use crate::backends::event_loop::{Accepted, Acceptor, Next, Tokens, Wake};
use crate::endpoint::{Endpoint, SocketAddress};
use crate::error::Error;
use crate::framing::Carrier;
use crate::peer::Peer;
use mio::{Interest, Registry, Token};
use rustix::fs::{Mode, RawMode};
use rustix::io::Errno;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

/// How many clients may wait to be taken in. The system takes less if it has a lower limit.
const BACKLOG: i32 = 4096;

/// A listening socket and its place.
pub(crate) struct Listener {
    served: Served<mio::net::UnixListener>,
    token: Option<Token>,
    /// For the clients' sockets, once the listener is open.
    interests: Option<Arc<Interests>>,
    access: Access,
    carrier: Carrier,
    /// One that was taken in and could not be registered: it is next.
    held: Option<(OwnedFd, Peer)>,
}

impl Listener {
    /// Listens at `endpoint`; returns the name in words too.
    pub fn bind(
        endpoint: &Endpoint,
        options: &ServerOptions,
        carrier: Carrier,
    ) -> Result<(Listener, Arc<str>), Error> {
        let address = first_address(endpoint)?;
        let name = name_of(&address);
        let mode = mode_for(&options.access, &address, &name)?;
        let claim = match &address {
            SocketAddress::File { path, private } => {
                match private {
                    Some(private) => directory::make_private(private, &name)?,
                    None => directory::check(path, &options.risks, &name)?,
                }
                let claim = Claim::new(path, &name)?;
                is_served_elsewhere(endpoint, path)?;
                Some(claim)
            }
            SocketAddress::Abstract(_) => None,
        };
        let socket =
            listen(&address, mode, carrier, |_| {}).map_err(|source| match source.kind() {
                ErrorKind::AddrInUse => Error::AlreadyServed { endpoint: name.clone() },
                _ => Error::system(&name, "listening", source),
            })?;
        let failed = |source| Error::system(&name, "setting up the socket", source);
        let place = claim.map(Claim::bound).transpose().map_err(failed)?;
        let socket = UnixListener::from(socket);
        socket.set_nonblocking(true).map_err(failed)?;
        let listener = Listener {
            served: Served::new(mio::net::UnixListener::from_std(socket), place),
            token: None,
            interests: None,
            access: options.access.clone(),
            carrier,
            held: None,
        };
        Ok((listener, name))
    }

    /// The next client that waits and may come in.
    fn next_client(&self) -> io::Result<Result<(OwnedFd, Peer), Next<SocketStream>>> {
        let socket = match self.served.socket.accept() {
            Ok((socket, _)) => OwnedFd::from(socket),
            Err(error) => return without_client(error).map(Err),
        };
        let Some((socket, peer)) = known(socket) else {
            return Ok(Err(Next::TurnedAway));
        };
        if admits(&self.access, &peer, socket.as_fd()) {
            return Ok(Ok((socket, peer)));
        }
        let socket = mio::net::UnixStream::from_std(socket.into());
        let stream = SocketStream::new(socket, self.carrier, None)?;
        Ok(Err(Next::NotAdmitted(stream, peer)))
    }
}

/// A client's socket and who it is. Who cannot be told may not come in, whoever may.
pub(super) fn known(socket: OwnedFd) -> Option<(OwnedFd, Peer)> {
    let (socket, peer) = peer_of(socket).ok()?;
    // It fails only for one that has closed already, and what that one wrote is still to be read.
    let _ = silence(&socket);
    Some((socket, peer))
}

/// What a failure to take somebody in means.
pub(super) fn without_client(error: io::Error) -> io::Result<Next<SocketStream>> {
    match error.kind() {
        ErrorKind::WouldBlock => Ok(Next::Nobody),
        // The client was gone before its turn; or nothing has happened yet.
        ErrorKind::ConnectionAborted | ErrorKind::Interrupted => Ok(Next::TurnedAway),
        _ => Err(error),
    }
}

/// A plain name may lie in several places, of which `bound` is this user's first now. A server that
/// found another one first, as there was no session yet, is one of the same name.
fn is_served_elsewhere(endpoint: &Endpoint, bound: &Path) -> Result<(), Error> {
    let mut others = addresses(endpoint).flatten().filter(|address| match address {
        SocketAddress::File { path, .. } => path != bound && probe(path).is_ok(),
        SocketAddress::Abstract(_) => false,
    });
    if let Some(other) = others.next() {
        return Err(Error::AlreadyServed { endpoint: name_of(&other) });
    }
    Ok(())
}

/// The mode of the socket's file. Whoever may write to it may connect (`unix(7)`); who then is
/// served is decided when it does, but for a mode that the caller chose.
fn mode_for(access: &Access, address: &SocketAddress, name: &Arc<str>) -> Result<Mode, Error> {
    match access {
        Access::Owner => Ok(Mode::RUSR | Mode::WUSR),
        Access::Only(_) | Access::Everyone => Ok(Mode::from_raw_mode(0o666)),
        // An abstract name has no mode, and nobody else would keep out whom the caller does not want.
        Access::Custom { mode: Some(mode), .. }
            if mode & 0o666 != 0o666 && matches!(address, SocketAddress::Abstract(_)) =>
        {
            let problem = format!(
                "an abstract name has no file whose mode could be {mode:o}: bind an \
                 Endpoint::path, or take Access::Only or Everyone"
            );
            Err(Error::Insecure { endpoint: name.clone(), problem })
        }
        // The type of a mode differs between systems.
        #[allow(clippy::unnecessary_cast)]
        Access::Custom { mode: Some(mode), .. } => {
            Ok(Mode::from_raw_mode((mode & 0o777) as RawMode))
        }
        Access::Custom { mode: None, .. } => {
            let problem = "no mode is given for this system: set it in Access::Custom".to_owned();
            Err(Error::Insecure { endpoint: name.clone(), problem })
        }
    }
}

/// A socket that listens, closed to others from its first moment: the mode is set before there is a
/// file, so that there is no time in which it could be opened by whom it should not.
///
/// `at` is called at each step, for tests.
pub(super) fn listen(
    address: &SocketAddress,
    mode: Mode,
    carrier: Carrier,
    mut at: impl FnMut(Step),
) -> io::Result<OwnedFd> {
    let socket = new_socket(carrier)?;
    if matches!(address, SocketAddress::File { .. }) {
        // Only Linux takes over the mode; on the others the directory keeps people out until the
        // mode is set again behind bind.
        match rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR) {
            Ok(()) | Err(Errno::INVAL | Errno::OPNOTSUPP) => {}
            Err(error) => return Err(error.into()),
        }
    }
    rustix::net::bind(&socket, &system_address(address)?)?;
    at(Step::Bound);
    if let SocketAddress::File { path, .. } = address {
        // Whatever the umask took away.
        rustix::fs::chmod(path, mode)?;
    }
    // Last: nobody can connect to a socket that does not listen, whatever its mode was meanwhile.
    at(Step::Opened);
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// How far a socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It has a file.
    Bound,
    /// The file has its mode.
    Opened,
}

impl Acceptor for Listener {
    type Stream = SocketStream;

    fn open(
        &mut self,
        registry: &Registry,
        tokens: &mut Tokens,
        _wake: &Arc<Wake>,
    ) -> io::Result<()> {
        let token = tokens.next();
        registry.register(&mut self.served.socket, token, Interest::READABLE)?;
        self.token = Some(token);
        self.interests = Some(Arc::new(Interests::new(registry.try_clone()?)));
        Ok(())
    }

    fn ready(&mut self, token: Token) -> bool {
        self.token == Some(token)
    }

    fn accept(
        &mut self,
        registry: &Registry,
        tokens: &mut Tokens,
        _room: usize,
    ) -> io::Result<Next<Self::Stream>> {
        let (socket, peer) = match self.held.take() {
            Some(held) => held,
            None => match self.next_client()? {
                Ok(client) => client,
                Err(none) => return Ok(none),
            },
        };
        let mut socket = mio::net::UnixStream::from_std(socket.into());
        let token = tokens.next();
        if let Err(error) = registry.register(&mut socket, token, interest::AT_FIRST) {
            // There is no room for more in the system's table (`epoll_ctl(2)`, ENOSPC, ENOMEM). The
            // client has done nothing wrong, and is tried again with the next turn.
            self.held = Some((socket.into(), peer));
            return Err(error);
        }
        let registration =
            self.interests.clone().map(|interests| Registration::new(interests, token));
        let stream = SocketStream::new(socket, self.carrier, registration)?;
        // What has arrived already is told by an event: that is how epoll and kqueue begin.
        Ok(Next::Client(Accepted { token, stream, peer, readable: false }))
    }

    fn close(mut self, registry: &Registry) {
        // Not by a forked child: it has the same epoll, and would take the socket out of its parent's.
        if self.served.is_ours() {
            // It fails only for what is not registered.
            let _ = registry.deregister(&mut self.served.socket);
        }
    }
}
