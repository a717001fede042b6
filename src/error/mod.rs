//! Errors, sorted by who is at fault.
#![forbid(unsafe_code)]

mod reason;
mod reply;
#[cfg(test)]
mod tests;

pub use reason::{CloseReason, Progress};
pub use reply::ErrorReply;

use crate::endpoint::NameError;
use crate::framing::{FramingError, GoodbyeCode};
use crate::text::escaped;
use bytes::Bytes;
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Who has to do something about an [`Error`].
///
/// | who | what |
/// |---|---|
/// | `Caller` | a bad name; a message over a limit, the peer's too; a framing that cannot carry it; the other layer; goodbye `PROTOCOL`, `TOO_LARGE` |
/// | `Peer` | what it sent makes no sense, or stopped within a message; another version; an error of its handler; goodbye `VERSION`, and an application's own |
/// | `System` | what the system refused; a name that is taken or not safe; a server that is not trusted; goodbye `NOT_AUTHORIZED` |
/// | `Limit` | a time, a number or a size; error replies `TOO_MANY_REQUESTS`, `REPLY_TOO_LARGE`, `REPLY_DROPPED`; goodbyes `UNREAD`, `TOO_SLOW`, `IDLE`, `BUSY`; a message of the peer's over this side's limit |
/// | `Nobody` | no server; a normal end; goodbye and error reply `STOPPING` |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// The caller of this crate.
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

