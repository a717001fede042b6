//! Errors, sorted by who is at fault.
#![forbid(unsafe_code)]

use crate::endpoint::NameError;
use crate::framing::{FramingError, GoodbyeCode};
use crate::message_server::Goodbye;
use bytes::Bytes;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Who has to do something about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// The caller of this crate: a bad name, a call after the end, a message over its own limit.
    Caller,
    /// The program at the other end.
    Peer,
    /// The operating system, or what it was set up to allow.
    System,
    /// A bound was reached: time, number or size. Trying again later may help.
    Limit,
    /// Nobody: a server that does not run, a connection that was closed in good order.
    Nobody,
}

/// Why something did not work. Every text names the endpoint and says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The name given cannot be a name, or not on this system.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Nothing listens there. Known at once, without waiting.
    #[error("no server at {endpoint} ({source}): start it, or check the name")]
    NoServer {
        /// The endpoint.
        endpoint: Arc<str>,
        /// What the system said.
        source: io::Error,
    },
    /// A server is there but did not take the connection within [`Limits::connect`](crate::Limits::connect).
    #[error(
        "{endpoint} was busy for {waited:?}: all its instances or its backlog are taken; try later or raise Limits::connect"
    )]
    Busy {
        /// The endpoint.
        endpoint: Arc<str>,
        /// How long it was tried.
        waited: Duration,
    },
    /// Another server has this name.
    #[error("{endpoint} is served already: stop that server, or bind another name")]
    AlreadyServed {
        /// The endpoint.
        endpoint: Arc<str>,
    },
    /// The endpoint could not be used without giving up what this crate promises.
    #[error("{endpoint} cannot be used: {problem}")]
    Insecure {
        /// The endpoint.
        endpoint: Arc<str>,
        /// What is wrong with it and what to do.
        problem: String,
    },
    /// The operating system refused something.
    #[error("{endpoint}: {action} failed: {source}")]
    System {
        /// The endpoint.
        endpoint: Arc<str>,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A message over the limit of this side or of the peer. It was not sent and is handed back.
    #[error(
        "{endpoint}: a message of {size} bytes is over the limit of {limit}: send less, or raise Limits::message, or that of the framing, on both sides"
    )]
    TooLarge {
        /// The endpoint.
        endpoint: Arc<str>,
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
        /// The message.
        message: Bytes,
    },
    /// A message that the framing cannot carry. It was not sent and is handed back.
    #[error("{endpoint}: the message cannot be sent: {problem}")]
    Unsendable {
        /// The endpoint.
        endpoint: Arc<str>,
        /// What is wrong with it.
        problem: FramingError,
        /// The message.
        message: Bytes,
    },
    /// [`Limits::in_flight`](crate::Limits::in_flight) calls are unanswered. The request was not
    /// sent and is handed back.
    #[error(
        "{endpoint}: {limit} calls are unanswered, the limit: wait for some, or raise Limits::in_flight on both sides"
    )]
    TooManyCalls {
        /// The endpoint.
        endpoint: Arc<str>,
        /// The limit.
        limit: usize,
        /// The request.
        request: Bytes,
    },
    /// No answer came in time. Whether the server did what was asked is not known.
    #[error("{endpoint}: nothing came within {after:?}")]
    Deadline {
        /// The endpoint.
        endpoint: Arc<str>,
        /// The time that was given.
        after: Duration,
    },
    /// The server answered with an error.
    #[error("{endpoint} answered: {reply}")]
    Answered {
        /// The endpoint.
        endpoint: Arc<str>,
        /// The answer.
        reply: ErrorReply,
    },
    /// The connection has ended. Whether requests without a reply were carried out is not known.
    #[error("{endpoint}: the connection has ended: {reason}")]
    Closed {
        /// The endpoint.
        endpoint: Arc<str>,
        /// Why.
        reason: CloseReason,
    },
}

