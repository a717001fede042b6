//! What goes wrong by chance on the connections of a simulation.

use super::executor::here;
use std::time::Duration;

/// How often something goes wrong, each in 10,000.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disturbances {
    /// Reads and writes that find their connection reset.
    pub resets: u32,
    /// Those that find it stalled, and for how long at most.
    pub stalls: u32,
    pub longest_stall: Duration,
    /// Clients that the server does not accept.
    pub refusals: u32,
    /// Connections whose bytes arrive in small pieces.
    pub pieces: u32,
}

/// What has gone wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mishap {
    Reset,
    /// For so long.
    Stall(Duration),
}

/// Whether something goes wrong with a read or a write.
pub(crate) fn disturb() -> Option<Mishap> {
    let executor = here();
    let Disturbances { resets, stalls, longest_stall, .. } = executor.disturbances();
    if resets + stalls == 0 {
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
