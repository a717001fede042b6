//! The clock of the crate. All of `src/` and the in-memory transport read the time here.
//!
//! With the feature `test-util` a thread may have a clock of its own, which stands still until it is moved: that of a
//! [`Simulation`](crate::memory::Simulation). Without it this is the system's clock, at no cost.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

#[cfg(feature = "test-util")]
mod of_the_thread {
    use std::cell::Cell;
    use std::time::Instant;

    thread_local! {
        // Clippy for Windows does not see the `const` (rust-clippy 1.96).
        #[allow(clippy::missing_const_for_thread_local)]
        static TIME: Cell<Option<Instant>> = const { Cell::new(None) };
    }

    /// The time of this thread, if it has a clock of its own.
    pub(crate) fn own() -> Option<Instant> {
        TIME.get()
    }

    /// Sets the time of this thread. `None`: it has the system's clock again.
    pub(crate) fn set(time: Option<Instant>) {
        TIME.set(time);
    }
}

#[cfg(feature = "test-util")]
pub(crate) use of_the_thread::{own, set};

/// The time of this thread's clock, if that is not the system's.
#[cfg(not(feature = "test-util"))]
#[inline(always)]
pub(crate) const fn own() -> Option<Instant> {
    None
}

/// The time.
#[inline]
pub(crate) fn now() -> Instant {
    own().unwrap_or_else(Instant::now)
}

/// How long ago that was.
#[inline]
pub(crate) fn since(then: Instant) -> Duration {
    now().saturating_duration_since(then)
}
