//! A lock with a deadline for its wait.

use crate::clock;
use crate::sync::{Condvar, Mutex, MutexGuard};
use std::ops::{Deref, DerefMut};
use std::sync::PoisonError;
use std::time::Instant;

/// Guards a value that one thread uses at a time, perhaps for long. Unlike with a mutex, the wait for it has a
/// deadline.
#[derive(Debug)]
pub(super) struct DeadlineLock<T> {
    state: Mutex<State<T>>,
    free: Condvar,
}

#[derive(Debug)]
struct State<T> {
    /// `None` while a thread holds the lock.
    value: Option<T>,
    /// The number of waiting threads. A notification without one would still cost a system call.
    waiting: usize,
}

impl<T> DeadlineLock<T> {
    pub fn new(value: T) -> DeadlineLock<T> {
        DeadlineLock {
            state: Mutex::new(State { value: Some(value), waiting: 0 }),
            free: Condvar::new(),
        }
    }

    /// Waits for the lock, until `deadline` at the latest. `None` at the deadline.
    pub fn acquire(&self, deadline: Option<Instant>) -> Option<DeadlineGuard<'_, T>> {
        let mut state = self.state();
        loop {
            if let Some(value) = state.value.take() {
                return Some(DeadlineGuard { lock: self, value: Some(value) });
            }
            state.waiting += 1;
            state = match deadline {
                None => self.free.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(at) => {
                    let left = at.saturating_duration_since(clock::now());
                    if left.is_zero() {
                        state.waiting -= 1;
                        return None;
                    }
                    self.free.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
            state.waiting -= 1;
        }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Holds the lock. Dropping it releases the lock.
#[derive(Debug)]
pub(super) struct DeadlineGuard<'a, T> {
    lock: &'a DeadlineLock<T>,
    /// `None` only during the drop.
    value: Option<T>,
}

impl<T> Deref for DeadlineGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_ref().expect("a guard has its value until it is dropped")
    }
}

impl<T> DerefMut for DeadlineGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().expect("a guard has its value until it is dropped")
    }
}

impl<T> Drop for DeadlineGuard<'_, T> {
    fn drop(&mut self) {
        let mut state = self.lock.state();
        state.value = self.value.take();
        if state.waiting > 0 {
            self.lock.free.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_lock_is_exclusive_and_a_wait_ends_at_the_deadline() {
        let lock = DeadlineLock::new(1);
        let mut guard = lock.acquire(None).unwrap();
        *guard += 1;
        assert!(lock.acquire(Some(clock::now() + Duration::from_millis(1))).is_none());
        drop(guard);
        assert_eq!(*lock.acquire(Some(clock::now())).unwrap(), 2);
    }

    #[test]
    fn the_lock_passes_from_thread_to_thread() {
        let lock = DeadlineLock::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| *lock.acquire(None).unwrap() += 1));
            }
        });
        assert_eq!(*lock.acquire(None).unwrap(), 4000);
    }
}
