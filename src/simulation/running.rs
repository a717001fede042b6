//! A simulation as it is set up, and what becomes of it.

use super::disturbing::Disturbances;
use super::executor::{Executor, Here};
use super::world::World;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Runs an application's servers and clients in one thread, with a clock that stands still while they work, and with an
/// order of tasks that a seed decides. The same seed gives the same run, on every machine. Feature `test-util`.
///
/// Inside [`run`](Simulation::run)
/// - [`tokio::Client`](crate::tokio::Client) and [`tokio::ReconnectingClient`](crate::tokio::ReconnectingClient) connect to the
///   simulation's own servers, by the same names, and to nothing else. No runtime of tokio is needed;
/// - [`World::server`] makes a server; [`World::serve`] and [`Server::serve_tasks`](crate::Server::serve_tasks) run it in a
///   task;
/// - all deadlines and pauses of this crate pass at once when no task can run: the time goes on to the next of them. An
///   hour of pauses takes microseconds;
/// - connections are cut, stalled and refused as often as the simulation is told to
///   ([`resets`](Simulation::resets), [`stalls`](Simulation::stalls), [`refusals`](Simulation::refusals)), and where the
///   program says so ([`World::connections`]).
///
/// A program that waits for something that cannot come ends with [`Stuck`].
///
/// What blocks its thread has no place in it: [`Client`](crate::Client), [`Server::serve`](crate::Server::serve), workers; nor
/// has what needs a runtime of tokio, as its timers: [`World::pass`] and [`World::within`] are for that. Threads have
/// schedules that no seed decides. The maps of the standard library have random orders, `BTreeMap` has not.
///
/// How an application tests its service, here a counter that must not count twice:
///
/// ```
/// use msgpipe::memory::{Simulation, World};
/// use msgpipe::{Backoff, ClientOptions, Error, Limits, tokio::ReconnectingClient};
/// use std::{cell::Cell, rc::Rc, time::Duration};
///
/// /// The service under test.
/// async fn serve(world: World, count: Rc<Cell<u32>>) -> Result<(), Error> {
///     let server = world.server("com.example.count", Limits::default())?;
///     world.serve(server, move |_| {
///         count.set(count.get() + 1);
///         count.get().to_string()
///     })
///     .await
/// }
///
/// async fn program(world: World) {
///     let count = Rc::new(Cell::new(0));
///     world.spawn(serve(world, count.clone()));
///     let options = ClientOptions::new();
///     let client = ReconnectingClient::new("com.example.count", &options, Backoff::new()).unwrap();
///     let (mut certain, mut possible) = (0, 0);
///     for _ in 0..10 {
///         match client.call("count").await {
///             Ok(_) => (certain, possible) = (certain + 1, possible + 1),
///             Err(error) if error.is_not_begun() => {}
///             Err(_) => possible += 1, // the connection ended: nobody knows
///         }
///         world.pass(Duration::from_secs(60)).await; // takes no time
///     }
///     assert!((certain..=possible).contains(&count.get()));
/// }
///
/// for seed in 0..20 {
///     let simulation = Simulation::new(seed).resets(500).stalls(500, Duration::from_secs(5));
///     if let Err(stuck) = simulation.run(program) {
///         panic!("seed {seed}: {stuck}");
///     }
/// }
/// ```
#[derive(Clone, Debug)]
#[must_use = "it does nothing until it is run"]
pub struct Simulation {
    seed: u64,
    is_busy_machine: bool,
    disturbances: Disturbances,
}

impl Simulation {
    /// A simulation in which nothing goes wrong by itself. The seed decides which of the tasks that can run runs next, what
    /// [`World::random`] returns, and all that is left to chance below.
    pub fn new(seed: u64) -> Simulation {
        Simulation { seed, is_busy_machine: false, disturbances: Disturbances::default() }
    }

