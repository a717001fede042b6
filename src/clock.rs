//! The clock of the crate. All of `src/` and the in-memory transport read the time here.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

/// The time.
#[inline]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// How long ago that was.
#[inline]
pub(crate) fn since(then: Instant) -> Duration {
    now().saturating_duration_since(then)
}
