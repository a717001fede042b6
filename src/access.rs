//! Which users may connect to a server, and which servers a client talks to.
#![forbid(unsafe_code)]

use crate::peer::Peer;
use std::fmt;

/// A user or a group of the operating system.
///
/// A principal of another system matches no peer, so that one list serves all systems:
///
/// ```
/// use msgpipe::{Access, Principal};
/// let access = Access::Only(vec![
///     Principal::Gid(27),                      // Unix: the group sudo, on Debian
///     Principal::Sid("S-1-5-32-544".into()),   // Windows: the administrators
/// ]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Principal {
    /// Unix: the user with this number (`id -u NAME`). In a user namespace the overflow uid
    /// (`/proc/sys/kernel/overflowuid`), which stands for all unmapped users, matches no peer.
    Uid(u32),
    /// Unix: every user in the group with this number (`getent group NAME`). The group must be the user's
    /// primary group, or on Linux any of the user's groups (`unix(7)`, SO_PEERGROUPS).
    Gid(u32),
    /// Windows: the user or group with this security identifier, `S-1-…` (`whoami /all`).
    Sid(String),
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Principal::Uid(uid) => write!(f, "user {uid}"),
            Principal::Gid(gid) => write!(f, "group {gid}"),
            Principal::Sid(sid) => f.write_str(sid),
        }
    }
}

/// Which users may connect to a server; see [`ServerOptions::access`](crate::ServerOptions::access).
///
/// The user who runs the server may always connect, and so may root and LocalSystem, which can act as any
/// user. Other users get the right to read and to write, and nothing else. On Windows these are the rights
/// `0x12019b`, without the right to add instances to the pipe, which the generic right to write contains
/// (Named Pipe Security and Access Rights).
///
/// A plain name belongs to one user. For other users, bind a pipe, a path or an abstract name that they
/// know too.
///
/// The user is the effective user of the process. An elevated program on Windows serves as the user who
/// started it, not as the Administrators, which the system would make the owner of its objects: so that
/// user's other programs may connect, and trust it. A service that runs as LocalSystem, LocalService or
/// root serves as that account: for the users of the machine it needs [`Only`](Access::Only) or
/// [`Everyone`](Access::Everyone). Their clients trust LocalSystem and root by default; another account has
/// to be named in [`Trust::Only`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Access {
    /// Only the user who runs the server.
    #[default]
    Owner,
    /// These users and groups too.
    Only(Vec<Principal>),
    /// Every user of this machine.
    Everyone,
    /// A setting in the terms of each system. If the one for the running system is `None`, binding fails.
    Custom {
        /// Windows: a security descriptor in its definition language (SDDL). Without an owner (`O:`)
        /// the owner becomes the user who runs the server; clients identify the server by it.
        sddl: Option<String>,
        /// Unix: the mode of the socket's file, such as `0o660`. The system then decides by that mode
        /// alone. For an abstract name, which has no file, only a mode that admits every user is accepted.
        mode: Option<u32>,
    },
}

/// Which servers a client talks to; see [`ClientOptions::trust`](crate::ClientOptions::trust). The client
/// asks the operating system for the server's user before it sends a byte.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trust {
    /// A server of this user, of root or of LocalSystem, which can act as any user.
    #[default]
    SameUser,
    /// Servers of these users and groups too. Groups match as in [`Access::Only`]. On Windows only the owner
    /// of the pipe is known, so a group matches only if it is that owner.
    Only(Vec<Principal>),
    /// Any server. If others could have taken the name first, this can be a server of any user.
    Anyone,
}

/// The users that a server admits, or whose servers a client trusts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Users<'a> {
    /// The own user, and those that can act as any user.
    Own,
    /// These principals too.
    OwnAnd(&'a [Principal]),
    All,
}

impl<'a> From<&'a Access> for Users<'a> {
    /// The users that a server admits once they have connected. A custom setting has been applied by the
    /// system when they did.
    fn from(access: &'a Access) -> Users<'a> {
        match access {
            Access::Owner => Users::Own,
            Access::Only(principals) => Users::OwnAnd(principals),
            Access::Everyone | Access::Custom { .. } => Users::All,
        }
    }
}