    /// Sets how many of 10,000 reads and writes of clients find their connection reset, as if the other process had been
    /// killed. Default: 0.
    pub fn resets(mut self, of_10_000: u32) -> Simulation {
        self.disturbances.resets = of_10_000;
        self
    }

    /// Sets how many of 10,000 reads and writes of clients find that nothing moves on their connection, for a random time
    /// up to `longest`. Default: 0.
    pub fn stalls(mut self, of_10_000: u32, longest: Duration) -> Simulation {
        (self.disturbances.stalls, self.disturbances.longest_stall) = (of_10_000, longest);
        self
    }

    /// Sets how many of 10,000 connections are refused with [`Error::Busy`](crate::Error::Busy). Default: 0.
    pub fn refusals(mut self, of_10_000: u32) -> Simulation {
        self.disturbances.refusals = of_10_000;
        self
    }

    /// Sets how many of 10,000 connections have small buffers, and bytes that arrive in small pieces. Default: 0.
    pub fn pieces(mut self, of_10_000: u32) -> Simulation {
        self.disturbances.pieces = of_10_000;
        self
    }

    /// Lets the time go on also while tasks run, by nothing mostly, and by up to 50 ms at times: deadlines pass in the middle
    /// of everything. Otherwise work takes no time.
    pub fn busy_machine(mut self) -> Simulation {
        self.is_busy_machine = true;
        self
    }

    /// Runs a program until its future is ready, and then drops all tasks that are left.
    ///
    /// # Errors
    /// [`Stuck`] if no task can run and none waits for a time, or if tasks run again and again while the time stands still.
    ///
    /// # Panics
    /// As the program and its tasks, and if the thread runs a simulation already.
    #[track_caller]
    pub fn run<F>(&self, program: impl FnOnce(World) -> F) -> Result<Ended<F::Output>, Stuck>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let executor = Executor::new(self.seed, self.disturbances.clone(), self.is_busy_machine);
        let executor = Rc::new(executor);
        let _here = Here::new(&executor);
        let ran = catch_unwind(AssertUnwindSafe(|| {
            let result = Arc::new(Mutex::new(None));
            let (gives, main) = (result.clone(), program(World::here()));
            let work = Box::pin(async move {
                let done = main.await;
                *gives.lock().unwrap_or_else(PoisonError::into_inner) = Some(done);
            });
            executor.spawn(work, Location::caller());
            loop {
                let done = result.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(value) = done {
                    return Ok(value);
                }
                executor.step().map_err(|runs_on| Stuck {
                    runs_on,
                    after: executor.elapsed(),
                    tasks: executor.places(),
                })?;
            }
        }));
        let ended = ran.map(|ran| {
            let (trace, after, polls) = (executor.trace(), executor.elapsed(), executor.polls());
            ran.map(|value| Ended { value, trace, after, polls })
        });
        executor.clear();
        ended.unwrap_or_else(|panic| resume_unwind(panic))
    }
}

/// A program that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ended<T> {
    /// What its future has returned.
    pub value: T,
    /// A number that the whole run goes into: which tasks have run, in which order and when. Two runs with the same number
    /// have with near certainty been the same.
    pub trace: u64,
    /// How far the clock has gone on.
    pub after: Duration,
    /// How often tasks have run.
    pub polls: u64,
}

/// A program that does not end: [`Simulation::run`] returns it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stuck {
    /// Tasks run again and again, and the time stands still. `false`: no task can run, and none waits for a time.
    pub runs_on: bool,
    /// How far the clock had gone on.
    pub after: Duration,
    /// Where the tasks were spawned that have not ended. Tasks of this crate, as the drivers of connections, are in its own
    /// files.
    pub tasks: Vec<String>,
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.runs_on {
            true => "tasks run on and on while the time stands still",
            false => "all tasks wait, and none for a time",
        };
        write!(f, "after {:?} {what}: {}", self.after, self.tasks.join(", "))
    }
}

impl std::error::Error for Stuck {}
