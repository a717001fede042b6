//! The tasks of a simulation: which one runs next, and when time goes on.

use super::disturbing::Disturbances;
use super::network::{Connecting, Network};
use super::random::Random;
use super::woken::{Woken, lock};
use crate::clock;
use crate::error::Error;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::io::ErrorKind;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake as _, Waker};
use std::time::{Duration, Instant};

/// How often tasks may run while the time stands still, before the program counts as one that runs for ever: some seconds of
/// work, and ten times what a message of 1 MiB takes that moves byte by byte.
const POLLS: u64 = 1_000_000;

/// Tasks run between one and so many times as often as others that can run.
const WEIGHTS: u64 = 16;

type Work = Pin<Box<dyn Future<Output = ()>>>;

struct Task {
    /// `None` while it runs.
    work: Option<Work>,
    woken: Arc<Woken>,
    /// How often it runs, in relation to others.
    weight: u64,
    from: &'static Location<'static>,
}

pub(super) struct Executor {
    random: RefCell<Random>,
    began: Instant,
    time: Cell<Instant>,
    /// How often tasks have run since the time last went on, and in all.
    polls: Cell<u64>,
    all_polls: Cell<u64>,
    ready: Arc<Mutex<Vec<u64>>>,
    tasks: RefCell<BTreeMap<u64, Task>>,
    last_id: Cell<u64>,
    timers: RefCell<BTreeMap<(Instant, u64), Waker>>,
    trace: Cell<u64>,
    network: RefCell<Option<Rc<dyn Network>>>,
    disturbances: RefCell<Disturbances>,
    /// The time goes on by itself.
    is_busy_machine: bool,
}

thread_local! {
    // Clippy for Windows does not see the `const` (rust-clippy 1.96).
    #[allow(clippy::missing_const_for_thread_local)]
    static HERE: RefCell<Option<Rc<Executor>>> = const { RefCell::new(None) };
}

/// Whether this thread runs a simulation.
pub(crate) fn is_here() -> bool {
    clock::own().is_some()
}

/// The simulation of this thread.
///
/// # Panics
/// If there is none.
pub(super) fn here() -> Rc<Executor> {
    let here = HERE.with(|here| here.borrow().clone());
    here.expect("this is for the tasks of a simulation (msgpipe::memory::Simulation)")
}

/// Any number, in a simulation.
pub(crate) fn random() -> Option<u64> {
    is_here().then(|| here().random())
}

/// What has happened goes into the trace.
pub(crate) fn note(what: u64) {
    here().note(what);
}

/// Runs this as a task.
#[track_caller]
pub(crate) fn spawn(work: impl Future<Output = ()> + 'static) {
    here().spawn(Box::pin(work), Location::caller());
}

/// Connects to the server at an endpoint, in a simulation.
pub(crate) fn connect(endpoint: &str) -> Option<Connecting> {
    if !is_here() {
        return None;
    }
    let network = here().network.borrow().clone();
    Some(match network {
        Some(network) => network.connect(endpoint),
        None => Err(Error::no_server(&endpoint.into(), ErrorKind::NotFound.into())),
    })
}

/// The network of this simulation is this one from now on.
pub(crate) fn join_network(network: Rc<dyn Network>) {
    *here().network.borrow_mut() = Some(network);
}

/// While it lives, its thread runs a simulation.
pub(super) struct Here(());

impl Here {
    /// # Panics
    /// If the thread runs one already.
    pub fn new(executor: &Rc<Executor>) -> Here {
        assert!(!is_here(), "this thread runs a simulation already");
        HERE.with(|here| *here.borrow_mut() = Some(executor.clone()));
        clock::set(Some(executor.time.get()));
        Here(())
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        let executor = HERE.with(|here| here.borrow_mut().take());
        clock::set(None);
        drop(executor);
    }
}

impl Executor {
    pub fn new(seed: u64, disturbances: Disturbances, is_busy_machine: bool) -> Executor {
        let began = Instant::now();
        Executor {
            random: RefCell::new(Random::new(seed)),
            began,
            time: Cell::new(began),
            polls: Cell::new(0),
            all_polls: Cell::new(0),
            ready: Arc::default(),
            tasks: RefCell::default(),
            last_id: Cell::new(0),
            timers: RefCell::default(),
            trace: Cell::new(0),
            network: RefCell::default(),
            disturbances: RefCell::new(disturbances),
            is_busy_machine,
        }
    }

    pub fn random(&self) -> u64 {
        self.random.borrow_mut().next()
    }

    pub fn below(&self, bound: u64) -> u64 {
        self.random.borrow_mut().below(bound)
    }

    pub fn disturbances(&self) -> Disturbances {
        self.disturbances.borrow().clone()
    }

    pub fn calm(&self) {
        *self.disturbances.borrow_mut() = Disturbances::default();
    }

    pub fn elapsed(&self) -> Duration {
        self.time.get() - self.began
    }

    pub fn polls(&self) -> u64 {
        self.all_polls.get()
    }

    /// A number that all that has happened goes into.
    pub fn trace(&self) -> u64 {
        self.trace.get()
    }