impl<'a> From<&'a Trust> for Users<'a> {
    fn from(trust: &'a Trust) -> Users<'a> {
        match trust {
            Trust::SameUser => Users::Own,
            Trust::Only(principals) => Users::OwnAnd(principals),
            Trust::Anyone => Users::All,
        }
    }
}

impl Users<'_> {
    /// Whether `peer` is one of them. The backend determines `is_ours`: the peer is the own user, or one that
    /// can act as any user. `groups` as for [`is_one_of`].
    pub fn include(self, peer: &Peer, is_ours: bool, groups: impl FnOnce() -> Vec<u32>) -> bool {
        match self {
            Users::Own => is_ours,
            Users::OwnAnd(principals) => is_ours || is_one_of(peer, groups, principals),
            Users::All => true,
        }
    }
}

/// Whether `peer` is one of `principals`. `groups` returns its supplementary groups; it is called only if
/// `principals` contains a group.
fn is_one_of(peer: &Peer, groups: impl FnOnce() -> Vec<u32>, principals: &[Principal]) -> bool {
    let has_group = principals.iter().any(|principal| matches!(principal, Principal::Gid(_)));
    let groups = if has_group { groups() } else { Vec::new() };
    principals.iter().any(|principal| match principal {
        Principal::Uid(uid) => peer.uid == Some(*uid),
        Principal::Gid(gid) => peer.gid == Some(*gid) || groups.contains(gid),
        Principal::Sid(sid) => peer.sid.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(sid)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_matches_by_its_user_its_groups_or_its_identifier() {
        let unix = Peer { uid: Some(1000), gid: Some(100), ..Peer::default() };
        let windows = Peer { sid: Some("S-1-5-21-1".into()), ..Peer::default() };
        let sid = |sid: &str| Principal::Sid(sid.into());
        for (peer, principal, is) in [
            (&unix, Principal::Uid(1000), true),
            (&unix, Principal::Uid(100), false),
            (&unix, Principal::Gid(100), true),
            (&unix, Principal::Gid(27), true),
            (&unix, Principal::Gid(28), false),
            (&unix, Principal::Gid(1000), false),
            (&windows, sid("s-1-5-21-1"), true),
            (&windows, sid("S-1-5-21-10"), false),
            (&windows, Principal::Uid(0), false),
            (&unix, sid(""), false),
        ] {
            assert_eq!(
                is_one_of(peer, || vec![27], std::slice::from_ref(&principal)),
                is,
                "{peer}, {principal}"
            );
            assert!(!is_one_of(peer, || vec![27], &[]));
        }
        let nobody = Peer::default();
        assert!(!is_one_of(&nobody, Vec::new, &[Principal::Uid(0), Principal::Gid(0), sid("")]));
    }

    #[test]
    fn groups_are_queried_only_if_one_is_named() {
        let unasked = || unreachable!("no group is named");
        let peer = Peer { uid: Some(1000), ..Peer::default() };
        assert!(is_one_of(&peer, unasked, &[Principal::Uid(7), Principal::Uid(1000)]));
        let principals = [Principal::Uid(7), Principal::Gid(27)];
        assert!(!Users::OwnAnd(&principals[..1]).include(&peer, false, unasked));
        assert!(Users::OwnAnd(&principals).include(&peer, true, unasked));
        assert!(Users::OwnAnd(&principals).include(&peer, false, || vec![27]));
    }

    #[test]
    fn the_own_user_is_included_and_others_only_by_name_or_with_everyone() {
        let peer = Peer { uid: Some(1000), ..Peer::default() };
        let (named, other) = (vec![Principal::Uid(1000)], vec![Principal::Uid(7)]);
        let access = [
            (&Access::Owner, false),
            (&Access::Only(named.clone()), true),
            (&Access::Only(other.clone()), false),
            (&Access::Everyone, true),
            (&Access::Custom { sddl: None, mode: Some(0o660) }, true),
        ];
        let trust = [
            (&Trust::SameUser, false),
            (&Trust::Only(named), true),
            (&Trust::Only(other), false),
            (&Trust::Anyone, true),
        ];
        let access = access.map(|(access, others)| (Users::from(access), others));
        let trust = trust.map(|(trust, others)| (Users::from(trust), others));
        for (users, others) in access.into_iter().chain(trust) {
            assert!(users.include(&peer, true, Vec::new), "{users:?}");
            assert_eq!(users.include(&peer, false, Vec::new), others, "{users:?}");
        }
    }
}
