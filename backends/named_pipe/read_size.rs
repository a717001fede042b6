//! The size of mio's reads.
//!
//! mio reads ahead into a buffer of its own for each connection, as many bytes as were last requested. With a
//! larger size a large message takes fewer reads. But mio keeps such a buffer until the connection ends, and
//! no account counts it. (Bytes that had no room in the reader's buffer, `left` in `mio_pipe`, may be as much
//! again for a while.) So the size grows with what has arrived, never with an announced length; and the bytes
//! beyond mio's least size have a bound for all connections of a server.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// mio's least size: a smaller request makes no buffer smaller.
const LEAST: usize = 4 * 1024;

/// mio's largest size: a larger request makes no buffer larger.
const MOST: usize = 64 * 1024;

/// The most bytes beyond [`LEAST`] for all connections of a server: a hundred or so of the largest buffers.
/// Once they are used up, other connections take some reads more for a large message.
const EXTRA: usize = 8 << 20;

/// The bytes beyond [`LEAST`] that the connections of one server use.
#[derive(Default)]
pub(super) struct Extra(AtomicUsize);

impl Extra {
    fn take(&self, bytes: usize) -> bool {
        let more = |taken: usize| Some(taken + bytes).filter(|&sum| sum <= EXTRA);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }
}

/// The read size of one connection.
pub(super) struct ReadSize {
    size: usize,
    taken: usize,
    extra: Arc<Extra>,
}

impl ReadSize {
    pub fn new(extra: &Arc<Extra>) -> ReadSize {
        ReadSize { size: LEAST, taken: 0, extra: extra.clone() }
    }

    pub fn get(&self) -> usize {
        self.size
    }

    /// A read has returned as many bytes as requested: the size grows, as far as the bounds allow.
    pub fn read_was_full(&mut self) {
        if self.size < MOST && self.extra.take(self.size) {
            self.taken += self.size;
            self.size *= 2;
        }
    }

    #[cfg(test)]
    pub fn with_size(self, size: usize) -> ReadSize {
        let extra = self.extra.clone();
        ReadSize { size, taken: 0, extra }
    }
}

impl Drop for ReadSize {
    fn drop(&mut self) {
        self.extra.0.fetch_sub(self.taken, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_read_size_grows_with_arrived_bytes_up_to_mios_maximum() {
        let extra = Arc::default();
        let mut size = ReadSize::new(&extra);
        for expected in [8, 16, 32, 64, 64].map(|kib| kib * 1024) {
            size.read_was_full();
            assert_eq!(size.get(), expected);
        }
        assert_eq!(extra.0.load(Ordering::Relaxed), MOST - LEAST);
        drop(size);
        assert_eq!(extra.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn the_extra_bytes_of_all_connections_have_a_limit_and_are_returned() {
        let extra = Arc::default();
        let grown = || {
            let mut size = ReadSize::new(&extra);
            (0..4).for_each(|_| size.read_was_full());
            size
        };
        let mut all: Vec<ReadSize> = (0..EXTRA / LEAST).map(|_| grown()).collect();
        let taken = extra.0.load(Ordering::Relaxed);
        assert!((EXTRA - LEAST..=EXTRA).contains(&taken), "{taken}");
        assert_eq!(taken, all.iter().map(|one| one.get() - LEAST).sum::<usize>());
        assert_eq!(grown().get(), LEAST, "there is no more");
        all.remove(0);
        assert_eq!(grown().get(), MOST, "a closed connection returns its part");
    }
}
