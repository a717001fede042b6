//! The threads of a server's workers, and what waits for them.

use super::Workers;
use super::queue::{Owner, Queue};
use crate::clock;
use crate::error::{Error, ErrorReply};
use crate::message_server::ConnectionId;
use crate::nesting::{ServerId, Waits};
use crate::server::hooks::{Hooks, OnPanic};
use crate::server::responder::{Request, Responder};
use crate::sync::{Condvar, Mutex, MutexGuard, thread};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

/// A request that waits for a worker.
struct Job {
    request: Request,
    responder: Responder,
    /// A worker of this server waits for it.
    is_nested: bool,
}

impl Job {
    /// Whether nobody waits for it any more.
    fn is_cancelled(&self) -> bool {
        self.responder.is_cancelled()
    }
}

/// See the [module](self). The server's loop takes its lock too: nothing is done under it that takes long.
pub(super) struct Pool {
    id: ServerId,
    workers: Workers,
    state: Mutex<State>,
    /// There is something for a worker.
    wanted: Condvar,
    /// A thread has ended.
    left: Condvar,
    hooks: Mutex<Hooks>,
}

struct State {
    queue: Queue<Job>,
    /// The threads that have not ended.
    threads: usize,
    /// Those that run a handler.
    running: usize,
    /// Those of them that wait in a call.
    blocked: usize,
    has_ended: bool,
    /// Until when a stopping server drains.
    draining: Option<Instant>,
}