    pub fn note(&self, what: u64) {
        let mixed = (self.trace.get() ^ what).wrapping_mul(0x0000_0100_0000_01B3);
        self.trace.set(mixed.rotate_left(23));
    }

    pub fn spawn(&self, work: Work, from: &'static Location<'static>) -> u64 {
        let id = self.last_id.get() + 1;
        self.last_id.set(id);
        let (is_ready, ready) = (AtomicBool::new(false), self.ready.clone());
        let woken = Arc::new(Woken { id, is_ready, ready });
        woken.wake_by_ref();
        let weight = 1 + self.below(WEIGHTS);
        self.tasks.borrow_mut().insert(id, Task { work: Some(work), woken, weight, from });
        id
    }

    /// Drops a task. One that runs is dropped when it returns.
    pub fn abort(&self, id: u64) {
        let task = self.tasks.borrow_mut().remove(&id);
        drop(task);
    }

    /// How many tasks have not ended.
    pub fn tasks(&self) -> usize {
        self.tasks.borrow().len()
    }

    /// Where the tasks that have not ended were spawned.
    pub fn places(&self) -> Vec<String> {
        self.tasks.borrow().values().map(|task| task.from.to_string()).collect()
    }

    /// Drops all tasks, also those that others spawn when they are dropped.
    pub fn clear(&self) {
        loop {
            let first = self.tasks.borrow_mut().pop_first();
            match first {
                Some(task) => drop(task),
                None => return,
            }
        }
    }

    pub fn next_timer(&self) -> u64 {
        self.last_id.set(self.last_id.get() + 1);
        self.last_id.get()
    }

    pub fn set_timer(&self, at: Instant, id: u64, waker: Waker) {
        let before = self.timers.borrow_mut().insert((at, id), waker);
        drop(before);
    }

    pub fn drop_timer(&self, at: Instant, id: u64) {
        let timer = self.timers.borrow_mut().remove(&(at, id));
        drop(timer);
    }

    /// The time goes on. Those that wait for it are woken.
    pub fn advance(&self, by: Duration) {
        if !by.is_zero() {
            let now = self.time.get() + by;
            self.time.set(now);
            clock::set(Some(now));
            self.polls.set(0);
        }
        self.wake_late();
    }

    fn wake_late(&self) {
        let now = self.time.get();
        loop {
            let mut timers = self.timers.borrow_mut();
            let Some(entry) = timers.first_entry().filter(|entry| entry.key().0 <= now) else {
                return;
            };
            let waker = entry.remove();
            drop(timers);
            waker.wake();
        }
    }

    /// Lets one task run, or the time go on to the next one that waits for it. `Err`: no task can run, or the tasks run for
    /// ever.
    pub fn step(&self) -> Result<(), bool> {
        let Some(id) = self.next_ready() else {
            let next = self.timers.borrow().first_key_value().map(|((at, _), _)| *at);
            let at = next.ok_or(false)?;
            self.advance(at.saturating_duration_since(self.time.get()));
            return Ok(());
        };
        self.polls.set(self.polls.get() + 1);
        self.all_polls.set(self.all_polls.get() + 1);
        if self.polls.get() > POLLS {
            return Err(true);
        }
        let mut tasks = self.tasks.borrow_mut();
        // A task that has ended may be woken.
        let taken = tasks.get_mut(&id).and_then(|task| task.work.take().zip(Some(&task.woken)));
        if let Some((mut work, woken)) = taken {
            woken.is_ready.store(false, Ordering::SeqCst);
            let waker = Waker::from(woken.clone());
            drop(tasks);
            self.note(id);
            self.note(self.elapsed().as_nanos() as u64);
            let polled = work.as_mut().poll(&mut Context::from_waker(&waker));
            let mut tasks = self.tasks.borrow_mut();
            let ended = match polled {
                Poll::Ready(()) => tasks.remove(&id),
                Poll::Pending => None,
            };
            let left = match tasks.get_mut(&id) {
                Some(task) => {
                    task.work = Some(work);
                    None
                }
                None => Some(work),
            };
            drop(tasks);
            drop((ended, left));
        }
        if self.is_busy_machine {
            self.take_time();
        }
        Ok(())
    }

    /// Chooses the task that runs next.
    fn next_ready(&self) -> Option<u64> {
        let mut ready = lock(&self.ready);
        let tasks = self.tasks.borrow();
        let weight = |id: &u64| tasks.get(id).map_or(1, |task| task.weight);
        let all = ready.iter().map(weight).sum();
        if ready.is_empty() {
            return None;
        }
        let mut chosen = self.below(all);
        let at = ready.iter().position(|id| {
            let is_chosen = chosen < weight(id);
            chosen = chosen.saturating_sub(weight(id));
            is_chosen
        });
        at.map(|at| ready.swap_remove(at))
    }

    /// A task may take some time, or its machine be busy with something else.
    fn take_time(&self) {
        let chance = self.below(1024);
        let most = match chance {
            0 => Duration::from_millis(50),
            1..16 => Duration::from_millis(1),
            16..128 => Duration::from_micros(20),
            _ => return,
        };
        self.advance(Duration::from_nanos(self.below(most.as_nanos() as u64)));
    }
}
