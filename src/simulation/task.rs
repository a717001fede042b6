//! The handle of a task.

use super::executor::here;
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// A task of a [`Simulation`](crate::memory::Simulation); [`World::spawn`](super::World::spawn) returns it. It is the future
/// of what the task returns; `None`: it was [aborted](SimulatedTask::abort). Dropped, it leaves the task to itself.
///
/// ```
/// use msgpipe::memory::Simulation;
/// let ended = Simulation::new(1).run(|world| async move {
///     let task = world.spawn(async { 3 });
///     assert_eq!(task.await, Some(3));
/// });
/// # ended.unwrap();
/// ```
pub struct SimulatedTask<T> {
    id: u64,
    state: Arc<Mutex<State<T>>>,
}

struct State<T> {
    done: Option<T>,
    has_ended: bool,
    waits: Option<Waker>,
}

/// Belongs to the task's future. Dropped, the task has ended.
struct End<T>(Arc<Mutex<State<T>>>);

fn lock<T>(state: &Mutex<State<T>>) -> MutexGuard<'_, State<T>> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> Drop for End<T> {
    fn drop(&mut self) {
        let mut state = lock(&self.0);
        state.has_ended = true;
        let waits = state.waits.take();
        drop(state);
        if let Some(waits) = waits {
            waits.wake();
        }
    }
}

impl<T: 'static> SimulatedTask<T> {
    pub(super) fn spawn(
        work: impl Future<Output = T> + 'static,
        from: &'static Location<'static>,
    ) -> SimulatedTask<T> {
        let state = Arc::new(Mutex::new(State { done: None, has_ended: false, waits: None }));
        let end = End(state.clone());
        let work = async move {
            let done = work.await;
            lock(&end.0).done = Some(done);
        };
        let id = here().spawn(Box::pin(work), from);
        SimulatedTask { id, state }
    }

    /// Drops the task's future where it waits, as if its process were killed. A task that aborts itself ends when it next
    /// waits.
    pub fn abort(&self) {
        here().abort(self.id);
    }

    /// Whether it has returned or was aborted.
    pub fn has_ended(&self) -> bool {
        lock(&self.state).has_ended
    }
}

impl<T> Future for SimulatedTask<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let mut state = lock(&self.state);
        match state.has_ended {
            true => Poll::Ready(state.done.take()),
            false => {
                state.waits = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl<T> fmt::Debug for SimulatedTask<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedTask").field("id", &self.id).finish_non_exhaustive()
    }
}
