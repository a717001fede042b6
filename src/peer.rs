//! Who is at the other end of a connection.
#![forbid(unsafe_code)]

use std::fmt;

/// Who is at the other end of a connection. A part that the system does not have, or does not
/// tell, is `None`.
///
/// ```
/// let mut peer = msgpipe::Peer::default(); // of whom nothing is known
/// peer.pid = Some(4711);
/// assert_eq!(peer.to_string(), "process 4711");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Peer {
    /// Its process. A number may be given to another process once this one has ended. Linux: `None` if
    /// it lives in a PID namespace that cannot be seen from here.
    pub pid: Option<u32>,
    /// Unix: its effective user. Linux: `None` if it has no number in this process's user namespace.
    pub uid: Option<u32>,
    /// Unix: its effective group, and `None` as for the user.
    pub gid: Option<u32>,
    /// Windows: its user's security identifier, `S-1-5-…`.
    pub sid: Option<String>,
    /// Whether it is of the same user as this process. Not true of one that cannot be told.
    pub same_user: bool,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "process {pid}")?,
            None => f.write_str("a process")?,
        }
        if let Some(uid) = self.uid {
            write!(f, " of user {uid}")?;
        }
        match &self.sid {
            Some(sid) => write!(f, " of user {sid}"),
            None => Ok(()),
        }
    }
}
