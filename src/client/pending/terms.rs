//! What a call begins with, and why it may not.

use crate::client::channel::Failure;
use crate::error::CloseReason;
use crate::exchange::{Metadata, OpenError};
use crate::framing::FramingError;
use std::time::Instant;

/// What calls have besides their requests.
#[derive(Clone, Copy, Debug)]
pub(in crate::client) struct Terms<'m> {
    pub began: Instant,
    /// `None`: the server may take any time.
    pub deadline: Option<Instant>,
    pub method: u32,
    pub metadata: &'m Metadata,
    /// The reply has any number of parts.
    pub has_parts: bool,
    /// A place is kept for it.
    pub is_kept: bool,
}

/// Why a call was not begun.
#[derive(Debug)]
pub(in crate::client) enum NotBegun {
    TooMany {
        limit: usize,
    },
    /// The server begins no more calls.
    Draining,
    /// Over the limit of the server.
    TooLarge {
        limit: usize,
    },
    /// So many bytes of notifications wait.
    Full {
        limit: usize,
    },
    Closed(CloseReason),
    Refused(FramingError),
    Unsent(Failure),
}

impl From<Failure> for NotBegun {
    fn from(failure: Failure) -> NotBegun {
        NotBegun::Unsent(failure)
    }
}

impl From<OpenError> for NotBegun {
    fn from(error: OpenError) -> NotBegun {
        match error {
            OpenError::TooMany { limit } => NotBegun::TooMany { limit },
            OpenError::Draining => NotBegun::Draining,
            OpenError::TooLarge { limit } => NotBegun::TooLarge { limit },
        }
    }
}
