//! The wakers of tasks.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Wake;

/// A task's waker.
pub(super) struct Woken {
    pub id: u64,
    pub is_ready: AtomicBool,
    pub ready: Arc<Mutex<Vec<u64>>>,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_ready.swap(true, Ordering::SeqCst) {
            lock(&self.ready).push(self.id);
        }
    }
}

pub(super) fn lock(ready: &Mutex<Vec<u64>>) -> MutexGuard<'_, Vec<u64>> {
    ready.lock().unwrap_or_else(PoisonError::into_inner)
}
