//! The identity of the other end of a connection.
#![forbid(unsafe_code)]

use std::fmt;

/// The identity of the other end of a connection. A field that the system does not have, or does not
/// give, is `None`.
///
/// ```
/// let mut peer = msgpipe::Peer::default(); // nothing is known
/// peer.pid = Some(4711);
/// assert_eq!(peer.to_string(), "process 4711");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Peer {
    /// The process id. The system can reuse it once the process has ended. Linux: `None` if the process is
    /// in a PID namespace that is not visible to this process.
    pub pid: Option<u32>,
    /// Unix: the effective user. Linux: `None` if the user is unmapped in this process's user namespace.
    pub uid: Option<u32>,
    /// Unix: the effective group. Linux: `None` if the group is unmapped.
    pub gid: Option<u32>,
    /// Windows: the user's security identifier, `S-1-5-…`.
    pub sid: Option<String>,
    /// Whether the peer's user is the user of this process. `false` if the user is not known.
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
