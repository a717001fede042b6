//! Waiting for a change of a state under a lock: by threads, and by one task.

use crate::guard::guarded;
use crate::sync::{Condvar, Mutex, MutexGuard};
use std::sync::PoisonError;
use std::task::Waker;
use std::time::Duration;

/// A condition variable that a task can wait for, too.
#[derive(Debug, Default)]
pub(super) struct Changed {
    threads: Condvar,
    task: Mutex<Option<Waker>>,
}

/// The task that is to be woken, once no lock is held: its waker is code of somebody else. Dropping it wakes.
#[derive(Debug)]
#[must_use = "it is woken when this is dropped, which must not be under a lock"]
pub(super) struct ToWake(Option<Waker>);

impl Drop for ToWake {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            guarded(|| task.wake());
        }
    }
}

impl Changed {
    fn task(&self) -> MutexGuard<'_, Option<Waker>> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes all threads. The task is woken when the result is dropped.
    pub fn notify(&self) -> ToWake {
        self.threads.notify_all();
        ToWake(self.task().take())
    }

    /// Whether a task waits.
    pub fn has_task(&self) -> bool {
        self.task().is_some()
    }

    /// Has this task woken at the next change, and no other one. Called under the state's lock, in which the state was
    /// looked at. Returns what is to be dropped when the lock is not held any more.
    #[cfg(feature = "tokio")]
    pub fn watch(&self, task: &Waker) -> Option<Waker> {
        let mut watching = self.task();
        match &*watching {
            Some(before) if before.will_wake(task) => None,
            _ => watching.replace(task.clone()),
        }
    }

    /// Waits for a change.
    pub fn wait<'s, S>(&self, state: MutexGuard<'s, S>) -> MutexGuard<'s, S> {
        self.threads.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a change, at most for so long.
    pub fn wait_within<'s, S>(
        &self,
        state: MutexGuard<'s, S>,
        most: Duration,
    ) -> MutexGuard<'s, S> {
        self.threads.wait_timeout(state, most).unwrap_or_else(PoisonError::into_inner).0
    }
}
