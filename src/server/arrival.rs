//! How messages of several pieces arrive: whether their sender goes on, and since when it owes the rest.

use std::time::{Duration, Instant};

/// The bytes that count as progress, unless a message ends: who sends a byte now and then holds memory as long as
/// who sends nothing.
const PROGRESS: u64 = 64 * 1024;

/// The arrival of a client's incomplete messages.
#[derive(Debug)]
pub(super) struct Arrival {
    /// When the last progress was made.
    progress: Instant,
    /// The bytes that had arrived then.
    bytes: u64,
    /// The time in which the client was not read.
    excused: Duration,
}

/// How long a client has owed the rest of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lateness {
    /// Without progress.
    pub stalled: Duration,
    /// Since the first piece of the oldest message, or since memory was reserved and nothing came.
    pub unfinished: Duration,
}

impl Arrival {
    pub fn new(now: Instant, bytes: u64) -> Arrival {
        Arrival { progress: now, bytes, excused: Duration::ZERO }
    }

    /// So many bytes have arrived in all. `is_whole`: with them a message.
    pub fn arrives(&mut self, now: Instant, bytes: u64, is_whole: bool) {
        if is_whole || bytes.saturating_sub(self.bytes) >= PROGRESS {
            (self.progress, self.bytes) = (now, bytes);
        }
    }

    /// Since that time the client was not read.
    pub fn excuse(&mut self, since: Instant, now: Instant) {
        let blocked = now.saturating_duration_since(since.max(self.progress));
        self.progress += blocked;
        self.excused += blocked;
    }

    /// `oldest`: when the first piece of the oldest message arrived.
    pub fn lateness(&self, now: Instant, oldest: Option<Instant>) -> Lateness {
        let stalled = now.saturating_duration_since(self.progress);
        let since = |at| now.saturating_duration_since(at).saturating_sub(self.excused);
        Lateness { stalled, unfinished: oldest.map_or(stalled, since) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_secs(1);

    #[test]
    fn only_so_many_bytes_or_a_whole_message_are_progress() {
        let begin = Instant::now();
        for (bytes, is_whole, goes_on) in [
            (PROGRESS - 1, false, false),
            (PROGRESS, false, true),
            (PROGRESS + 1, false, true),
            (1, true, true),
        ] {
            let mut arrival = Arrival::new(begin, 7);
            arrival.arrives(begin + STEP, 7 + bytes, is_whole);
            let stalled = if goes_on { STEP } else { 2 * STEP };
            let late = arrival.lateness(begin + 2 * STEP, Some(begin));
            assert_eq!(late, Lateness { stalled, unfinished: 2 * STEP }, "{bytes} bytes");
        }
    }

    #[test]
    fn the_time_in_which_a_client_is_not_read_does_not_count() {
        let begin = Instant::now();
        let mut arrival = Arrival::new(begin, 0);
        arrival.excuse(begin + STEP, begin + 3 * STEP);
        let late = arrival.lateness(begin + 4 * STEP, Some(begin));
        assert_eq!(late, Lateness { stalled: 2 * STEP, unfinished: 2 * STEP });
        // Nothing has come of a message with reserved memory.
        assert_eq!(arrival.lateness(begin + 4 * STEP, None).unfinished, 2 * STEP);
    }
}
