//! Random programs. Each is made from a number of its own, so whoever has the number has the program again:
//!
//! `MSGPIPE_SEED=number MSGPIPE_PROGRAMS=1 cargo test --lib machine::proof::random`

use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestError, TestRng, TestRunner};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};

/// How often a failing program is made smaller, and how many milliseconds that may take.
const SHRINKS: u32 = 1000;
const SHRINK_TIME: u32 = 5_000;

/// The number in a variable of the environment. `scripts/prove-calls` sets them.
pub fn number<N: FromStr>(variable: &str) -> Option<N> {
    let text = std::env::var(variable).ok()?;
    let number = text.parse().ok();
    assert!(number.is_some(), "{variable}={text} is no number");
    number
}

/// The processors that are used.
pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, |count| count.get().min(2))
}

/// Runs `count` programs, and panics with the first that fails, made as small as possible. Their numbers begin
/// with that of `MSGPIPE_SEED`, or anywhere. `variable` is the one that sets the count.
pub fn run_all<S: Strategy>(
    variable: &str,
    count: u64,
    programs: impl Fn() -> S + Sync,
    run: impl Fn(S::Value) + Sync,
) {
    let first =
        number("MSGPIPE_SEED").unwrap_or_else(|| RandomState::new().build_hasher().finish());
    println!("{count} programs, from MSGPIPE_SEED={first} on");
    let (step, has_failed) = (threads(), AtomicBool::new(false));
    let run_some = &|begin: usize| {
        let programs = programs();
        for at in (begin as u64..count).step_by(step) {
            if has_failed.load(Ordering::Relaxed) {
                return;
            }
            let seed = first.wrapping_add(at);
            if let Err(TestError::Fail(why, program)) = run_one(seed, &programs, &run) {
                has_failed.store(true, Ordering::Relaxed);
                panic!("{why}\nagain with MSGPIPE_SEED={seed} {variable}=1\n{program:#?}");
            }
        }
    };
    std::thread::scope(|scope| {
        for begin in 0..step {
            scope.spawn(move || run_some(begin));
        }
    });
}

fn run_one<S: Strategy>(
    seed: u64,
    programs: &S,
    run: &impl Fn(S::Value),
) -> Result<bool, TestError<S::Value>> {
    let config = ProptestConfig {
        failure_persistence: None,
        max_shrink_iters: SHRINKS,
        max_shrink_time: SHRINK_TIME,
        ..ProptestConfig::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let program = programs.new_tree(&mut runner).expect("no program is rejected");
    runner.run_one(program, |program| {
        run(program);
        Ok(())
    })
}
