//! Waking the loop from other threads.

use mio::{Registry, Token};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// The waker's own token.
pub(super) const TOKEN: Token = Token(0);

/// A waker that costs one event, however often it is called before the loop has looked. On Windows
/// each wake of mio's own is a packet of the completion port, and crowds out those of the pipes.
#[derive(Debug)]
pub(crate) struct Wake {
    waker: mio::Waker,
    /// The event is under way.
    posted: AtomicBool,
    /// The application asked for it.
    woken: AtomicBool,
    /// Connections of which a backend has learned outside the loop that they are readable.
    readable: Mutex<Vec<Token>>,
}

/// What the loop was woken for.
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

    /// Wakes the loop for a connection that is readable: only on Windows is there something that mio
    /// does not tell.
    #[cfg(any(windows, test))]
    pub fn readable(&self, token: Token) {
        self.readable.lock().unwrap_or_else(PoisonError::into_inner).push(token);
        self.post();
    }

    /// Makes the loop look, unless that is under way already.
    fn post(&self) {
        self.post_with(|| self.waker.wake());
    }

    fn post_with(&self, post: impl FnOnce() -> io::Result<()>) {
        if !self.posted.swap(true, Ordering::SeqCst) && post().is_err() {
            // Could not be posted (no memory): the next call shall try again.
            self.posted.store(false, Ordering::SeqCst);
        }
    }

    /// The loop has seen the event: from now on a wake is a new one.
    pub(super) fn seen(&self) -> Reasons {
        self.seen_with(|| {})
    }

    /// `meanwhile` stands for what other threads may do between the two steps.
    fn seen_with(&self, meanwhile: impl FnOnce()) -> Reasons {
        // First this, so that what comes after the reasons are taken makes an event of its own.
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
    fn many_wakes_are_one_event_until_it_was_seen() {
        let mut poll = mio::Poll::new().unwrap();
        let mut events = mio::Events::with_capacity(16);
        let wake = Wake::new(poll.registry()).unwrap();
        for _ in 0..2 {
            (0..10).for_each(|_| wake.wake());
            wake.readable(Token(7));
            wake.readable(Token(8));
            poll.poll(&mut events, Some(Duration::from_secs(10))).unwrap();
            assert_eq!(events.iter().count(), 1);
            let reasons = wake.seen();
            assert!(reasons.woken);
            assert_eq!(reasons.readable, [Token(7), Token(8)]);
        }
        wake.readable(Token(9));
        poll.poll(&mut events, Some(Duration::from_secs(10))).unwrap();
        let reasons = wake.seen();
        assert!(!reasons.woken, "nobody asked");
        assert_eq!(reasons.readable, [Token(9)]);
        poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
        assert!(events.is_empty());
    }

    #[test]
    fn a_wake_that_could_not_be_posted_is_posted_by_the_next() {
        let poll = mio::Poll::new().unwrap();
        let wake = Wake::new(poll.registry()).unwrap();
        let mut tried = 0;
        for outcome in [Err(io::ErrorKind::OutOfMemory.into()), Ok(()), Ok(())] {
            wake.post_with(|| {
                tried += 1;
                outcome
            });
        }
        assert_eq!(tried, 2, "once for the one that failed, once for the next, which is under way");
    }

    /// What is asked for while the loop takes the reasons is among them, or is an event to come. Taken the
    /// other way round it would be neither, and no later wake would make an event either.
    #[test]
    fn a_wake_while_the_loop_looks_is_not_lost() {
        let mut poll = mio::Poll::new().unwrap();
        let mut events = mio::Events::with_capacity(16);
        let wake = Wake::new(poll.registry()).unwrap();
        wake.readable(Token(7));
        poll.poll(&mut events, Some(Duration::from_secs(10))).unwrap();
        let reasons = wake.seen_with(|| {
            wake.wake();
            wake.readable(Token(8));
        });
        poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
        let is_told = reasons.woken && reasons.readable == [Token(7), Token(8)];
        assert!(is_told || !events.is_empty(), "asked for, and neither told nor to be told");
        // And the next one is an event again, or one is under way.
        wake.seen();
        wake.wake();
        poll.poll(&mut events, Some(Duration::from_secs(10))).unwrap();
        assert!(!events.is_empty());
    }
}
