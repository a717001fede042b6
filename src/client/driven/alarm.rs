//! When the driver looks by itself, so that a new deadline need not wake it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The driver looks now, or has never looked: what it sees, it may have seen already.
const LOOKING: u64 = 0;

/// Nothing will make the driver look but a wake.
const NEVER: u64 = u64::MAX;

/// The time at which the driver looks for deadlines that are over.
pub(super) struct Alarm {
    /// What times are counted from.
    origin: Instant,
    /// Nanoseconds since then.
    at: AtomicU64,
}

impl Alarm {
    pub fn new(origin: Instant) -> Alarm {
        Alarm { origin, at: AtomicU64::new(LOOKING) }
    }

    /// The driver is about to look. Deadlines that are there before this are seen.
    pub fn looks(&self) {
        self.at.store(LOOKING, Ordering::SeqCst);
    }

    /// The driver has looked, and will do so again at this time.
    pub fn sleeps(&self, until: Option<Instant>) {
        let at = until.map_or(NEVER, |until| {
            let nanos = until.saturating_duration_since(self.origin).as_nanos();
            u64::try_from(nanos).unwrap_or(NEVER).max(1)
        });
        self.at.store(at, Ordering::SeqCst);
    }

    /// Whether the driver will look by this deadline, without being woken. Asked when the deadline can be seen by it.
    pub fn is_by(&self, deadline: Instant) -> bool {
        match self.at.load(Ordering::SeqCst) {
            LOOKING | NEVER => false,
            at => self.origin + Duration::from_nanos(at) <= deadline,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_time_that_is_not_after_the_deadline_counts() {
        let origin = Instant::now();
        let at = |seconds| origin + Duration::from_secs(seconds);
        let alarm = Alarm::new(origin);
        assert!(!alarm.is_by(at(100)), "it has never looked");
        alarm.sleeps(Some(at(10)));
        assert_eq!([9, 10, 11].map(|deadline| alarm.is_by(at(deadline))), [false, true, true]);
        alarm.sleeps(Some(origin));
        assert!(alarm.is_by(at(1)));
        alarm.sleeps(None);
        assert!(!alarm.is_by(at(100)), "it sleeps without an end");
        alarm.sleeps(Some(at(10)));
        alarm.looks();
        assert!(!alarm.is_by(at(100)), "it looks now");
    }
}
