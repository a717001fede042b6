//! The heap of a fuzz target: an input may take only so much of it, and leaves nothing in it.

use cap::Cap;
use std::alloc::System;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

#[global_allocator]
static HEAP: Cap<System> = Cap::new(System, usize::MAX);

/// What one input may take: some dozen times the limits of the endpoints under test, and far below what a length on the wire
/// can claim. What is over it ends the process, which the fuzzer reports.
const MOST: usize = 64 << 20;

/// Runs an input. What it leaves in the heap the first time may be the state of a thread or of the fuzzer; what it leaves
/// each time is lost.
pub fn bounded(run: impl Fn()) {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    let before = HEAP.allocated();
    HEAP.set_limit(before + MOST).expect("it is not below what is allocated");
    run();
    let is_first = RUNS.fetch_add(1, Relaxed) < 2;
    let left = HEAP.allocated().saturating_sub(before);
    if left > 0 && !is_first {
        let again = HEAP.allocated();
        run();
        let lost = HEAP.allocated().saturating_sub(again);
        assert_eq!(lost, 0, "bytes are lost in each run; {left} in the first");
    }
    HEAP.set_limit(usize::MAX).expect("there is no higher one");
}
