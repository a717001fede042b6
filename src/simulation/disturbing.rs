//! What may go wrong by chance on the connections of a simulation.

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
