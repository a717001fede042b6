//! Waking the loop from other threads.

use mio::{Registry, Token};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

/// The waker's own token.
pub(super) const TOKEN: Token = Token(0);

/// A waker that costs one event, however often it is called before the loop has looked. On Windows
/// each wake of mio's own is a packet of the completion port, and crowds out those of the pipes.
#[derive(Debug)]
pub(super) struct Wake {
    waker: mio::Waker,
    pending: AtomicBool,
}

impl Wake {
    pub fn new(registry: &Registry) -> io::Result<Wake> {
        Ok(Wake { waker: mio::Waker::new(registry, TOKEN)?, pending: AtomicBool::new(false) })
    }

    /// Wakes the loop, unless that is under way already.
    pub fn wake(&self) {
        if !self.pending.swap(true, Ordering::SeqCst) && self.waker.wake().is_err() {
            // Could not be posted (no memory): the next call shall try again.
            self.pending.store(false, Ordering::SeqCst);
        }
    }

    /// The loop has seen it: from now on a wake is a new one.
    pub fn seen(&self) {
        self.pending.store(false, Ordering::SeqCst);
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
            poll.poll(&mut events, Some(Duration::from_secs(10))).unwrap();
            assert_eq!(events.iter().count(), 1);
            wake.seen();
        }
        poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
        assert!(events.is_empty());
    }
}
