//! The locks, conditions and threads of the crate, and the atomics on which a wake depends.
//!
//! They are those of the standard library. With `--cfg msgpipe_shuttle` they are those of shuttle, which runs threads in an order that a
//! seed decides, one at a time, and finds waits that nobody ends: `tests/threads.rs`, `scripts/prove-threads`. It has no time: a
//! wait with a deadline lasts until somebody ends it.
#![forbid(unsafe_code)]

#[cfg(not(msgpipe_shuttle))]
pub(crate) use std::{
    sync::{Condvar, Mutex, MutexGuard, atomic},
    thread, thread_local,
};

#[cfg(msgpipe_shuttle)]
pub(crate) use shuttle::{
    sync::{Condvar, Mutex, MutexGuard, atomic},
    thread, thread_local,
};
