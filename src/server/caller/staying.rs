//! How long one client may keep the right to go over the limit of memory, while others wait for it.

use crate::account::Over;
use std::time::{Duration, Instant};

/// How long its client may take nothing while others wait for the same right. A running program takes something within
/// milliseconds.
const STALLED: Duration = Duration::from_secs(1);

/// The right of one client, and what it makes of it.
pub(super) struct Stay {
    _over: Over,
    /// The call whose next part goes over the limit.
    pub id: u32,
    since: Instant,
    /// When the client last took something of what waits for it.
    taken: Instant,
}

impl Stay {
    pub fn new(over: Over, id: u32, now: Instant) -> Stay {
        Stay { _over: over, id, since: now, taken: now }
    }

    /// The client has taken a piece of that part.
    pub fn takes(&mut self, now: Instant) {
        self.taken = now;
    }

    /// How long the others have waited in vain, if it is too long: since `wanted` for a client that takes nothing, and for
    /// one that takes little again and again, until it has had the time of a whole message (`most`).
    pub fn overdue(&self, wanted: Instant, now: Instant, most: Duration) -> Option<Duration> {
        let is_over = |from: Instant, limit: Duration| {
            let waited = now.saturating_duration_since(from.max(wanted));
            (waited >= limit).then_some(limit)
        };
        is_over(self.taken, STALLED.min(most)).or_else(|| is_over(self.since, most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Account, Limits, Peer};

    const MOST: Duration = Duration::from_secs(30);
    const NANO: Duration = Duration::from_nanos(1);

    fn stay(now: Instant) -> Stay {
        let share = Account::new(Limits::default()).share(&Peer::default());
        Stay::new(share.go_over().unwrap(), 2, now)
    }

    #[test]
    fn who_takes_nothing_has_a_second_from_when_others_wait() {
        let now = Instant::now();
        for wanted in [now, now + MOST * 2] {
            let stay = stay(now);
            assert_eq!(stay.overdue(wanted, wanted + STALLED - NANO, MOST), None);
            assert_eq!(stay.overdue(wanted, wanted + STALLED, MOST), Some(STALLED));
            assert_eq!(stay.overdue(wanted, wanted + STALLED + NANO, MOST), Some(STALLED));
        }
    }

    #[test]
    fn who_takes_something_has_a_second_from_then() {
        let now = Instant::now();
        let mut stay = stay(now);
        stay.takes(now + STALLED);
        assert_eq!(stay.overdue(now, now + STALLED * 2 - NANO, MOST), None);
        assert_eq!(stay.overdue(now, now + STALLED * 2, MOST), Some(STALLED));
    }

    /// The attacker takes a byte again and again.
    #[test]
    fn who_takes_little_again_and_again_has_the_time_of_a_message() {
        let now = Instant::now();
        for wanted in [now, now + MOST] {
            let mut stay = stay(now);
            for over in [MOST - NANO, MOST] {
                stay.takes(wanted + over);
                let ends = stay.overdue(wanted, wanted + over, MOST);
                assert_eq!(ends, (over == MOST).then_some(MOST));
            }
        }
    }

    /// Others have waited long, but for those before it.
    #[test]
    fn the_time_of_those_before_does_not_count() {
        let now = Instant::now();
        let stay = stay(now + MOST * 3);
        assert_eq!(stay.overdue(now, now + MOST * 3 + STALLED - NANO, MOST), None);
    }

    #[test]
    fn the_right_is_wanted_from_a_refusal_until_it_is_given() {
        let share = Account::new(Limits::default()).share(&Peer::default());
        let over = share.go_over();
        assert!(over.is_some() && !share.is_over_wanted());
        assert!(share.go_over().is_none() && share.is_over_wanted());
        drop(over);
        assert!(share.is_over_wanted(), "who was refused has not got it");
        assert!(share.go_over().is_some() && !share.is_over_wanted());
    }
}
