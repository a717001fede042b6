//! How long a client waits between two tries, and how often it tries.

use crate::limits::Limits;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// How a [`ReconnectingClient`](super::ReconnectingClient) tries again: the pauses between its tries, and their number.
///
/// Before each try it waits for a random time between nothing and a bound ("full jitter"), so that the clients of a server
/// that has ended do not all come back at once. The bound begins with [`first`](Backoff::first) and doubles with each
/// try that fails, up to [`longest`](Backoff::longest).
///
/// ```
/// use std::time::Duration;
/// let backoff = msgpipe::Backoff::new().with_tries(3).with_longest(Duration::from_secs(1));
/// assert_eq!(backoff.tries, 3);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Backoff {
    /// The bound of the first pause. Default: 50 ms, some times what a small server takes to start.
    pub first: Duration,
    /// The largest bound of a pause. Default: 5 s: a person who has restarted a server waits no longer for its
    /// clients, and a client that looks every few seconds costs nothing.
    pub longest: Duration,
    /// The number of tries, the first one included, after which a call or a subscription ends with
    /// [`Error::GaveUp`](crate::Error::GaveUp); at least 1. Each connection that could not be made is one, and each time
    /// that a call was sent again. Default: 16, which with these pauses takes half a minute on average, as long as
    /// a call has by default ([`Limits::call`]).
    pub tries: u32,
}

impl Default for Backoff {
    fn default() -> Backoff {
        Backoff { first: Duration::from_millis(50), longest: Duration::from_secs(5), tries: 16 }
    }
}

impl Backoff {
    /// The defaults.
    pub fn new() -> Backoff {
        Backoff::default()
    }

    /// Sets [`first`](Backoff::first).
    #[must_use]
    pub fn with_first(self, first: Duration) -> Backoff {
        Backoff { first, ..self }
    }

    /// Sets [`longest`](Backoff::longest).
    #[must_use]
    pub fn with_longest(self, longest: Duration) -> Backoff {
        Backoff { longest, ..self }
    }

    /// Sets [`tries`](Backoff::tries).
    #[must_use]
    pub fn with_tries(self, tries: u32) -> Backoff {
        Backoff { tries, ..self }
    }

    /// The values as they are applied.
    pub(crate) fn clamped(&self) -> Backoff {
        let longest = Limits::clamp(self.longest);
        Backoff { first: self.first.min(longest), longest, tries: self.tries.max(1) }
    }

    /// The bound of the pause after so many failed tries; at least one.
    fn bound(&self, failed: u32) -> Duration {
        let factor = 1u32.checked_shl(failed.saturating_sub(1)).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.longest)
    }

    /// The pause after so many failed tries. `random` is any number: the pause is that part of the bound.
    pub(super) fn pause(&self, failed: u32, random: u32) -> Duration {
        let bound = self.bound(failed).as_nanos();
        let pause = bound * u128::from(random) / u128::from(u32::MAX);
        Duration::from_nanos(u64::try_from(pause).unwrap_or(u64::MAX))
    }
}

/// A random number. Each `RandomState` of std has keys of its own, which it has from the system; the hash of them is good
/// enough to spread clients, and costs no dependency.
pub(super) fn random() -> u32 {
    #[cfg(feature = "test-util")]
    if let Some(random) = crate::simulation::random() {
        return (random >> 32) as u32;
    }
    (RandomState::new().hash_one(0u8) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    #[test]
    fn pauses_double_up_to_the_longest() {
        let backoff = Backoff::new().with_first(10 * MILLI).with_longest(55 * MILLI).clamped();
        let bounds: Vec<Duration> = (0..6).map(|failed| backoff.pause(failed, u32::MAX)).collect();
        assert_eq!(bounds, [10, 10, 20, 40, 55, 55].map(|millis| millis * MILLI));
        for failed in [0, 1, 31, 32, 33, 34, u32::MAX] {
            assert_eq!(backoff.pause(failed, 0), Duration::ZERO);
            assert!(backoff.pause(failed, u32::MAX / 2) <= backoff.bound(failed) / 2);
        }
        assert_eq!(backoff.pause(u32::MAX, u32::MAX), 55 * MILLI);
    }

    #[test]
    fn any_values_are_brought_into_range() {
        let backoff = Backoff { first: Duration::MAX, longest: Duration::MAX, tries: 0 }.clamped();
        assert_eq!(backoff.tries, 1);
        assert_eq!(backoff.pause(u32::MAX, u32::MAX), backoff.longest);
        let backoff = Backoff::new().with_first(Duration::ZERO).clamped();
        assert_eq!(backoff.pause(9, u32::MAX), Duration::ZERO);
        let backoff = Backoff::new().with_longest(Duration::ZERO).clamped();
        assert_eq!(backoff.pause(9, u32::MAX), Duration::ZERO);
    }

    /// Not all at once, and not all early or late.
    #[test]
    fn random_numbers_are_spread() {
        let mut quarters = [0; 4];
        (0..1000).for_each(|_| quarters[(random() >> 30) as usize] += 1);
        assert!(quarters.iter().all(|count| (150..350).contains(count)), "{quarters:?}");
    }

    /// The defaults take about as long as a call has.
    #[test]
    fn the_defaults_take_half_a_minute_on_average() {
        let backoff = Backoff::new();
        let all: Duration =
            (1..backoff.tries).map(|failed| backoff.pause(failed, u32::MAX / 2)).sum();
        assert!((20..40).contains(&all.as_secs()), "{all:?}");
    }
}
