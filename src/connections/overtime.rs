//! When a poll ends that always finds something to do.

use std::time::{Duration, Instant};

/// How much longer than its timeout a poll may take that has bytes to read and no event to return. It lets a
/// poll that does not wait return what has arrived within its timeout.
const OVERTIME: Duration = Duration::from_millis(1);

/// Whether the time of a poll is over at `now`. `is_busy`: there is something to do.
pub(crate) fn is_over(until: Option<Instant>, is_busy: bool, now: Instant) -> bool {
    let over = if is_busy { OVERTIME } else { Duration::ZERO };
    until.is_some_and(|until| until + over <= now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_poll_has_overtime_and_another_has_not() {
        let (until, nano) = (Instant::now(), Duration::from_nanos(1));
        for (is_busy, end) in [(false, until), (true, until + OVERTIME)] {
            let is_over = |now| is_over(Some(until), is_busy, now);
            assert_eq!([end - nano, end, end + nano].map(is_over), [false, true, true]);
        }
        assert!(!is_over(None, true, until) && !is_over(None, false, until));
    }
}
