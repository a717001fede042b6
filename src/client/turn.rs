//! A lock that can be waited for until a deadline.

use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Guards a value that one thread uses at a time, perhaps for long: unlike with a mutex, the others
/// wait no longer than they want to.
#[derive(Debug)]
pub(super) struct Turn<T> {
    state: Mutex<State<T>>,
    free: Condvar,
}

#[derive(Debug)]
struct State<T> {
    /// `None` while a thread has its turn.
    value: Option<T>,
    /// Threads that wait; waking nobody would cost a system call too.
    waiting: usize,
}

impl<T> Turn<T> {
    pub fn new(value: T) -> Turn<T> {
        Turn { state: Mutex::new(State { value: Some(value), waiting: 0 }), free: Condvar::new() }
    }

    /// Waits for a turn until `deadline`; `None`: it did not come.
    pub fn take(&self, deadline: Option<Instant>) -> Option<Taken<'_, T>> {
        let mut state = self.lock();
        loop {
            if let Some(value) = state.value.take() {
                return Some(Taken { turn: self, value: Some(value) });
            }
            state.waiting += 1;
            state = match deadline {
                None => self.free.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(at) => {
                    let left = at.saturating_duration_since(Instant::now());
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

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A turn, until it is dropped.
#[derive(Debug)]
pub(super) struct Taken<'a, T> {
    turn: &'a Turn<T>,
    /// `None` only while it is being dropped.
    value: Option<T>,
}

impl<T> Deref for Taken<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_ref().expect("a turn has its value until it is dropped")
    }
}

impl<T> DerefMut for Taken<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().expect("a turn has its value until it is dropped")
    }
}

impl<T> Drop for Taken<'_, T> {
    fn drop(&mut self) {
        let mut state = self.turn.lock();
        state.value = self.value.take();
        if state.waiting > 0 {
            self.turn.free.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_lock_is_exclusive_and_a_wait_ends_at_the_deadline() {
        let turn = Turn::new(1);
        let mut taken = turn.take(None).unwrap();
        *taken += 1;
        assert!(turn.take(Some(Instant::now() + Duration::from_millis(1))).is_none());
        drop(taken);
        assert_eq!(*turn.take(Some(Instant::now())).unwrap(), 2);
    }

    #[test]
    fn the_lock_passes_from_thread_to_thread() {
        let turn = Turn::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| *turn.take(None).unwrap() += 1));
            }
        });
        assert_eq!(*turn.take(None).unwrap(), 4000);
    }
}
