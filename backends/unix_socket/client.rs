//! The client's end of a socket: blocking, with deadlines.

use super::address::{addresses, name_of};
use super::client_stream::ClientSocket;
use super::explain::{explained, without};
use super::identity::{peer_of, trusts};
use super::socket::connect_socket;
use super::stream::largest_message;
use crate::access::Trust;
use crate::backends::Connected;
use crate::endpoint::{Endpoint, SocketAddress};
use crate::error::Error;
use crate::framing::Carrier;
use crate::limits::Limits;
use std::io::ErrorKind;
use std::os::fd::AsFd;

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
