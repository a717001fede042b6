//! Who is at the other end of a socket, and who we are.

use crate::message_server::Peer;
use interprocess::local_socket::traits::StreamCommon as _;
use interprocess::os::unix::uds_local_socket::Stream;
use std::io;
use std::os::fd::OwnedFd;

/// Reads who is at the other end: for the server as it was when the client called connect(2), for
/// the client as it was when the server called listen(2) (`unix(7)`, SO_PEERCRED). It does not
/// change afterwards. The socket comes back unchanged.
pub(super) fn peer_of(socket: OwnedFd) -> io::Result<(OwnedFd, Peer)> {
    let stream = Stream::from(socket);
    let creds = stream.peer_creds()?;
    let pid = creds.pid().and_then(|pid| u32::try_from(pid).ok());
    let peer = Peer { pid, uid: creds.euid(), gid: creds.egid(), sid: None };
    Ok((stream.into(), peer))
}

/// The user as whom this process acts.
pub(super) fn effective_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Whether `peer` is this process's user, or root, who can be anybody. One who cannot be told is
/// not.
pub(super) fn is_trusted(peer: &Peer) -> bool {
    peer.uid.is_some_and(|uid| uid == 0 || uid == effective_user())
}
