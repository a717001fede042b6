//! Programs of servers and clients in one thread, with a clock that stands still and with an order of tasks that a seed
//! decides. `backends/memory` has the streams.
#![forbid(unsafe_code)]

mod disturbing;
mod executor;
mod mishaps;
mod network;
mod random;
mod running;
mod task;
mod timer;
mod woken;
mod world;

pub(crate) use disturbing::Mishap;
pub(crate) use executor::{connect, is_here, join_network, note, random, spawn};
pub(crate) use mishaps::{disturb, happens};
pub(crate) use network::{Network, SimulatedStream, cannot_watch};
pub use running::{Ended, Simulation, Stuck};
pub use task::SimulatedTask;
pub(crate) use timer::{Timer, timeout};
pub use world::World;
