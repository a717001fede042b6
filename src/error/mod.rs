//! Errors, sorted by who is at fault.
#![forbid(unsafe_code)]

mod reason;
mod reply;
mod start;
#[cfg(test)]
mod tests;

pub use reason::{CloseReason, Progress};
pub use reply::ErrorReply;
pub use start::{STDERR_LINES, StartError};

use crate::clock;
use crate::endpoint::NameError;
use crate::framing::{FramingError, GoodbyeCode};
use crate::text::escaped;
use bytes::Bytes;
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Who is at fault for an [`Error`], and so can repair it.
///
/// | who | errors |
/// |---|---|
/// | `Caller` | an invalid name; a message over a limit of this side or of the peer; a message that the framing cannot carry; the wrong layer; error replies `PARTS_REFUSED`, `NOT_ALLOWED`, `NO_METHOD`, `REPLY_IN_PARTS`; goodbyes `PROTOCOL`, `TOO_LARGE` |
/// | `Peer` | invalid bytes, or an end inside a message; no common version; an error of its handler; a start that ended with a failure; goodbye `VERSION`, and an application's own codes |
/// | `System` | a refused system call; a command that cannot be run; a name that is taken or not safe; a server that is not trusted; goodbye `NOT_AUTHORIZED` |
/// | `Limit` | a limit of time, number or size; a started server that does not serve in time; error replies `TOO_MANY_REQUESTS`, `REPLY_TOO_LARGE`, `REPLY_DROPPED`, `BUSY`, `TOO_NESTED`, `LAGGED`; goodbyes `UNREAD`, `TOO_SLOW`, `IDLE`, `BUSY`; a message of the peer over this side's limit |
/// | `Nobody` | no server; a normal end; a request that was stopped; goodbye and error reply `STOPPING` |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// The program that calls this crate.
    Caller,
    /// The program at the other end.
    Peer,
    /// The operating system, or its configuration.
    System,
    /// A limit was reached: time, number or size. Trying again later may help.
    Limit,
    /// Nobody: no server runs, or the connection was closed normally.
    Nobody,
}

/// Why an operation failed. Every text names the endpoint and says what to do. Control characters in a
/// peer's text are escaped. The `Debug` form is the same text, so that a `main` that returns it prints
/// something readable.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The name is invalid, or is not supported on this system.
    #[error(transparent)]
    Name(#[from] NameError),
    /// No server listens at the endpoint. Returned at once, without waiting.
    #[error("no server at {endpoint} ({cause}): start it, or check the name")]
    NoServer {
        /// The endpoint.
        endpoint: Arc<str>,
        /// The error of the system.
        cause: io::Error,
    },
    /// No server listened at the endpoint, and it could not be [started](crate::Start).
    #[error("no server at {endpoint}, and it could not be started: {problem}")]
    NotStarted {
        /// The endpoint.
        endpoint: Arc<str>,
        /// What went wrong, and what to do.
        problem: StartError,
    },
    /// The server is at its limit of connections: it did not accept this one within
    /// [`Limits::connect`](crate::Limits::connect), or closed it with the goodbye
    /// [`GoodbyeCode::BUSY`]. The server read nothing of this connection.
    #[error("{endpoint} is busy: {problem}")]
    Busy {
        /// The endpoint.
        endpoint: Arc<str>,
        /// Which limit was reached, and what to do.
        problem: String,
    },
    /// Another server has this name.
    #[error("{endpoint} is served already: stop the server that has it, or bind another name")]
    AlreadyServed {
        /// The endpoint.
        endpoint: Arc<str>,
    },
    /// Using the endpoint would break a promise of `docs/SECURITY.md`.
    #[error("{endpoint} cannot be used: {problem}")]
    Insecure {
        /// The endpoint.
        endpoint: Arc<str>,
        /// What is wrong with it and what to do.
        problem: String,
    },
    /// Two options contradict each other, or the call does not fit the state of this process: its standard input has been
    /// taken, or is no connection to a parent.
    #[error("{endpoint}: {problem}")]
    Misuse {
        /// The endpoint.
        endpoint: Arc<str>,
        /// What does not fit, and what to do.
        problem: String,
    },
    /// A call of the operating system failed.
    #[error("{endpoint}: {action} failed: {cause}")]
    System {
        /// The endpoint.
        endpoint: Arc<str>,
        /// The action that failed.
        action: &'static str,
        /// The error of the system.
        cause: io::Error,
    },
    /// The message is over the limit of this side or of the peer. It was not sent and is returned here.
    #[error(
        "{endpoint}: a message of {size} bytes is over the limit of {limit}: send less, or raise Limits::message, or that of the framing, on both sides"
    )]
    TooLarge {
        /// The endpoint.
        endpoint: Arc<str>,
        /// The size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
        /// The message.
        message: Bytes,
    },
    /// A part of a request is over the server's limit. It was not sent and is returned here; the request goes on
    /// without it.
    #[error(
        "{endpoint}: a part of {size} bytes is over the server's limit of {limit}: send smaller parts, or raise Limits::message on both sides"
    )]
    PartTooLarge {
        /// The endpoint.
        endpoint: Arc<str>,
        /// The size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
        /// The part.
        part: Bytes,
    },
    /// The framing cannot carry the message. It was not sent and is returned here.
    #[error("{endpoint}: the message cannot be sent: {problem}")]
    Unsendable {
        /// The endpoint.
        endpoint: Arc<str>,
        /// Why the framing cannot carry it.
        problem: FramingError,
        /// The message.
        message: Bytes,
    },
    /// [`Limits::in_flight`](crate::Limits::in_flight) calls are in flight. The request was not
    /// sent and is returned here.
    #[error(
        "{endpoint}: {limit} calls are in flight, the limit, with cancelled ones that are still worked on: wait for some, or raise Limits::in_flight on both sides"
    )]
    TooManyCalls {
        /// The endpoint.
        endpoint: Arc<str>,
        /// The limit.
        limit: usize,
        /// The request.
        request: Bytes,
    },
    /// So many bytes of notifications, or of a server's calls to a client, wait that this one is not taken. It is
    /// returned here.
    #[error(
        "{endpoint}: {limit} bytes wait for the peer already, the limit: it takes them more slowly; send less, wait (Client::notify_within), or raise Limits::queued (for calls of a server Limits::connection_window)"
    )]
    Full {
        /// The endpoint.
        endpoint: Arc<str>,
        /// The limit in bytes, with 64 for each notification.
        limit: usize,
        /// The message.
        message: Bytes,
    },
    /// The deadline passed before the operation was done. The unsent rest of a request is sent later.
    #[error("{endpoint}: timed out after {after:?}{progress}")]
    Deadline {
        /// The endpoint.
        endpoint: Arc<str>,
        /// The time that was given, or more if the deadline was noticed late.
        after: Duration,
        /// Whether the request was begun.
        progress: Progress,
    },
    /// The server takes no more of a request of parts: it has answered, or does not want the rest. What was sent was
    /// begun; the reply says more.
    #[error("{endpoint} takes no more of this request: finish it, and read its reply")]
    Stopped {
        /// The endpoint.
        endpoint: Arc<str>,
    },
    /// The server sent an error reply.
    #[error("{endpoint} answered: {reply}")]
    Answered {
        /// The endpoint.
        endpoint: Arc<str>,
        /// The error reply.
        reply: ErrorReply,
    },
    /// A client that reconnects has tried as often, or for as long, as it may.
    #[error("{}{}; the last one: {last}", gave_up(*tries, *time), of_all(*progress))]
    GaveUp {
        /// The number of tries that have failed.
        tries: u32,
        /// What has ended it: the time that the call had; `None`: the number of tries.
        time: Option<Duration>,
        /// The error of the last one.
        last: Arc<Error>,
        /// Whether the request was begun, in any of the tries.
        progress: Progress,
    },
    /// The connection has ended.
    #[error("{endpoint}: the connection has ended: {reason}{progress}")]
    Closed {
        /// The endpoint.
        endpoint: Arc<str>,
        /// Why the connection has ended.
        reason: CloseReason,
        /// Whether the request was begun.
        progress: Progress,
    },
}

