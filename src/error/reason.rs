//! Why connections end, and whether the requests on them were begun.

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
    /// The peer closed the connection between two messages: the normal end.
    #[error("the peer closed it")]
    PeerClosed,
    /// This side closed the connection.
    #[error("this side closed it")]
    Local,
    /// The peer sent invalid bytes, closed inside a message, or sent a goodbye.
    #[error(transparent)]
    Peer(#[from] FramingError),
    /// The peer closed inside a message, after this side had not read for `unread`.
    #[error(
        "cut off: {have} bytes of an unfinished message had arrived, and this side had not read for {unread:?}, which makes a server close (Limits::write_stall): wait for replies sooner"
    )]
    CutOffUnread {
        /// The bytes of the unfinished message that had arrived.
        have: usize,
        /// The time in which this side did not read.
        unread: Duration,
    },
    /// The peer sent a message that is invalid in the calls layer.
    #[error("the peer broke the protocol: {0}")]
    Protocol(String),
    /// The peer did not read its send queue for [`Limits::write_stall`](crate::Limits::write_stall).
    #[error("the peer read nothing for {waited:?}")]
    Unread {
        /// The time limit.
        waited: Duration,
    },
    /// The peer did not finish its preface within [`Limits::preface`](crate::Limits::preface), or a
    /// message within [`Limits::message_time`](crate::Limits::message_time).
    #[error("the peer did not finish its {what} within {waited:?}")]
    Slow {
        /// `preface` or `message`.
        what: &'static str,
        /// The time limit.
        waited: Duration,
    },
    /// No message in either direction for [`Limits::idle`](crate::Limits::idle).
    #[error("no message in either direction for {waited:?}")]
    Idle {
        /// The time limit.
        waited: Duration,
    },
    /// The connection broke: the peer was killed, or a system call failed.
    #[error("the connection broke: {0}")]
    Broken(Arc<io::Error>),
}

impl CloseReason {
    /// Who is at fault; [`Fault::Nobody`] for a normal end.
    ///
    /// ```
    /// use msgpipe::{CloseReason, Fault};
    /// assert_eq!(CloseReason::PeerClosed.fault(), Fault::Nobody);
    /// ```
    pub fn fault(&self) -> Fault {
        match self {
            CloseReason::PeerClosed | CloseReason::Local => Fault::Nobody,
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

/// Who is at fault for a goodbye of the peer with this code.
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
            CloseReason::PeerClosed => io::Error::new(UnexpectedEof, ENDED).into(),
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

/// Whether a request was begun when its connection ended or its deadline passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Progress {
    /// The request was certainly not begun: its last byte was not sent, or the server read nothing of the
    /// connection.
    NotBegun,
    /// The request may have been carried out, partly or completely.
    Unknown,
    /// The error does not concern a request.
    NoRequest,
}

impl Progress {
    /// Whether a sent request may have been begun on a connection that ended for this reason.
    pub(crate) fn of(reason: &CloseReason) -> Progress {
        const NOT_READ: [u16; 3] =
            [GoodbyeCode::VERSION, GoodbyeCode::NOT_AUTHORIZED, GoodbyeCode::BUSY];
        match reason {
            CloseReason::Peer(FramingError::Goodbye { code, .. }) if NOT_READ.contains(code) => {
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
            Progress::NotBegun => "; the request or message was not begun",
            Progress::Unknown => "; the request or message may have been carried out",
            Progress::NoRequest => "",
        })
    }
}
