//! The errors of calls: of those that were not begun, and of those that have ended.

use super::given::Given;
use super::pending::{NotBegun, Outcome};
use crate::body::Body;
use crate::error::{CloseReason, Error, ErrorReply, Progress};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Whether a call of a connection that has ended for this reason was begun, with a request that ends at this position.
pub(super) fn progress_at(given: &Given, end: u64, reason: &CloseReason) -> Progress {
    match given.is_surely_unsent(end) {
        true => Progress::NotBegun,
        false => Progress::of(reason),
    }
}

/// The error of a call with this outcome. `time`: what it had.
pub(super) fn ended(
    endpoint: &Arc<str>,
    given: &Given,
    outcome: Outcome,
    end: u64,
    began: Instant,
    time: Duration,
) -> Error {
    match outcome {
        Outcome::Error(reply) => Error::Answered { endpoint: endpoint.clone(), reply: *reply },
        Outcome::Closed(reason) => {
            let progress = progress_at(given, end, &reason);
            Error::closed(endpoint, *reason, progress)
        }
        Outcome::Deadline(progress) => Error::late(endpoint, time, began, progress),
        Outcome::Reply(_) | Outcome::End => Error::late(endpoint, time, began, Progress::Unknown),
    }
}

/// The error of a call that was not begun for this reason, or the failure of its connection.
pub(super) fn not_begun<'a>(
    endpoint: &Arc<str>,
    why: NotBegun,
    request: impl FnOnce() -> Body<'a>,
) -> Result<Error, super::channel::Failure> {
    let of = endpoint.clone();
    Ok(match why {
        NotBegun::TooMany { limit } => {
            Error::TooManyCalls { endpoint: of, limit, request: request().into_bytes() }
        }
        NotBegun::Closed(reason) => Error::closed(endpoint, reason, Progress::NotBegun),
        NotBegun::Draining => {
            let reply = ErrorReply::new(ErrorReply::STOPPING, "the server stops");
            Error::Answered { endpoint: of, reply }
        }
        NotBegun::TooLarge { limit } => {
            let request = request();
            let (size, message) = (request.len(), request.into_bytes());
            Error::TooLarge { endpoint: of, size, limit, message }
        }
        NotBegun::Full { limit } => {
            Error::Full { endpoint: of, limit, message: request().into_bytes() }
        }
        NotBegun::Refused(problem) => Error::refused(endpoint, problem, request().into_bytes()),
        NotBegun::Unsent(failure) => return Err(failure),
    })
}
