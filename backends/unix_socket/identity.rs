//! The identity of a socket's peer, of a file's owner, and of this process.
//!
//! In a user namespace the kernel shows every unmapped user under one number, the overflow uid
//! (`user_namespaces(7)`). It identifies no user. See [`unmapped`].

use super::unmapped;
use crate::access::Users;
use crate::peer::Peer;
use std::fmt;
use std::io;
#[cfg(any(target_os = "linux", target_os = "android"))]
use std::os::fd::AsRawFd;
use std::os::fd::{BorrowedFd, OwnedFd};

/// Reads the credentials of the other end. The server gets those of the client at connect(2), the client
/// those of the server at listen(2) (`unix(7)`, SO_PEERCRED); they do not change afterwards. Returns the
/// socket unchanged; an error if there are no credentials.
pub(super) fn peer_of(socket: OwnedFd) -> io::Result<(OwnedFd, Peer)> {
    let (socket, [pid, uid, gid]) = credentials(socket)?;
    Ok((socket, peer(pid, uid, gid)))
}

fn peer(pid: Option<u32>, uid: Option<u32>, gid: Option<u32>) -> Peer {
    let pid = pid.filter(|&pid| pid != 0);
    let uid = uid.filter(|&uid| !unmapped::is_user(uid));
    let gid = gid.filter(|&gid| !unmapped::is_group(gid));
    let same_user = uid == Some(effective_user());
    Peer { pid, uid, gid, sid: None, same_user }
}

/// Process, user and group of the other end. For a process in a PID namespace that is not visible here the
/// system returns the process id 0 (`pid_namespaces(7)`).
#[cfg(any(target_os = "linux", target_os = "android"))]
fn credentials(socket: OwnedFd) -> io::Result<(OwnedFd, [Option<u32>; 3])> {
    // The uid that the system returns for a socket without a peer.
    const NO_PEER: u32 = u32::MAX;
    let mut found = libc::ucred { pid: 0, uid: NO_PEER, gid: NO_PEER };
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the socket is open, `found` has `len` bytes and takes any, and both outlive the call.
    let failed = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut found).cast(),
            &mut len,
        )
    };
    if failed != 0 {
        return Err(io::Error::last_os_error());
    }
    if found.uid == NO_PEER {
        return Err(io::ErrorKind::NotConnected.into());
    }
    Ok((socket, [u32::try_from(found.pid).ok(), Some(found.uid), Some(found.gid)]))
}

/// Process, user and group of the other end. Each of these systems has its own call for it;
/// interprocess wraps them.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn credentials(socket: OwnedFd) -> io::Result<(OwnedFd, [Option<u32>; 3])> {
    use interprocess::local_socket::traits::StreamCommon as _;
    use interprocess::os::unix::uds_local_socket::Stream;
    let stream = Stream::from(socket);
    let found = stream.peer_creds()?;
    let pid = found.pid().and_then(|pid| u32::try_from(pid).ok());
    let numbers = [pid, found.euid(), found.egid()];
    Ok((stream.into(), numbers))
}

/// The effective user of this process.
pub(super) fn effective_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The owner of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// The effective user of this process.
    Us,
    /// Root, which can act as any user.
    Root,
    Other(u32),
    /// An unmapped user.
    Unknown,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Owner::Us => f.write_str("this user"),
            Owner::Root => f.write_str("user 0"),
            Owner::Other(uid) => write!(f, "user {uid}"),
            Owner::Unknown => f.write_str("a user that is unmapped in this user namespace"),
        }
    }
}

pub(super) fn owner_of(uid: u32) -> Owner {
    if unmapped::is_user(uid) {
        return Owner::Unknown;
    }
    match uid {
        uid if uid == effective_user() => Owner::Us,
        0 => Owner::Root,
        uid => Owner::Other(uid),
    }
}

/// Whether `peer` is this process's user, or root, which can act as any user. An unknown user is neither.
fn is_ours(peer: &Peer) -> bool {
    peer.same_user || peer.uid == Some(0)
}

/// Whether `peer`, the other end of `socket`, is one of the users that a server admits, or that a client
/// trusts. If the system does not give its groups, it has none.
pub(super) fn is_one_of<'a>(
    users: impl Into<Users<'a>>,
    peer: &Peer,
    socket: BorrowedFd<'_>,
) -> bool {
    users.into().include(peer, is_ours(peer), || groups_of(socket).unwrap_or_default())
}

/// The supplementary groups of the peer.
#[cfg(target_os = "linux")]
fn groups_of(socket: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    // The limit for one process (`setgroups(2)`).
    const NGROUPS_MAX: usize = 65_536;
    let mut groups = vec![0u32; NGROUPS_MAX];
    let mut len = (NGROUPS_MAX * size_of::<u32>()) as libc::socklen_t;
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
    groups.retain(|&gid| !unmapped::is_group(gid));
    Ok(groups)
}

#[cfg(not(target_os = "linux"))]
fn groups_of(_socket: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Access, Principal, Trust};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_peer_is_identified_and_a_missing_peer_is_an_error() {
        let (one, _other) = UnixStream::pair().unwrap();
        let (socket, peer) = peer_of(one.into()).unwrap();
        assert_eq!((peer.uid, peer.same_user), (Some(effective_user()), true));
        assert!(is_one_of(&Access::Owner, &peer, socket.as_fd()));

        let alone =
            crate::backends::unix_socket::socket::new_socket(crate::framing::Carrier::Stream);
        assert!(peer_of(alone.unwrap()).is_err());
    }

    /// As for a peer in another PID namespace and in a user namespace that does not map its user and group.
    #[test]
    fn an_unmapped_peer_is_neither_the_own_user_nor_a_named_one() {
        let (socket, _other) = UnixStream::pair().unwrap();
        let unknown = peer(None, None, None);
        assert_eq!(unknown.to_string(), "a process");
        let all = |numbers: [u32; 2]| numbers.map(Principal::Uid).into_iter();
        let named: Vec<Principal> = all([65_534, effective_user()]).collect();
        for access in [Access::Owner, Access::Only(named.clone())] {
            assert!(!is_one_of(&access, &unknown, socket.as_fd()), "{access:?}");
        }
        for trust in [Trust::SameUser, Trust::Only(named)] {
            assert!(!is_one_of(&trust, &unknown, socket.as_fd()), "{trust:?}");
        }
        assert!(is_one_of(&Access::Everyone, &unknown, socket.as_fd()));
        assert!(is_one_of(&Trust::Anyone, &unknown, socket.as_fd()));
    }
}
