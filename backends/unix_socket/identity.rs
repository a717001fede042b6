//! Who is at the other end of a socket, and who we are.

use crate::access::{Access, Principal, Trust, is_one_of};
use crate::message_server::Peer;
use interprocess::local_socket::traits::StreamCommon as _;
use interprocess::os::unix::uds_local_socket::Stream;
use std::io;
#[cfg(target_os = "linux")]
use std::os::fd::AsRawFd;
use std::os::fd::{BorrowedFd, OwnedFd};

/// Reads who is at the other end: for the server as it was when the client called connect(2), for
/// the client as it was when the server called listen(2) (`unix(7)`, SO_PEERCRED). It does not
/// change afterwards. The socket comes back unchanged.
pub(super) fn peer_of(socket: OwnedFd) -> io::Result<(OwnedFd, Peer)> {
    let stream = Stream::from(socket);
    let creds = stream.peer_creds()?;
    let pid = creds.pid().and_then(|pid| u32::try_from(pid).ok());
    let (uid, gid) = (creds.euid(), creds.egid());
    let same_user = uid == Some(effective_user());
    let peer = Peer { pid, uid, gid, sid: None, same_user };
    Ok((stream.into(), peer))
}

/// The user as whom this process acts.
pub(super) fn effective_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Whether `peer` is this process's user, or root, who can be anybody. One who cannot be told is
/// neither.
fn is_ours(peer: &Peer) -> bool {
    peer.same_user || peer.uid == Some(0)
}

/// Whether a server lets `peer`, at the other end of `socket`, in.
pub(super) fn admits(access: &Access, peer: &Peer, socket: BorrowedFd<'_>) -> bool {
    match access {
        Access::Owner => is_ours(peer),
        Access::Only(principals) => {
            is_ours(peer) || is_one_of(peer, &groups_asked(principals, socket), principals)
        }
        // The file's mode has decided.
        Access::Everyone | Access::Custom { .. } => true,
    }
}

/// The groups of the peer, if any principal is one. Who does not tell its groups is in none.
fn groups_asked(principals: &[Principal], socket: BorrowedFd<'_>) -> Vec<u32> {
    match principals.iter().any(|principal| matches!(principal, Principal::Gid(_))) {
        true => groups_of(socket).unwrap_or_default(),
        false => Vec::new(),
    }
}

/// Whether a client talks to `peer`, at the other end of `socket`.
pub(super) fn trusts(trust: &Trust, peer: &Peer, socket: BorrowedFd<'_>) -> bool {
    match trust {
        Trust::SameUser => is_ours(peer),
        Trust::Only(principals) => {
            is_ours(peer) || is_one_of(peer, &groups_asked(principals, socket), principals)
        }
        Trust::Anyone => true,
    }
}

/// The groups that the peer is in beside its first one.
#[cfg(target_os = "linux")]
fn groups_of(socket: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    // What the system allows one process (`setgroups(2)`, NGROUPS_MAX).
    const MOST: usize = 65_536;
    let mut groups = vec![0u32; MOST];
    let mut len = (MOST * size_of::<u32>()) as libc::socklen_t;
    // SAFETY: the socket is open for as long as it is borrowed; the buffer has `len` bytes, and both
    // outlive the call.
    let failed = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERGROUPS,
            groups.as_mut_ptr().cast(),
            &mut len,
        )
    };
    if failed != 0 {
        return Err(io::Error::last_os_error());
    }
    groups.truncate(len as usize / size_of::<u32>());
    Ok(groups)
}

#[cfg(not(target_os = "linux"))]
fn groups_of(_socket: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    Err(io::ErrorKind::Unsupported.into())
}
