//! Wake-ups of the loop from other threads.

use mio::{Registry, Token};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// The token of the waker.
pub(super) const TOKEN: Token = Token(0);

/// A waker that posts one event, however often it is called before the loop handles that event. On Windows
/// each wake-up of mio's own waker is a packet of the completion port, and displaces packets of the pipes.
#[derive(Debug)]
pub(crate) struct Wake {
    waker: mio::Waker,
    /// An event has been posted and not handled yet.
    posted: AtomicBool,
    /// The application has called the waker.
    woken: AtomicBool,
    /// Connections that a backend has found readable outside the loop.
    readable: Mutex<Vec<Token>>,
}

/// The reasons for a wake-up.
pub(super) struct Reasons {
    pub woken: bool,
    pub readable: Vec<Token>,
}

impl Wake {
    pub fn new(registry: &Registry) -> io::Result<Wake> {
        Ok(Wake {
            waker: mio::Waker::new(registry, TOKEN)?,
            posted: AtomicBool::new(false),
            woken: AtomicBool::new(false),
            readable: Mutex::default(),
        })
    }

    /// Wakes the loop for the application.
    pub fn wake(&self) {
        self.woken.store(true, Ordering::SeqCst);
        self.post();
    }

    /// Wakes the loop for a readable connection. Only on Windows is there readiness that mio does not
    /// report.
    #[cfg(any(windows, test))]
    pub fn readable(&self, token: Token) {
        self.readable.lock().unwrap_or_else(PoisonError::into_inner).push(token);
        self.post();
    }

    /// Posts the event, unless one has been posted and not handled yet.
    fn post(&self) {
        self.post_with(|| self.waker.wake());
    }

    fn post_with(&self, post: impl FnOnce() -> io::Result<()>) {
        if !self.posted.swap(true, Ordering::SeqCst) && post().is_err() {
            // The event could not be posted (no memory): the next call tries again.
            self.posted.store(false, Ordering::SeqCst);
        }
    }

    /// The loop handles the event: a wake-up from now on posts a new one.
    pub(super) fn take_reasons(&self) -> Reasons {
        self.take_reasons_with(|| {})
    }

    /// `meanwhile` runs between the two steps, in place of other threads, for tests.
    fn take_reasons_with(&self, meanwhile: impl FnOnce()) -> Reasons {
        // This comes first: a wake-up after the reasons are taken then posts its own event.
        self.posted.store(false, Ordering::SeqCst);
        meanwhile();
        let woken = self.woken.swap(false, Ordering::SeqCst);
        let mut readable = self.readable.lock().unwrap_or_else(PoisonError::into_inner);
        Reasons { woken, readable: std::mem::take(&mut *readable) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn many_wakes_make_one_event_until_it_is_handled() {
        let mut poll = mio::Poll::new().unwrap();
        let mut events = mio::Events::with_capacity(16);
        let wake = Wake::new(poll.registry()).unwrap();
        for _ in 0..2 {
            (0..10).for_each(|_| wake.wake());
            wake.readable(Token(7));
            wake.readable(Token(8));
            poll.poll(&mut events, Some(Duration::from_secs(10))).unwrap();
            assert_eq!(events.iter().count(), 1);
            let reasons = wake.take_reasons();
            assert!(reasons.woken);
            assert_eq!(reasons.readable, [Token(7), Token(8)]);
        }
        wake.readable(Token(9));
        poll.poll(&mut events, Some(Duration::from_secs(10))).unwrap();
        let reasons = wake.take_reasons();
        assert!(!reasons.woken, "the application has not called it");
        assert_eq!(reasons.readable, [Token(9)]);
        poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
        assert!(events.is_empty());
    }

    #[test]
    fn a_wake_that_could_not_be_posted_is_posted_by_the_next_one() {
        let poll = mio::Poll::new().unwrap();
        let wake = Wake::new(poll.registry()).unwrap();
        let mut tried = 0;
        for outcome in [Err(io::ErrorKind::OutOfMemory.into()), Ok(()), Ok(())] {
            wake.post_with(|| {
                tried += 1;
                outcome
            });
        }
        assert_eq!(
            tried, 2,
            "once for the one that failed, once for the next one, which is posted"
        );
    }

    /// A wake-up while the loop takes the reasons is among them, or posts an event. With the two steps in the
    /// other order it would do neither, and no later wake-up would post an event.
    #[test]
    fn a_wake_while_the_loop_takes_the_reasons_is_not_lost() {
        let mut poll = mio::Poll::new().unwrap();
        let mut events = mio::Events::with_capacity(16);
        let wake = Wake::new(poll.registry()).unwrap();
        wake.readable(Token(7));
        poll.poll(&mut events, Some(Duration::from_secs(10))).unwrap();
        let reasons = wake.take_reasons_with(|| {
            wake.wake();
            wake.readable(Token(8));
        });
        poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
        let is_among_them = reasons.woken && reasons.readable == [Token(7), Token(8)];
        assert!(is_among_them || !events.is_empty(), "neither among the reasons nor posted");
        // The next wake-up posts an event again, unless one is posted already.
        wake.take_reasons();
        wake.wake();
        poll.poll(&mut events, Some(Duration::from_secs(10))).unwrap();
        assert!(!events.is_empty());
    }
}
