//! What the async client needs besides streams: tokio's clock, timers and tasks, or those of a simulation.

use crate::clock;
use std::future::Future;
use std::time::{Duration, Instant};

/// The clock of the runtime.
pub(super) fn now() -> Instant {
    clock::own().unwrap_or_else(|| tokio::time::Instant::now().into_std())
}

/// Whether this is polled in a runtime.
pub(super) fn is_here() -> bool {
    clock::own().is_some() || tokio::runtime::Handle::try_current().is_ok()
}

/// Whether this is polled in a simulation, which has one thread.
pub(super) fn is_simulated() -> bool {
    clock::own().is_some()
}

/// Runs this as a task of the runtime.
pub(super) fn spawn<F>(work: F)
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    #[cfg(feature = "test-util")]
    if crate::simulation::is_here() {
        return crate::simulation::spawn(async {
            work.await;
        });
    }
    drop(tokio::spawn(work));
}

/// Waits for so long at most. `None`: the time has passed.
pub(super) async fn timeout<T>(most: Duration, work: impl Future<Output = T>) -> Option<T> {
    #[cfg(feature = "test-util")]
    if crate::simulation::is_here() {
        return crate::simulation::timeout(most, work).await;
    }
    tokio::time::timeout(most, work).await.ok()
}

/// Waits for so long.
pub(super) async fn pause(time: Duration) {
    timeout(time, std::future::pending::<()>()).await;
}
