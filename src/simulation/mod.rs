//! Programs of servers and clients in one thread, with a clock that stands still and with an order of tasks that a seed
//! decides. `backends/memory` has the streams.
#![forbid(unsafe_code)]

mod disturbing;
mod executor;
mod mishaps;
mod random;
mod running;
mod task;
mod timer;
mod world;

pub(crate) use disturbing::Mishap;
pub(crate) use executor::{
    Network, SimulatedStream, connect, is_here, join_network, note, random, spawn,
};
pub(crate) use mishaps::{disturb, happens};
pub use running::{Ended, Simulation, Stuck};
pub use task::SimulatedTask;
pub(crate) use timer::{Timer, timeout};
pub use world::World;
