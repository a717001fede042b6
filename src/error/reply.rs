//! Answers that are errors.

use super::Fault;
use crate::text::escaped;

/// An answer that says why there is no other.
///
/// Codes below 100 are this crate's; an application takes its own from 100 on. Of a handler every code
/// below 100 is sent as [`FAILED`](ErrorReply::FAILED).
///
/// ```
/// let reply = msgpipe::ErrorReply::new(404, "no such note");
/// assert_eq!(reply.to_string(), "error 404: no such note");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("error {code}: {}", escaped(text))]
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
    /// The answer is over the limit of this connection. The request was carried out.
    pub const REPLY_TOO_LARGE: u16 = 5;
    /// So much waited to be read that there was no memory for the answer
    /// ([`Limits::memory`](crate::Limits::memory)). The request was carried out.
    pub const REPLY_DROPPED: u16 = 6;

    /// An error reply with this code and text.
    pub fn new(code: u16, text: impl Into<String>) -> ErrorReply {
        ErrorReply { code, text: text.into() }
    }

    /// Whose fault it is.
    pub(super) fn fault(&self) -> Fault {
        match self.code {
            ErrorReply::TOO_MANY_REQUESTS
            | ErrorReply::REPLY_TOO_LARGE
            | ErrorReply::REPLY_DROPPED => Fault::Limit,
            ErrorReply::STOPPING => Fault::Nobody,
            _ => Fault::Peer,
        }
    }

    /// The handler has panicked. With what text is for the server's own log.
    pub(crate) fn panicked() -> ErrorReply {
        ErrorReply::new(ErrorReply::FAILED, "the handler panicked")
    }
}
