//! The `Waker` of a server.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;

/// Makes [`MessageServer::poll`](crate::MessageServer::poll) return, from any thread and at any time. Cheap to clone.
///
/// Several calls between two returns of `poll` cause one [`Event::Woken`](crate::Event::Woken).
///
/// ```
/// use std::sync::atomic::{AtomicUsize, Ordering};
/// use std::sync::Arc;
///
/// let count = Arc::new(AtomicUsize::new(0));
/// let waker = msgpipe::Waker::new({
///     let count = count.clone();
///     move || drop(count.fetch_add(1, Ordering::SeqCst))
/// });
/// waker.clone().wake();
/// assert_eq!(count.load(Ordering::SeqCst), 1);
/// ```
#[derive(Clone)]
pub struct Waker(Arc<dyn Fn() + Send + Sync>);

impl Waker {
    /// A waker that calls `wake`; for implementations of [`MessageServer`](crate::MessageServer). `wake` must not block.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Waker {
        Waker(Arc::new(wake))
    }

    /// Wakes the server.
    pub fn wake(&self) {
        (self.0)();
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waker")
    }
}
