//! How long a call or a subscription waits.

use std::time::{Duration, Instant};

/// The longest single wait of who has no deadline.
const WAIT: Duration = Duration::from_secs(3600);

/// Until when somebody waits, and for how long that is.
#[derive(Clone, Copy)]
pub(crate) struct Patience {
    pub began: Instant,
    /// `None`: only the number of tries ends it.
    pub given: Option<Duration>,
}

impl Patience {
    pub fn until(&self) -> Option<Instant> {
        self.given.map(|given| self.began + given)
    }

    pub fn is_over(&self, now: Instant) -> bool {
        self.until().is_some_and(|until| until <= now)
    }

    pub fn left(&self, now: Instant) -> Duration {
        self.until().map_or(WAIT, |until| until.saturating_duration_since(now))
    }
}
