//! Why connections end, and what that says of the requests on them.

use super::Fault;
use crate::framing::{FramingError, GoodbyeCode};
use crate::goodbye::Goodbye;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Why a connection has ended.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer closed it between two messages: the normal end.
    #[error("the peer closed it")]
    Finished,
    /// This side closed it.
    #[error("this side closed it")]
    Local,
    /// The peer sent what it may not, or stopped inside a message, or said goodbye with a reason.
    #[error(transparent)]
    Peer(#[from] FramingError),
    /// The peer stopped inside a message, and this side had read nothing for so long before.
    #[error(
        "cut off: {have} bytes of an unfinished message had arrived, and this side had read nothing for {unread:?}, for which a server closes (Limits::write_stall): wait for replies sooner"
    )]
    CutOffUnread {
        /// The bytes that had arrived of what was not finished.
        have: usize,
        /// How long nothing was read.
        unread: Duration,
    },
    /// The peer sent a message that makes no sense in the layer above.
    #[error("the peer broke the protocol: {0}")]
    Protocol(String),
    /// The peer did not read for [`Limits::write_stall`](crate::Limits::write_stall).
    #[error("the peer read nothing for {waited:?}")]
    Unread {
        /// How long.
        waited: Duration,
    },
    /// The peer did not finish its preface within [`Limits::preface`](crate::Limits::preface), or a
    /// message within [`Limits::message_time`](crate::Limits::message_time).
    #[error("the peer did not finish its {what} within {waited:?}")]
    Slow {
        /// `preface` or `message`.
        what: &'static str,
        /// How long.
        waited: Duration,
    },
    /// Nothing came and nothing went for [`Limits::idle`](crate::Limits::idle).
    #[error("nothing came and nothing went for {waited:?}")]
    Idle {
        /// How long.
        waited: Duration,
    },
    /// The connection broke: the peer was killed, or the system gave up on it.
    #[error("the connection broke: {0}")]
    Broken(Arc<io::Error>),
}

impl CloseReason {
    /// Who is at fault; [`Fault::Nobody`] for a normal end.
    ///
    /// ```
    /// use msgpipe::{CloseReason, Fault};
    /// assert_eq!(CloseReason::Finished.fault(), Fault::Nobody);
    /// ```
    pub fn fault(&self) -> Fault {
        match self {
            CloseReason::Finished | CloseReason::Local => Fault::Nobody,
            CloseReason::Peer(FramingError::Goodbye { code, .. }) => fault_of_goodbye(*code),
            CloseReason::Peer(FramingError::TooLarge { .. }) => Fault::Limit,
            CloseReason::Peer(FramingError::WrongLayer { .. }) => Fault::Caller,
            CloseReason::Peer(_) | CloseReason::Protocol(_) => Fault::Peer,
            CloseReason::Unread { .. }
            | CloseReason::CutOffUnread { .. }
            | CloseReason::Slow { .. }
            | CloseReason::Idle { .. } => Fault::Limit,
            CloseReason::Broken(_) => Fault::System,
        }
    }
}

/// Whose fault it is that the peer says goodbye with this code.
fn fault_of_goodbye(code: u16) -> Fault {
    match code {
        GoodbyeCode::STOPPING => Fault::Nobody,
        // What this side sent was wrong.
        GoodbyeCode::PROTOCOL | GoodbyeCode::TOO_LARGE => Fault::Caller,
        GoodbyeCode::UNREAD | GoodbyeCode::TOO_SLOW | GoodbyeCode::IDLE | GoodbyeCode::BUSY => {
            Fault::Limit
        }
        GoodbyeCode::NOT_AUTHORIZED => Fault::System,
        _ => Fault::Peer,
    }
}

impl CloseReason {
    /// The reason for a call that was open then: what is a normal end for a connection is none for a call,
    /// and a reset by the peer means that the server has ended.
    pub(crate) fn of_open_call(&self) -> CloseReason {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        const ENDED: &str = "the server has ended while this call was open";
        match self {
            CloseReason::Finished => io::Error::new(UnexpectedEof, ENDED).into(),
            CloseReason::Broken(error)
                if matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset) =>
            {
                io::Error::new(error.kind(), format!("{ENDED}: {error}")).into()
            }
            reason => reason.clone(),
        }
    }

    /// What the peer is told when this side closes for this reason; `None`: nothing.
    pub(crate) fn goodbye(&self) -> Option<Goodbye> {
        match self {
            CloseReason::Peer(error) => {
                Some(Goodbye::new(error.goodbye_code()?, error.to_string()))
            }
            CloseReason::Protocol(text) => Some(Goodbye::new(GoodbyeCode::PROTOCOL, text.clone())),
            CloseReason::Slow { .. } => Some(Goodbye::new(GoodbyeCode::TOO_SLOW, self.to_string())),
            CloseReason::Idle { .. } => Some(Goodbye::new(GoodbyeCode::IDLE, self.to_string())),
            _ => None,
        }
    }
}

impl From<io::Error> for CloseReason {
    fn from(error: io::Error) -> CloseReason {
        CloseReason::Broken(Arc::new(error))
    }
}

/// What is known of a request whose connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Progress {
    /// It was surely not begun: its last byte never left, or the server looked at nothing that was sent.
    NotBegun,
    /// It may have been carried out, in part or as a whole.
    Unknown,
    /// The error is about no request: nothing was asked.
    NoRequest,
}

impl Progress {
    /// What the end of a connection says of what was sent on it.
    pub(crate) fn of(reason: &CloseReason) -> Progress {
        const NOT_LOOKED_AT: [u16; 3] =
            [GoodbyeCode::VERSION, GoodbyeCode::NOT_AUTHORIZED, GoodbyeCode::BUSY];
        match reason {
            CloseReason::Peer(FramingError::Goodbye { code, .. })
                if NOT_LOOKED_AT.contains(code) =>
            {
                Progress::NotBegun
            }
            CloseReason::Peer(FramingError::Version { .. } | FramingError::WrongLayer { .. }) => {
                Progress::NotBegun
            }
            _ => Progress::Unknown,
        }
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Progress::NotBegun => "; what was to be sent was not begun",
            Progress::Unknown => "; what was sent may have been carried out",
            Progress::NoRequest => "",
        })
    }
}
