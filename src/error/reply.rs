//! Error replies.

use super::Fault;
use crate::text::escaped;
use bytes::Bytes;

/// A reply that reports an error: a code, a text for people, and details for programs.
///
/// Codes below 100 belong to this crate; an application uses codes from 100 on. A code below 100 from a
/// handler is sent as [`FAILED`](ErrorReply::FAILED).
///
/// ```
/// let reply = msgpipe::ErrorReply::new(404, "no such note");
/// assert_eq!(reply.to_string(), "error 404: no such note");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("error {code}: {}", escaped(text))]
#[non_exhaustive]
pub struct ErrorReply {
    /// The code of the error.
    pub code: u16,
    /// The human-readable reason. At most 4096 bytes are sent.
    pub text: String,
    /// What a program needs to handle the error, in a form that the application defines. Empty if there is none.
    pub details: Bytes,
}

impl ErrorReply {
    /// The handler failed and gave no code of its own.
    pub const FAILED: u16 = 1;
    /// The handler dropped its [`Responder`](crate::Responder) without a reply.
    pub const UNANSWERED: u16 = 2;
    /// [`Limits::in_flight`](crate::Limits::in_flight) requests of this client were in flight. The request
    /// was not begun.
    pub const TOO_MANY_REQUESTS: u16 = 3;
    /// The server stops and begins no new requests.
    pub const STOPPING: u16 = 4;
    /// The reply is over the limit of this connection. The request was carried out.
    pub const REPLY_TOO_LARGE: u16 = 5;
    /// Unread replies left no memory for this one ([`Limits::memory`](crate::Limits::memory)). The request
    /// was carried out.
    pub const REPLY_DROPPED: u16 = 6;
    /// The [workers](crate::Workers) of the server are busy, and as many requests wait for them as may. The
    /// request was not begun: try again later.
    pub const BUSY: u16 = 7;
    /// All [workers](crate::Workers) of the server wait in calls, and the request comes from such a call: it would
    /// wait for itself. The request was not begun.
    pub const TOO_NESTED: u16 = 8;
    /// The subscriber did not take what was published ([`WhenFull::Close`](crate::WhenFull::Close)). It can subscribe
    /// again.
    pub const LAGGED: u16 = 9;
    /// The request has parts, and the server takes only requests of one message
    /// ([`Server::accept_streams`](crate::Server::accept_streams)). The request was not begun.
    pub const PARTS_REFUSED: u16 = 10;
    /// The server does not show this to the client ([`monitor`](crate::monitor)). The request was not begun.
    pub const NOT_ALLOWED: u16 = 11;
    /// The server has no such method. The request was not begun.
    pub const NO_METHOD: u16 = 12;
    /// The reply has several parts, and the call takes one message, as [`Client::call`](crate::Client::call) does:
    /// [`Client::stream`](crate::Client::stream) takes the parts. The request was begun, and the rest of the reply is cancelled. This
    /// side says so, not the peer.
    pub const REPLY_IN_PARTS: u16 = 13;

    /// An error reply with this code and text.
    pub fn new(code: u16, text: impl Into<String>) -> ErrorReply {
        ErrorReply { code, text: text.into(), details: Bytes::new() }
    }

    /// The same error with details. If text and details have more than 16 KiB together, the details are not
    /// sent.
    ///
    /// ```
    /// let reply = msgpipe::ErrorReply::new(404, "no such note").with_details(vec![7]);
    /// assert_eq!(reply.details[..], [7]);
    /// ```
    #[must_use]
    pub fn with_details(self, details: impl Into<Bytes>) -> ErrorReply {
        ErrorReply { details: details.into(), ..self }
    }

    /// Whether the server has refused the request before it was begun.
    pub(super) fn is_not_begun(&self) -> bool {
        const REFUSED: [u16; 7] = [
            ErrorReply::NOT_ALLOWED,
            ErrorReply::NO_METHOD,
            ErrorReply::PARTS_REFUSED,
            ErrorReply::TOO_MANY_REQUESTS,
            ErrorReply::STOPPING,
            ErrorReply::BUSY,
            ErrorReply::TOO_NESTED,
        ];
        REFUSED.contains(&self.code)
    }

    /// Who is at fault.
    pub(super) fn fault(&self) -> Fault {
        match self.code {
            ErrorReply::TOO_MANY_REQUESTS
            | ErrorReply::REPLY_TOO_LARGE
            | ErrorReply::REPLY_DROPPED
            | ErrorReply::BUSY
            | ErrorReply::TOO_NESTED
            | ErrorReply::LAGGED => Fault::Limit,
            ErrorReply::STOPPING => Fault::Nobody,
            ErrorReply::PARTS_REFUSED
            | ErrorReply::NOT_ALLOWED
            | ErrorReply::NO_METHOD
            | ErrorReply::REPLY_IN_PARTS => Fault::Caller,
            _ => Fault::Peer,
        }
    }

    /// An error of the application, as it is sent. The codes below 100 belong to this crate, and some of them say that
    /// a request was not begun. A handler that forwards another server's error reply must not claim that by accident.
    pub(crate) fn of_application(self) -> ErrorReply {
        match self.code {
            0 | 2..=99 => ErrorReply { code: ErrorReply::FAILED, ..self },
            _ => self,
        }
    }

    /// The handler has panicked. The panic's text stays in the server's own log.
    pub(crate) fn panicked() -> ErrorReply {
        ErrorReply::new(ErrorReply::FAILED, "the handler panicked")
    }
}
