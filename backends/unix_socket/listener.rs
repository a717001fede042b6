//! The listening socket.

use super::identity::{admits, effective_user, peer_of};
use super::lock::NameLock;
use super::place::{self, Place};
use super::stream::SocketStream;
use crate::access::Access;
use crate::backends::event_loop::{Accepted, Acceptor, Next, Tokens, Wake};
use crate::endpoint::{Endpoint, Runtime, SocketAddress};
use crate::error::Error;
use crate::framing::Carrier;
use crate::options::ServerOptions;
use mio::{Interest, Registry, Token};
use rustix::fs::{Mode, RawMode};
use rustix::io::Errno;
use rustix::net::SocketAddrUnix;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

/// How many clients may wait to be taken in. The system takes less if it has a lower limit.
const BACKLOG: i32 = 4096;

/// The bytes of a socket's path without its terminating zero: 108 with it on Linux (`unix(7)`),
/// 104 on the BSDs and on macOS (`sys/un.h`).
const PATH_MAX: usize =
    if cfg!(any(target_os = "linux", target_os = "android")) { 107 } else { 103 };

const HAS_ABSTRACT: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// A listening socket and its place.
pub(crate) struct Listener {
    socket: mio::net::UnixListener,
    token: Option<Token>,
    /// Dropped after the file was removed: only then may another server take the name.
    place: Option<Place>,
    access: Access,
    carrier: Carrier,
}

/// Where an endpoint's socket is on this system, for this user.
pub(super) fn resolve(endpoint: &Endpoint) -> Result<SocketAddress, Error> {
    let directory = std::env::var_os("XDG_RUNTIME_DIR");
    let directory = directory.as_deref().map(Path::new);
    let uid = effective_user();
    let runtime = Runtime { directory, uid, path_max: PATH_MAX, has_abstract: HAS_ABSTRACT };
    Ok(endpoint.socket_address(runtime)?)
}

/// The address in words.
pub(super) fn name_of(address: &SocketAddress) -> Arc<str> {
    match address {
        SocketAddress::File { path, .. } => path.display().to_string().into(),
        SocketAddress::Abstract(name) => format!("@{name}").into(),
    }
}

/// The address as the system takes it.
pub(super) fn system_address(address: &SocketAddress) -> io::Result<SocketAddrUnix> {
    match address {
        SocketAddress::File { path, .. } => Ok(SocketAddrUnix::new(path)?),
        #[cfg(any(target_os = "linux", target_os = "android"))]
        SocketAddress::Abstract(name) => Ok(SocketAddrUnix::new_abstract_name(name.as_bytes())?),
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        SocketAddress::Abstract(_) => Err(ErrorKind::Unsupported.into()),
    }
}

impl Listener {
    /// Listens at `endpoint`; returns the name in words too.
    pub fn bind(
        endpoint: &Endpoint,
        options: &ServerOptions,
        carrier: Carrier,
    ) -> Result<(Listener, Arc<str>), Error> {
        let address = resolve(endpoint)?;
        let name = name_of(&address);
        let mode = mode_for(&options.access, &address, &name)?;
        let lock = match &address {
            SocketAddress::File { path, private } => {
                place::prepare_directory(path, private.as_deref(), &name)?;
                let lock = NameLock::take(path, &name)?;
                place::remove_stale(path, &name)?;
                Some(lock)
            }
            SocketAddress::Abstract(_) => None,
        };
        let socket = listen(&address, mode, carrier).map_err(|source| match source.kind() {
            ErrorKind::AddrInUse => Error::AlreadyServed { endpoint: name.clone() },
            _ => Error::system(&name, "listening", source),
        })?;
        let failed = |source| Error::system(&name, "setting up the socket", source);
        let place = match (&address, lock) {
            (SocketAddress::File { path, .. }, Some(lock)) => {
                Some(Place::new(path, lock).map_err(failed)?)
            }
            _ => None,
        };
        let socket = UnixListener::from(socket);
        socket.set_nonblocking(true).map_err(failed)?;
        let socket = mio::net::UnixListener::from_std(socket);
        let access = options.access.clone();
        Ok((Listener { socket, token: None, place, access, carrier }, name))
    }
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
fn listen(address: &SocketAddress, mode: Mode, carrier: Carrier) -> io::Result<OwnedFd> {
    let socket = super::client::new_socket(carrier)?;
    if matches!(address, SocketAddress::File { .. }) {
        // Only Linux takes over the mode; on the others the directory keeps people out until the
        // mode is set again behind bind.
        match rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR) {
            Ok(()) | Err(Errno::INVAL | Errno::OPNOTSUPP) => {}
            Err(error) => return Err(error.into()),
        }
    }
    rustix::net::bind(&socket, &system_address(address)?)?;
    if let SocketAddress::File { path, .. } = address {
        // Whatever the umask took away.
        rustix::fs::chmod(path, mode)?;
    }
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
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
        registry.register(&mut self.socket, token, Interest::READABLE)?;
        self.token = Some(token);
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
        let socket = match self.socket.accept() {
            Ok((socket, _)) => OwnedFd::from(socket),
            Err(error) => {
                return match error.kind() {
                    ErrorKind::WouldBlock => Ok(Next::Nobody),
                    // The client was gone before its turn; or nothing has happened yet.
                    ErrorKind::ConnectionAborted | ErrorKind::Interrupted => Ok(Next::TurnedAway),
                    _ => Err(error),
                };
            }
        };
        // Who cannot be told does not come in, and who is somebody else neither.
        let Ok((socket, peer)) = peer_of(socket) else {
            return Ok(Next::TurnedAway);
        };
        if !admits(&self.access, &peer, socket.as_fd()) {
            return Ok(Next::TurnedAway);
        }
        let mut socket = mio::net::UnixStream::from_std(socket.into());
        let token = tokens.next();
        registry.register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
        let stream = SocketStream::new(socket, self.carrier)?;
        // What has arrived already is told by an event: that is how epoll and kqueue begin.
        Ok(Next::Client(Accepted { token, stream, peer, readable: false }))
    }

    fn close(mut self, registry: &Registry) {
        // Deregistering fails only for what is not registered.
        let _ = registry.deregister(&mut self.socket);
        // The file goes before the socket is closed, so that no client finds a file that refuses.
        drop(self.place.take());
    }
}
