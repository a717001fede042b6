//! What can go wrong on the way through the engine, and whether the request was begun.

use msgpipe::ErrorReply;
use std::sync::Arc;
use std::time::Duration;

/// Why a call, or connecting, failed. Each text says what happened, what to do, and whether a call may be repeated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No engine could be reached. Nothing was sent.
    #[error(
        "no NATS engine at {engine} ({cause}): start it, or check the address and the credentials"
    )]
    NoEngine {
        /// Its addresses, without credentials.
        engine: Arc<str>,
        /// What async-nats says.
        cause: async_nats::ConnectError,
    },
    /// The connection to the engine is down; it is being made again. Nothing was sent.
    #[error("the NATS engine at {engine} is away: nothing was sent, try again later")]
    Away {
        /// Its addresses, without credentials.
        engine: Arc<str>,
    },
    /// No instance of the service is connected to the engine, which says so itself. Nothing was begun.
    #[error("no instance serves {service}: start one; nothing was begun")]
    NoInstance {
        /// The service.
        service: Arc<str>,
    },
    /// The request is over the engine's limit. It was not sent.
    #[error(
        "{service}: a request of {size} bytes with its headers is over the engine's limit of {limit}: send less, or raise max_payload of the NATS server; nothing was sent"
    )]
    TooLarge {
        /// The service.
        service: Arc<str>,
        /// The size of the body in bytes; the headers come on top.
        size: usize,
        /// The engine's `max_payload` in bytes.
        limit: usize,
    },
    /// As many calls of this client are in flight as may. Nothing was sent.
    #[error("{service}: {limit} calls are in flight, the limit: wait for some; nothing was sent")]
    TooManyCalls {
        /// The service.
        service: Arc<str>,
        /// The limit, [`IN_FLIGHT`](crate::IN_FLIGHT).
        limit: usize,
    },
    /// There was no reply in the time of the call.
    #[error("{service}: no reply within {after:?}: {}", begun(*not_begun))]
    Late {
        /// The service.
        service: Arc<str>,
        /// The time of the call.
        after: Duration,
        /// Whether it was certainly not sent.
        not_begun: bool,
    },
    /// The connection to the engine ended while the call waited. Its reply, if there is one, is lost.
    #[error(
        "{service}: the connection to the NATS engine at {engine} was lost before the reply: the request may have been carried out; repeat it only if that does no harm"
    )]
    Lost {
        /// The service.
        service: Arc<str>,
        /// The engine's addresses, without credentials.
        engine: Arc<str>,
    },
    /// The instance answered with an error.
    #[error("{service} answered: {reply}: {}", begun(*not_begun))]
    Answered {
        /// The service.
        service: Arc<str>,
        /// Its code, text and details.
        reply: ErrorReply,
        /// Whether the instance says that it did not begin the request.
        not_begun: bool,
    },
    /// A name or an option does not fit, or async-nats refused it.
    #[error("{problem}")]
    Misuse {
        /// What does not fit, and what to do.
        problem: String,
    },
}

fn begun(not_begun: bool) -> &'static str {
    match not_begun {
        true => "it was not begun, and can be repeated",
        false => "it may have been carried out; repeat it only if that does no harm",
    }
}

impl Error {
    /// Whether the request was certainly not begun. It can then be sent again without being carried out twice.
    ///
    /// ```
    /// let error = msgpipe_nats::Error::NoInstance { service: "notes".into() };
    /// assert!(error.is_not_begun());
    /// ```
    pub fn is_not_begun(&self) -> bool {
        match self {
            Error::Late { not_begun, .. } | Error::Answered { not_begun, .. } => *not_begun,
            Error::Lost { .. } => false,
            _ => true,
        }
    }

    /// The error reply of the instance, if it was one.
    pub fn reply(&self) -> Option<&ErrorReply> {
        match self {
            Error::Answered { reply, .. } => Some(reply),
            _ => None,
        }
    }
}

/// The code of an error reply of [`NatsClient::forward`](crate::NatsClient::forward): the request got no further than the
/// text says, and was not begun.
pub const NOT_BEGUN: u16 = 65_001;

/// The code of an error reply of [`NatsClient::forward`](crate::NatsClient::forward): there was no answer of the handler, and
/// the request may have been carried out.
pub const UNKNOWN: u16 = 65_002;

impl From<Error> for ErrorReply {
    /// For a local client behind a bridge: what a handler has answered as it is, all else as [`NOT_BEGUN`] or [`UNKNOWN`].
    fn from(error: Error) -> ErrorReply {
        match error {
            Error::Answered { reply, not_begun: false, .. }
                if reply.code == ErrorReply::FAILED || reply.code >= 100 =>
            {
                reply
            }
            error => {
                let code = if error.is_not_begun() { NOT_BEGUN } else { UNKNOWN };
                ErrorReply::new(code, error.to_string())
            }
        }
    }
}