/// Why something did not work. Every text names the endpoint and says what to do; what a peer wrote is
/// in it with its control characters escaped. The `Debug` form is the same text, so that a `main` that
/// returns it prints something readable.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The name given cannot be a name, or not on this system.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Nothing listens there. Known at once, without waiting.
    #[error("no server at {endpoint} ({cause}): start it, or check the name")]
    NoServer {
        /// The endpoint.
        endpoint: Arc<str>,
        /// What the system said.
        cause: io::Error,
    },
    /// A server is there but has no place for another connection: it did not take this one within
    /// [`Limits::connect`](crate::Limits::connect), or said so and closed it. Nothing that was sent was
    /// looked at.
    #[error("{endpoint} is busy: {problem}")]
    Busy {
        /// The endpoint.
        endpoint: Arc<str>,
        /// What is taken and what to do.
        problem: String,
    },
    /// Another server has this name.
    #[error("{endpoint} is served already: stop the server that has it, or bind another name")]
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
    /// What was asked for does not go together.
    #[error("{endpoint}: {problem}")]
    Misuse {
        /// The endpoint.
        endpoint: Arc<str>,
        /// What does not go with what, and what to do.
        problem: String,
    },
    /// The operating system refused something.
    #[error("{endpoint}: {action} failed: {cause}")]
    System {
        /// The endpoint.
        endpoint: Arc<str>,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        cause: io::Error,
    },
    /// A message over the limit of this side or of the peer. It was not sent and is handed back.
    #[error(
        "{endpoint}: a message of {size} bytes is over the limit of {limit}: send less, or raise Limits::message, or that of the framing, on both sides"
    )]
    TooLarge {
        /// The endpoint.
        endpoint: Arc<str>,
        /// Its size in bytes, for a request with its envelope.
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
    /// It was not done in time. What is left of a request goes on its way all the same.
    #[error("{endpoint}: nothing came within {after:?}{progress}")]
    Deadline {
        /// The endpoint.
        endpoint: Arc<str>,
        /// The time that was given; more, if it took longer to notice.
        after: Duration,
        /// What is known of what was asked for.
        progress: Progress,
    },
    /// The server answered with an error.
    #[error("{endpoint} answered: {reply}")]
    Answered {
        /// The endpoint.
        endpoint: Arc<str>,
        /// The answer.
        reply: ErrorReply,
    },
    /// The connection has ended.
    #[error("{endpoint}: the connection has ended: {reason}{progress}")]
    Closed {
        /// The endpoint.
        endpoint: Arc<str>,
        /// Why.
        reason: CloseReason,
        /// What is known of the request that the error is about.
        progress: Progress,
    },
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error {
    /// Who has to do something about it; [`Fault`] has a table.
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
            Error::Name(_)
            | Error::Misuse { .. }
            | Error::TooLarge { .. }
            | Error::Unsendable { .. } => Fault::Caller,
            Error::NoServer { .. } => Fault::Nobody,
            Error::Busy { .. } | Error::TooManyCalls { .. } | Error::Deadline { .. } => {
                Fault::Limit
            }
            Error::AlreadyServed { .. } | Error::Insecure { .. } | Error::System { .. } => {
                Fault::System
            }
            Error::Answered { reply, .. } => reply.fault(),
            Error::Closed { reason, .. } => reason.fault(),
        }
    }

    /// The error that the server answered with, if that is what it is.
    ///
    /// ```no_run
    /// let client = msgpipe::Client::connect("com.example.notes")?;
    /// match client.call("note 7") {
    ///     Err(error) if error.reply().is_some_and(|reply| reply.code == 404) => println!("no such note"),
    ///     other => println!("{}", String::from_utf8_lossy(&other?)),
    /// }
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    pub fn reply(&self) -> Option<&ErrorReply> {
        match self {
            Error::Answered { reply, .. } => Some(reply),
            _ => None,
        }
    }

    /// Whether what was asked for was surely not begun, so that asking again cannot do it twice.
    ///
    /// ```
    /// let error = msgpipe::Client::connect("com.example.nobody.serves.this").unwrap_err();
    /// assert!(error.is_not_begun());
    /// ```
    pub fn is_not_begun(&self) -> bool {
        match self {
            Error::Answered { reply, .. } => {
                [ErrorReply::TOO_MANY_REQUESTS, ErrorReply::STOPPING].contains(&reply.code)
            }
            Error::Closed { progress, .. } | Error::Deadline { progress, .. } => {
                *progress == Progress::NotBegun
            }
            _ => true,
        }
    }

    /// A server that did not take the connection in this time.
    pub(crate) fn busy(endpoint: &Arc<str>, waited: Duration) -> Error {
        let problem = format!(
            "all its instances, or its backlog, were taken for {waited:?}; try later, or raise \
             Limits::connect"
        );
        Error::Busy { endpoint: endpoint.clone(), problem }
    }

    /// The time that was given is over; `began` is when it began.
    pub(crate) fn late(
        endpoint: &Arc<str>,
        given: Duration,
        began: Instant,
        progress: Progress,
    ) -> Error {
        let waited = Duration::from_millis(began.elapsed().as_millis() as u64);
        Error::Deadline { endpoint: endpoint.clone(), after: given.max(waited), progress }
    }

    /// A message that the framing refused.
    pub(crate) fn refused(endpoint: &Arc<str>, problem: FramingError, message: Bytes) -> Error {
        let endpoint = endpoint.clone();
        match problem {
            FramingError::TooLarge { size, limit } => {
                let size = usize::try_from(size).unwrap_or(usize::MAX);
                Error::TooLarge { endpoint, size, limit, message }
            }
            problem => Error::Unsendable { endpoint, problem, message },
        }
    }

    /// The connection has ended, for this reason.
    pub(crate) fn closed(endpoint: &Arc<str>, reason: CloseReason, progress: Progress) -> Error {
        let endpoint = endpoint.clone();
        match reason {
            CloseReason::Peer(FramingError::Goodbye { code: GoodbyeCode::BUSY, text }) => {
                Error::Busy { endpoint, problem: escaped(&text).into_owned() }
            }
            reason => Error::Closed { endpoint, reason, progress },
        }
    }

    pub(crate) fn no_server(endpoint: &Arc<str>, cause: io::Error) -> Error {
        Error::NoServer { endpoint: endpoint.clone(), cause }
    }

    pub(crate) fn system(endpoint: &Arc<str>, action: &'static str, cause: io::Error) -> Error {
        Error::System { endpoint: endpoint.clone(), action, cause }
    }
}

impl From<Infallible> for Error {
    fn from(never: Infallible) -> Error {
        match never {}
    }
}
