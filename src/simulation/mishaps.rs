//! What goes wrong by chance: asked for each read, write and connection.

use super::disturbing::{Disturbances, Mishap};
use super::executor::here;
use std::time::Duration;

/// Whether something goes wrong with a read or a write.
pub(crate) fn disturb() -> Option<Mishap> {
    let executor = here();
    let Disturbances { resets, stalls, longest_stall, .. } = executor.disturbances();
    if resets.saturating_add(stalls) == 0 {
        return None;
    }
    let chance = executor.below(10_000) as u32;
    if chance < resets {
        return Some(Mishap::Reset);
    }
    let nanos = u64::try_from(longest_stall.as_nanos()).unwrap_or(u64::MAX);
    let is_stalled = chance < resets.saturating_add(stalls);
    is_stalled.then(|| Mishap::Stall(Duration::from_nanos(executor.below(nanos))))
}

/// Whether this happens, of 10,000 times.
pub(crate) fn happens(times: impl FnOnce(&Disturbances) -> u32) -> bool {
    let executor = here();
    match times(&executor.disturbances()) {
        0 => false,
        times => executor.below(10_000) < u64::from(times),
    }
}
