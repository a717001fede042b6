//! What the tasks of a simulation can do.

use super::executor::here;
use super::task::SimulatedTask;
use super::timer::{Timer, timeout};
use crate::clock;
use std::future::{Future, poll_fn};
use std::panic::Location;
use std::time::{Duration, Instant};

/// What the tasks of a [`Simulation`](super::Simulation) share: its clock, its chance, its servers and connections. A handle
/// without a size, for the thread of the simulation.
///
/// # Panics
/// All its functions panic in another thread, and after the end of the simulation.
#[derive(Clone, Copy, Debug)]
pub struct World(());

impl World {
    /// That of this thread.
    pub(crate) fn here() -> World {
        World(())
    }

    /// Runs a future as a task.
    #[track_caller]
    pub fn spawn<T: 'static>(&self, work: impl Future<Output = T> + 'static) -> SimulatedTask<T> {
        SimulatedTask::spawn(work, Location::caller())
    }

    /// Waits until the clock has gone on by so much.
    pub async fn pass(&self, time: Duration) {
        let (mut timer, until) = (Timer::default(), clock::now() + time);
        poll_fn(|context| timer.poll(context, until)).await;
    }

    /// Waits for a future, for so long at most. `None`: the time has passed, and the future was dropped.
    pub async fn within<T>(&self, most: Duration, work: impl Future<Output = T>) -> Option<T> {
        timeout(most, work).await
    }

    /// Moves the clock on by so much, at once: as if the machine had been suspended.
    pub fn jump(&self, time: Duration) {
        here().advance(time);
    }

    /// From now on nothing goes wrong by itself: what was lost has to come back. Connections that are stalled go on in their
    /// time.
    pub fn calm(&self) {
        here().calm();
    }

    /// The time of the simulation's clock.
    pub fn now(&self) -> Instant {
        clock::now()
    }

    /// How far the clock has gone on since the simulation began.
    pub fn elapsed(&self) -> Duration {
        here().elapsed()
    }

    /// A random number below this one; 0 if that is 0.
    pub fn random(&self, below: u64) -> u64 {
        here().below(below)
    }

    /// How many tasks have not ended, this one included. Each connection of a client has one, its driver.
    pub fn tasks(&self) -> usize {
        here().tasks()
    }

    /// Where the tasks that have not ended were spawned.
    pub fn places(&self) -> Vec<String> {
        here().places()
    }

    /// Adds to [`Ended::trace`](super::Ended::trace) what the program has seen.
    pub fn note(&self, what: &[u8]) {
        let executor = here();
        what.iter().for_each(|byte| executor.note(u64::from(*byte)));
    }
}
