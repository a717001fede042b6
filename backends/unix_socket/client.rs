//! Connecting a client: blocking, with a deadline.

use super::address::{addresses, name_of};
use super::client_stream::ClientSocket;
use super::explain::{explained, merged};
use super::identity::{is_one_of, peer_of};
use super::socket::connect_socket;
use super::stream::largest_message;
use crate::access::Trust;
use crate::backends::Connected;
use crate::endpoint::{Endpoint, SocketAddress};
use crate::error::Error;
use crate::framing::Carrier;
use crate::limits::Limits;
use crate::peer::Peer;
use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// Connects to the server at `endpoint`. Also returns the address as text.
pub(crate) fn connect(
    endpoint: &Endpoint,
    limits: &Limits,
    carrier: Carrier,
    trust: &Trust,
) -> Result<Connected, Error> {
    let Opened { socket, peer, name } = open(endpoint, limits, carrier, trust)?;
    let max_message = largest_message(&socket, carrier)
        .map_err(|source| Error::system(&name, "setting up the socket", source))?;
    let stream = ClientSocket::new(socket, peer, carrier, max_message);
    Ok((Box::new(stream), name))
}

/// A socket that is connected to a server that is trusted. Nothing was sent yet.
pub(super) struct Opened {
    pub socket: OwnedFd,
    pub peer: Peer,
    /// The address as text.
    pub name: Arc<str>,
}

/// Connects a blocking socket to the server at `endpoint`, and checks who that is.
pub(super) fn open(
    endpoint: &Endpoint,
    limits: &Limits,
    carrier: Carrier,
    trust: &Trust,
) -> Result<Opened, Error> {
    let mut no_server = None;
    for address in addresses(endpoint) {
        match address.and_then(|address| open_at(&address, limits, carrier, trust)) {
            // Another directory may have the server.
            Err(error @ (Error::NoServer { .. } | Error::Name(_))) => {
                no_server = Some(merged(no_server, error));
            }
            outcome => return outcome,
        }
    }
    Err(no_server.unwrap_or_else(|| {
        Error::no_server(&endpoint.to_string().into(), ErrorKind::NotFound.into())
    }))
}

fn open_at(
    address: &SocketAddress,
    limits: &Limits,
    carrier: Carrier,
    trust: &Trust,
) -> Result<Opened, Error> {
    let name = name_of(address);
    let socket = connect_socket(address, limits.connect, carrier)
        .map_err(|source| explained(address, &name, limits, source))?;
    let (socket, peer) = peer_of(socket)
        .map_err(|source| Error::system(&name, "reading the server's credentials", source))?;
    if !is_one_of(trust, &peer, socket.as_fd()) {
        let remedy = match peer.uid {
            Some(_) => {
                "if it is the right server, name its user in ClientOptions::trust (Trust::Only)"
            }
            None => "its user is unmapped in this user namespace, so only Trust::Anyone accepts it",
        };
        let problem = format!("the client does not trust its server, {peer}: {remedy}");
        return Err(Error::Insecure { endpoint: name, problem });
    }
    Ok(Opened { socket, peer, name })
}