/// Why there is no other try.
fn gave_up(tries: u32, time: Option<Duration>) -> String {
    let tries = if tries == 1 { "1 try".to_owned() } else { format!("{tries} tries") };
    match time {
        None => format!("gave up after {tries}"),
        Some(time) => format!("gave up after {time:?}, with {tries}"),
    }
}

/// What is known of a request after all its tries.
fn of_all(progress: Progress) -> &'static str {
    match progress {
        Progress::Unknown => ", in one of which the request may have been carried out",
        _ => "",
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error {
    /// Who is at fault; [`Fault`] has a table.
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
            | Error::PartTooLarge { .. }
            | Error::Unsendable { .. } => Fault::Caller,
            Error::NoServer { .. } | Error::Stopped { .. } => Fault::Nobody,
            Error::Busy { .. }
            | Error::TooManyCalls { .. }
            | Error::Full { .. }
            | Error::Deadline { .. } => Fault::Limit,
            Error::AlreadyServed { .. } | Error::Insecure { .. } | Error::System { .. } => {
                Fault::System
            }
            Error::NotStarted { problem, .. } => problem.fault(),
            Error::GaveUp { last, .. } => last.fault(),
            Error::Answered { reply, .. } => reply.fault(),
            Error::Closed { reason, .. } => reason.fault(),
        }
    }

    /// The error reply of the server, if this error is one.
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
            Error::GaveUp { last, .. } => last.reply(),
            _ => None,
        }
    }

    /// Whether the request was certainly not begun. It can then be sent again without being carried out twice.
    ///
    /// ```
    /// let error = msgpipe::Client::connect("com.example.nobody.serves.this").unwrap_err();
    /// assert!(error.is_not_begun());
    /// ```
    pub fn is_not_begun(&self) -> bool {
        match self {
            Error::Answered { reply, .. } => reply.is_not_begun(),
            Error::Closed { progress, .. }
            | Error::Deadline { progress, .. }
            | Error::GaveUp { progress, .. } => *progress == Progress::NotBegun,
            // It may be said of a call that is running, or of its outcome.
            Error::Stopped { .. } | Error::PartTooLarge { .. } | Error::Misuse { .. } => false,
            _ => true,
        }
    }

    /// The server did not accept the connection in this time.
    pub(crate) fn busy(endpoint: &Arc<str>, waited: Duration) -> Error {
        let problem = format!(
            "all its instances were in use, or its backlog was full, for {waited:?}; try later, or \
             raise Limits::connect"
        );
        Error::Busy { endpoint: endpoint.clone(), problem }
    }

    /// The deadline `given` after `began` has passed.
    pub(crate) fn late(
        endpoint: &Arc<str>,
        given: Duration,
        began: Instant,
        progress: Progress,
    ) -> Error {
        let waited = Duration::from_millis(clock::since(began).as_millis() as u64);
        Error::Deadline { endpoint: endpoint.clone(), after: given.max(waited), progress }
    }

    /// The framing refused the message.
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

    /// The connection has ended for this reason.
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
