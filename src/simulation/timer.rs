//! Waiting for a time of the simulation.

use super::executor::here;
use crate::clock;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// Ready once at a time.
#[derive(Debug, Default)]
pub(crate) struct Timer {
    set: Option<(Instant, u64)>,
}

impl Timer {
    /// Waits until this time. Each poll may name another one, which counts from then on.
    pub fn poll(&mut self, context: &mut Context<'_>, until: Instant) -> Poll<()> {
        self.clear();
        if until <= clock::now() {
            return Poll::Ready(());
        }
        let executor = here();
        let id = executor.next_timer();
        executor.set_timer(until, id, context.waker().clone());
        self.set = Some((until, id));
        Poll::Pending
    }

    fn clear(&mut self) {
        if let Some((at, id)) = self.set.take() {
            // After the end of the simulation there is nothing to be removed from.
            if super::is_here() {
                here().drop_timer(at, id);
            }
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Waits for so long at most. `None`: the time has passed.
pub(crate) async fn timeout<T>(most: Duration, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let (mut timer, until) = (Timer::default(), clock::now().checked_add(most));
    poll_fn(|context| {
        if let Poll::Ready(done) = work.as_mut().poll(context) {
            return Poll::Ready(Some(done));
        }
        match until {
            Some(until) => timer.poll(context, until).map(|()| None),
            None => Poll::Pending,
        }
    })
    .await
}