impl Error {
    /// Who has to do something about it.
    ///
    /// ```
    /// use msgpipe::{Client, Fault};
    /// let error = Client::connect("no such/name").unwrap_err();
    /// assert_eq!(error.fault(), Fault::Caller);
    /// let error = Client::connect("com.example.nobody.serves.this").unwrap_err();
    /// assert_eq!(error.fault(), Fault::Nobody);
    /// ```
    pub fn fault(&self) -> Fault {
        match self {
            Error::Name(_) | Error::TooLarge { .. } | Error::Unsendable { .. } => Fault::Caller,
            Error::NoServer { .. } => Fault::Nobody,
            Error::Busy { .. } | Error::TooManyCalls { .. } | Error::Deadline { .. } => {
                Fault::Limit
            }
            Error::AlreadyServed { .. } | Error::Insecure { .. } | Error::System { .. } => {
                Fault::System
            }
            Error::Answered { .. } => Fault::Peer,
            Error::Closed { reason, .. } => reason.fault(),
        }
    }

    pub(crate) fn system(endpoint: &Arc<str>, action: &'static str, source: io::Error) -> Error {
        Error::System { endpoint: endpoint.clone(), action, source }
    }
}

impl From<Infallible> for Error {
    fn from(never: Infallible) -> Error {
        match never {}
    }
}

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
            CloseReason::Peer(FramingError::Goodbye { code: 0, .. }) => Fault::Nobody,
            CloseReason::Peer(_) | CloseReason::Protocol(_) => Fault::Peer,
            CloseReason::Unread { .. } | CloseReason::Slow { .. } | CloseReason::Idle { .. } => {
                Fault::Limit
            }
            CloseReason::Broken(_) => Fault::System,
        }
    }
}

impl CloseReason {
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

/// An answer that says why there is no other.
///
/// Codes below 100 are this crate's; an application takes its own from 100 on.
///
/// ```
/// let reply = msgpipe::ErrorReply::new(404, "no such note");
/// assert_eq!(reply.to_string(), "error 404: no such note");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("error {code}: {text}")]
#[non_exhaustive]
pub struct ErrorReply {
    /// Its number.
    pub code: u16,
    /// The reason in words.
    pub text: String,
}

impl ErrorReply {
    /// The handler failed and gave no code of its own.
    pub const FAILED: u16 = 1;
    /// The handler dropped its [`Responder`](crate::Responder) without an answer.
    pub const UNANSWERED: u16 = 2;
    /// [`Limits::in_flight`](crate::Limits::in_flight) requests of this client were unanswered.
    pub const TOO_MANY_REQUESTS: u16 = 3;
    /// The server stops and takes no new requests.
    pub const STOPPING: u16 = 4;
    /// The answer is over the limit of this connection.
    pub const REPLY_TOO_LARGE: u16 = 5;

    /// An error reply with this code and text.
    pub fn new(code: u16, text: impl Into<String>) -> ErrorReply {
        ErrorReply { code, text: text.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_has_one_at_fault_and_names_the_endpoint() {
        let endpoint: Arc<str> = "the notes server".into();
        let source = || io::Error::from(io::ErrorKind::NotFound);
        let closed = |reason| Error::Closed { endpoint: endpoint.clone(), reason };
        let goodbye = |code| FramingError::Goodbye { code, text: "bye".into() };
        let cases = [
            (Error::NoServer { endpoint: endpoint.clone(), source: source() }, Fault::Nobody),
            (Error::Busy { endpoint: endpoint.clone(), waited: Duration::ZERO }, Fault::Limit),
            (Error::AlreadyServed { endpoint: endpoint.clone() }, Fault::System),
            (Error::system(&endpoint, "reading", source()), Fault::System),
            (closed(CloseReason::Finished), Fault::Nobody),
            (closed(goodbye(0).into()), Fault::Nobody),
            (closed(goodbye(1).into()), Fault::Peer),
            (closed(CloseReason::Protocol("nonsense".into())), Fault::Peer),
            (closed(CloseReason::Unread { waited: Duration::ZERO }), Fault::Limit),
            (closed(source().into()), Fault::System),
        ];
        for (error, fault) in cases {
            assert_eq!(error.fault(), fault, "{error}");
            assert!(error.to_string().contains("the notes server"), "{error}");
        }
    }
}
