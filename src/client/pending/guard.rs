//! The lock on a client's calls.

use super::slot::Who;
use super::state::State;
use crate::sync::MutexGuard;
use crate::sync::atomic::{AtomicBool, Ordering};
use std::ops::{Deref, DerefMut};

/// The lock on the calls. When it is released, the reading thread can see whether there is something to send, and threads and
/// tasks are woken: not before, as a waker may run anything.
pub(super) struct Guard<'a> {
    /// `None` once it is released.
    state: Option<MutexGuard<'a, State>>,
    unsent: &'a AtomicBool,
}

impl<'a> Guard<'a> {
    pub fn new(state: MutexGuard<'a, State>, unsent: &'a AtomicBool) -> Guard<'a> {
        Guard { state: Some(state), unsent }
    }
}

const HELD: &str = "the lock is held until the guard is dropped";

impl Deref for Guard<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        self.state.as_ref().expect(HELD)
    }
}

impl DerefMut for Guard<'_> {
    fn deref_mut(&mut self) -> &mut State {
        self.state.as_mut().expect(HELD)
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        let Some(mut state) = self.state.take() else {
            return;
        };
        self.unsent.store(state.machine.has_unsent(), Ordering::SeqCst);
        if state.woken.is_empty() {
            return;
        }
        let woken = std::mem::take(&mut state.woken);
        drop(state);
        woken.into_iter().for_each(Who::wake);
    }
}
