//! Listening sockets that another program has created and handed over.

use super::address::name_of_socket;
use super::listener::{Listener, Setup};
use super::place::Served;
use crate::ServerOptions;
use crate::backends::event_loop::Poller;
use crate::error::Error;
use crate::framing::Carrier;
use rustix::net::sockopt::socket_type;
use rustix::net::{AddressFamily, SocketType, getsockname};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::sync::Arc;

/// A socket that listens already, for [`ServerOptions::listen_on`]: made by a service manager that starts the server
/// when the first client comes, or by the application. It is for Unix: on Windows there is no value of it.
///
/// ```no_run
/// # #[cfg(unix)] {
/// let listener = std::os::unix::net::UnixListener::bind("/run/notes/socket")?;
/// let server = msgpipe::ServerOptions::new().listen_on(listener)?;
/// server.serve(|request| request.body())?;
/// # }
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ListeningSocket {
    socket: OwnedFd,
}

impl From<UnixListener> for ListeningSocket {
    fn from(listener: UnixListener) -> ListeningSocket {
        ListeningSocket { socket: listener.into() }
    }
}

impl From<OwnedFd> for ListeningSocket {
    /// Whether it is one is found out when it is [listened on](ServerOptions::listen_on).
    fn from(socket: OwnedFd) -> ListeningSocket {
        ListeningSocket { socket }
    }
}

/// What stands for the name of something that is no socket with an address.
const UNKNOWN: &str = "what was handed over";

impl ListeningSocket {
    /// Its address as text.
    pub(crate) fn name(&self) -> Arc<str> {
        let address = getsockname(&self.socket).ok();
        let address = address.and_then(|address| address.try_into().ok());
        address.and_then(|it| name_of_socket(&it)).unwrap_or_else(|| UNKNOWN.into())
    }

    /// Whether it certainly does not listen.
    fn is_silent(&self) -> bool {
        #[cfg(not(target_vendor = "apple"))]
        let says = rustix::net::sockopt::socket_acceptconn(&self.socket) == Ok(false);
        // There the first accept says so.
        #[cfg(target_vendor = "apple")]
        let says = false;
        says
    }

    /// Why it cannot be used, if it cannot.
    fn problem(&self, carrier: Carrier) -> Option<&'static str> {
        let family = getsockname(&self.socket).map(|address| address.address_family());
        let kind = socket_type(&self.socket);
        let wanted = match carrier {
            Carrier::Stream => SocketType::STREAM,
            _ => SocketType::SEQPACKET,
        };
        match (family, kind) {
            (Ok(AddressFamily::UNIX), Ok(kind)) if kind != wanted => Some(match carrier {
                Carrier::Stream => "it is no stream socket (SOCK_STREAM), which the framing needs",
                _ => "it keeps no messages apart (SOCK_SEQPACKET), which the framing needs",
            }),
            (Ok(AddressFamily::UNIX), Ok(_)) if self.is_silent() => {
                Some("it does not listen: call listen(2) before it is handed over")
            }
            (Ok(AddressFamily::UNIX), Ok(_)) => None,
            (Ok(_), Ok(_)) => Some("it is no Unix domain socket"),
            _ => Some("it is no socket"),
        }
    }
}

impl Listener {
    /// Listens on a socket that was handed over. Its file, if it has one, belongs to whoever made it: it is neither
    /// checked nor removed. Also returns the address as text.
    pub fn handed_over(
        handed: ListeningSocket,
        options: &ServerOptions,
        carrier: Carrier,
        poller: &mut Poller,
    ) -> Result<(Listener, Arc<str>), Error> {
        let name = handed.name();
        if let Some(problem) = handed.problem(carrier) {
            return Err(Error::Misuse { endpoint: name, problem: problem.to_owned() });
        }
        let failed = |source: io::Error| Error::system(&name, "setting up the socket", source);
        let socket = UnixListener::from(handed.socket);
        // Not for children of this process; and a client that was taken by another server blocks nobody.
        rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)
            .map_err(|error| failed(error.into()))?;
        socket.set_nonblocking(true).map_err(failed)?;
        let served = Served::new(mio::net::UnixListener::from_std(socket), None);
        let setup = Setup { served, access: options.access.clone(), carrier };
        let listener = setup.register(poller).map_err(failed)?;
        Ok((listener, name))
    }
}
