//! How much of a stream the system has been given, and so which requests have certainly not arrived.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The bytes of one connection that the system has.
#[derive(Debug, Default)]
pub(super) struct Given {
    /// The number of bytes that the system has taken or is being given.
    bytes: AtomicU64,
    /// No more bytes are given to the system.
    sealed: AtomicBool,
}

impl Given {
    /// The system is about to be given the bytes up to this position. `false`: it must not be.
    pub fn offer(&self, end: u64) -> bool {
        self.bytes.store(end, Ordering::SeqCst);
        !self.sealed.load(Ordering::SeqCst)
    }

    /// The system has taken the bytes up to this position, and is not being given others.
    pub fn taken(&self, end: u64) {
        self.bytes.store(end, Ordering::SeqCst);
    }

    /// Whether a message that ends at this position has certainly not arrived, because its last byte was never
    /// given to the system, and will not be from now on. For a connection that has ended.
    pub fn is_surely_unsent(&self, end: u64) -> bool {
        // A sender stores `bytes` before it reads `sealed`: one of the two sees the other.
        self.sealed.store(true, Ordering::SeqCst);
        end > self.bytes.load(Ordering::SeqCst)
    }
}