impl Pool {
    pub fn new(workers: Workers, panicked: Option<Box<OnPanic>>) -> Pool {
        let state = State {
            queue: Queue::new(),
            threads: 0,
            running: 0,
            blocked: 0,
            has_ended: false,
            draining: None,
        };
        Pool {
            id: ServerId::random(),
            workers,
            state: Mutex::new(state),
            wanted: Condvar::new(),
            left: Condvar::new(),
            hooks: Mutex::new(Hooks::of_panics(panicked)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a request of the loop: it is queued, or refused. Does not block.
    pub fn push(&self, request: Request, responder: Responder) {
        let owner = Owner { user: responder.user(), connection: request.connection_id() };
        let is_nested = request.chain().contains(self.id);
        let job = Job { request, responder, is_nested };
        let mut out = Vec::new(); // dropped and answered without the lock: bodies may be large
        self.lock().admit(owner, job, &self.workers, &mut out);
        self.wanted.notify_one();
        for (job, refusal) in out {
            self.refuse(job, refusal);
        }
    }

    /// How many requests wait.
    pub fn waiting(&self) -> usize {
        self.lock().queue.len()
    }

    fn refuse(&self, job: Job, refusal: Refusal) {
        if !job.is_cancelled() {
            job.responder.refuse(refusal.error(&self.workers));
        }
    }

    /// A client has gone: what waits for it is dropped.
    pub fn remove(&self, connection: ConnectionId) {
        let removed = self.lock().queue.remove(connection);
        drop(removed);
    }

    /// The server was stopped, and drains until then.
    pub fn drains(&self, until: Instant) {
        self.lock().draining = Some(until);
    }

    /// The drain is over: what waits is not begun.
    pub fn refuse_all(&self) {
        let mut state = self.lock();
        state.has_ended = true;
        let left = state.queue.extract(|_| true);
        drop(state);
        left.into_iter().for_each(|job| self.refuse(job, Refusal::Stopping));
    }

    /// The next request for a thread; `None`: it has to end. `has_run`: it has run one before.
    fn next(&self, has_run: bool) -> Option<Job> {
        let mut state = self.lock();
        state.running -= usize::from(has_run);
        loop {
            if state.has_ended {
                return None;
            }
            if let Some(job) = state.queue.pop() {
                state.running += 1;
                return Some(job);
            }
            state = self.wanted.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The life of a worker.
    fn work(self: &Arc<Pool>, handler: &impl Fn(Request, Responder)) {
        let mut has_run = false;
        while let Some(job) = self.next(has_run) {
            self.run(job, handler);
            has_run = true;
        }
    }

    fn run(self: &Arc<Pool>, job: Job, handler: &impl Fn(Request, Responder)) {
        if job.is_cancelled() {
            return;
        }
        if job.request.deadline().is_some_and(|at| at <= clock::now()) {
            return self.refuse(job, Refusal::Late);
        }
        let Job { request, responder, .. } = job;
        let connection = request.connection_id();
        let _handling = request.begin(Some((self.id, self.clone())));
        // The drop of the responder answers.
        let handled = catch_unwind(AssertUnwindSafe(|| handler(request, responder)));
        if let Err(panic) = handled {
            let mut hooks = self.hooks.lock().unwrap_or_else(PoisonError::into_inner);
            hooks.panicked(connection, panic);
        }
    }
}

impl Waits for Pool {
    fn blocks(&self) {
        let mut state = self.lock();
        state.blocked += 1;
        let out = match state.are_all_blocked() {
            true => state.queue.extract(|job| job.is_nested),
            false => Vec::new(),
        };
        drop(state);
        out.into_iter().for_each(|job| self.refuse(job, Refusal::Nested));
    }

    fn goes_on(&self) {
        self.lock().blocked -= 1;
    }
}

impl State {
    fn are_all_blocked(&self) -> bool {
        self.blocked == self.threads
    }

    /// Queues a request. `out` gets those that are refused for it, perhaps this one.
    fn admit(&mut self, owner: Owner, job: Job, workers: &Workers, out: &mut Vec<(Job, Refusal)>) {
        if job.is_nested && self.are_all_blocked() {
            return out.push((job, Refusal::Nested));
        }
        // What a free worker is about to take does not wait.
        let free = self.threads - self.running;
        let (queue, all) = (workers.queue + free, workers.queue_in_all + free);
        if self.queue.len_of(owner) >= queue || self.queue.len() >= all {
            let cancelled = self.queue.extract(Job::is_cancelled);
            out.extend(cancelled.into_iter().map(|job| (job, Refusal::Late)));
        }
        if self.queue.len_of(owner) >= queue {
            return out.push((job, Refusal::Full));
        }
        if self.queue.len() >= all {
            match self.queue.displace(owner) {
                Some(other) => out.push((other, Refusal::FullForAll)),
                None => return out.push((job, Refusal::FullForAll)),
            }
        }
        self.queue.push(owner, job);
    }
}

/// Why a request is not begun.
#[derive(Clone, Copy)]
enum Refusal {
    Full,
    FullForAll,
    Late,
    Nested,
    Stopping,
}

impl Refusal {
    fn error(self, workers: &Workers) -> ErrorReply {
        let Workers { threads, queue, queue_in_all } = workers;
        match self {
            Refusal::Full => ErrorReply::new(
                ErrorReply::BUSY,
                format!(
                    "the workers are busy, and {queue} requests of this connection wait for one, the limit \
                     (Workers::queue): wait for replies before you send more"
                ),
            ),
            Refusal::FullForAll => ErrorReply::new(
                ErrorReply::BUSY,
                format!(
                    "the workers are busy, and {queue_in_all} requests of all clients wait for one, the limit \
                     (Workers::queue_in_all): try again later"
                ),
            ),
            Refusal::Late => {
                let text =
                    "its time was over before a worker was free: give it more, or try again later";
                ErrorReply::new(ErrorReply::BUSY, text)
            }
            Refusal::Nested => ErrorReply::new(
                ErrorReply::TOO_NESTED,
                format!(
                    "the request comes from a worker of this server, and all {threads} wait in calls: it would wait \
                     for itself; nest fewer calls, or raise Workers::threads"
                ),
            ),
            Refusal::Stopping => {
                let text = "the server stops, and no worker was free in time";
                ErrorReply::new(ErrorReply::STOPPING, text)
            }
        }
    }
}

/// The threads of a pool. Dropping it ends them.
pub(super) struct Team {
    pool: Arc<Pool>,
}

impl Team {
    /// Starts the threads.
    pub fn start<H>(pool: &Arc<Pool>, handler: H, endpoint: &str) -> Result<Team, Error>
    where
        H: Fn(Request, Responder) + Send + Sync + 'static,
    {
        let team = Team { pool: pool.clone() };
        let handler = Arc::new(handler);
        for _ in 0..pool.workers.threads {
            pool.lock().threads += 1;
            let leaving = Leaving { pool: pool.clone() };
            let handler = handler.clone();
            let started = thread::Builder::new().name("msgpipe worker".into()).spawn(move || {
                let leaving = leaving;
                leaving.pool.work(&*handler);
                drop(handler); // before it is counted as ended
            });
            if let Err(cause) = started {
                return Err(Error::system(&endpoint.into(), "starting a worker", cause));
            }
        }
        Ok(team)
    }
}

impl Drop for Team {
    /// What waits is dropped. Waits for idle threads; for those that run a handler until the end of the drain.
    fn drop(&mut self) {
        self.pool.refuse_all(); // the loop has ended: nobody is told
        self.pool.wanted.notify_all();
        let mut state = self.pool.lock();
        while state.threads > 0 {
            let now = clock::now();
            let until = state.draining.filter(|until| *until > now);
            let left = until.map(|until| until - now);
            state = match left {
                Some(left) => match self.pool.left.wait_timeout(state, left) {
                    Ok((state, _)) => state,
                    Err(poisoned) => poisoned.into_inner().0,
                },
                None if state.threads <= state.running => return,
                None => self.pool.left.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

/// Counts a thread as ended when it is dropped.
struct Leaving {
    pool: Arc<Pool>,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.pool.lock().threads -= 1;
        self.pool.left.notify_all();
    }
}
