//! The listening socket.

use super::address::{addresses, first_address, name_of, system_address};
use super::directory;
use super::identity::{is_one_of, peer_of};
use super::interest::{self, Interests, Registration};
use super::place::{Claim, Served};
use super::socket::{new_socket, probe};
use super::stream::{SocketStream, suppress_sigpipe};
use crate::ServerOptions;
use crate::access::Access;
use crate::backends::event_loop::{Accepted, Acceptor, Next, Poller};
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

/// How many clients may wait to be accepted. The system may have a lower limit.
const BACKLOG: i32 = 4096;

/// A listening socket and its place.
pub(crate) struct Listener {
    served: Served<mio::net::UnixListener>,
    token: Token,
    /// For the clients' sockets.
    interests: Arc<Interests>,
    access: Access,
    carrier: Carrier,
    /// An accepted client that could not be registered: it is the next one.
    unregistered: Option<(OwnedFd, Peer)>,
}

impl Listener {
    /// Listens at `endpoint`, registered with `poller`. Also returns the address as text.
    pub fn bind(
        endpoint: &Endpoint,
        options: &ServerOptions,
        carrier: Carrier,
        poller: &mut Poller,
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
        let served = Served::new(mio::net::UnixListener::from_std(socket), place);
        let setup = Setup { served, access: options.access.clone(), carrier };
        let listener = setup.register(poller).map_err(failed)?;
        Ok((listener, name))
    }

    /// Accepts the next waiting client and checks its access.
    fn next_client(&self) -> io::Result<Result<(OwnedFd, Peer), Next<SocketStream>>> {
        let socket = match self.served.socket.accept() {
            Ok((socket, _)) => OwnedFd::from(socket),
            Err(error) => return accept_error(error).map(Err),
        };
        let Some((socket, peer)) = identified(socket) else {
            return Ok(Err(Next::Skipped));
        };
        if is_one_of(&self.access, &peer, socket.as_fd()) {
            return Ok(Ok((socket, peer)));
        }
        let socket = mio::net::UnixStream::from_std(socket.into());
        let stream = SocketStream::new(socket, self.carrier, None)?;
        Ok(Err(Next::NoAccess(stream, peer)))
    }
}

/// A listening socket that is not registered yet. If that fails, its place is released.
pub(super) struct Setup {
    pub served: Served<mio::net::UnixListener>,
    pub access: Access,
    pub carrier: Carrier,
}

impl Setup {
    pub fn register(self, poller: &mut Poller) -> io::Result<Listener> {
        let Setup { mut served, access, carrier } = self;
        let token = poller.next_token();
        let registry = poller.registry();
        registry.register(&mut served.socket, token, Interest::READABLE)?;
        let interests = Arc::new(Interests::new(registry.try_clone()?));
        Ok(Listener { served, token, interests, access, carrier, unregistered: None })
    }
}

/// A client's socket and its identity. `None`: the system gives no credentials; such a client is refused with
/// any `Access`.
pub(super) fn identified(socket: OwnedFd) -> Option<(OwnedFd, Peer)> {
    let (socket, peer) = peer_of(socket).ok()?;
    // This fails only if the client has closed already; its bytes are still read.
    let _ = suppress_sigpipe(&socket);
    Some((socket, peer))
}

/// What an error of accept(2) means.
pub(super) fn accept_error(error: io::Error) -> io::Result<Next<SocketStream>> {
    match error.kind() {
        ErrorKind::WouldBlock => Ok(Next::NoneWaiting),
        // The client has closed already, or a signal interrupted the call.
        ErrorKind::ConnectionAborted | ErrorKind::Interrupted => Ok(Next::Skipped),
        _ => Err(error),
    }
}

/// Fails if the plain name is served in another directory than `bound`, the first one now. A server that
/// started before the session existed uses another directory.
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

/// The mode of the socket's file. Users who may write to it may connect (`unix(7)`). The server checks each
/// client against the access list when it connects, unless the application chose the mode.
fn mode_for(access: &Access, address: &SocketAddress, name: &Arc<str>) -> Result<Mode, Error> {
    match access {
        Access::Owner => Ok(Mode::RUSR | Mode::WUSR),
        Access::Only(_) | Access::Everyone => Ok(Mode::from_raw_mode(0o666)),
        // An abstract name has no mode, so nothing would exclude the users that the mode excludes.
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

/// A listening socket that is never open to others: the mode is set before the file exists, so that no other
/// user can open it at any time.
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
        // Only Linux applies this mode to the file. On other systems the directory excludes other users
        // until the mode is set after bind.
        match rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR) {
            Ok(()) | Err(Errno::INVAL | Errno::OPNOTSUPP) => {}
            Err(error) => return Err(error.into()),
        }
    }
    rustix::net::bind(&socket, &system_address(address)?)?;
    at(Step::Bound);
    if let SocketAddress::File { path, .. } = address {
        // The umask may have removed bits.
        rustix::fs::chmod(path, mode)?;
    }
    // Last: nobody can connect to a socket before it listens, whatever its mode was meanwhile.
    at(Step::Opened);
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// The steps of creating a listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The file exists.
    Bound,
    /// The file has its final mode.
    Opened,
}

impl Acceptor for Listener {
    type Stream = SocketStream;

    fn ready(&mut self, token: Token) -> bool {
        self.token == token
    }

    fn accept(&mut self, poller: &mut Poller, _limit: usize) -> io::Result<Next<Self::Stream>> {
        let (socket, peer) = match self.unregistered.take() {
            Some(held) => held,
            None => match self.next_client()? {
                Ok(client) => client,
                Err(none) => return Ok(none),
            },
        };
        let mut socket = mio::net::UnixStream::from_std(socket.into());
        let token = poller.next_token();
        if let Err(error) = poller.registry().register(&mut socket, token, interest::INITIAL) {
            // The system's table is full (`epoll_ctl(2)`, ENOSPC, ENOMEM). That is not the client's fault: it
            // is registered when the loop accepts again.
            self.unregistered = Some((socket.into(), peer));
            return Err(error);
        }
        let registration = Registration::new(self.interests.clone(), token);
        let stream = SocketStream::new(socket, self.carrier, Some(registration))?;
        // An event reports what has arrived before: epoll and kqueue report the state at registration.
        Ok(Next::Client(Accepted { token, stream, peer, readable: false }))
    }

    fn close(mut self, registry: &Registry) {
        // Not in a forked child: it shares the epoll with its parent, and would remove the parent's socket.
        if self.served.is_ours() {
            // This fails only if the socket is not registered.
            let _ = registry.deregister(&mut self.served.socket);
        }
    }
}
