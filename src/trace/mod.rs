//! The spans of calls and requests; without the feature `tracing` there are none, and these types have no size.
#![forbid(unsafe_code)]

#[cfg(not(feature = "tracing"))]
mod off;
#[cfg(feature = "tracing")]
mod on;

#[cfg(not(feature = "tracing"))]
pub(crate) use off::{CallSpan, Entered, RequestSpan, closed, connected};
#[cfg(feature = "tracing")]
pub(crate) use on::{CallSpan, Entered, RequestSpan, closed, connected};

use crate::counts::CallEnd;
use crate::error::Error;

/// How a call of this side has ended.
fn end_of<T>(result: &Result<T, Error>) -> CallEnd {
    match result {
        Ok(_) => CallEnd::Replied,
        Err(Error::Answered { .. }) => CallEnd::Failed,
        Err(Error::Deadline { .. }) => CallEnd::Late,
        Err(_) => CallEnd::Closed,
    }
}

impl CallSpan {
    /// The call has this outcome.
    pub fn outcome<T>(&self, result: &Result<T, Error>) {
        self.ends(end_of(result));
    }
}
