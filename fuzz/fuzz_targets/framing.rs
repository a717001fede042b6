//! The framing's properties, tried on whatever the fuzzer comes up with.
//!
//! ```text
//! cargo +nightly fuzz run framing
//! ```
//!
//! The fuzzer's bytes stand in for the random numbers of the property tests: it looks for streams
//! in the same space as `tests/framing.rs`, guided by which code they reach.
#![no_main]

#[path = "../../tests/framing_cases/mod.rs"]
mod framing_cases;

use libfuzzer_sys::fuzz_target;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

fuzz_target!(|bytes: &[u8]| {
    let (Some((&kind, seed)), true) = (bytes.split_first(), bytes.len() > 8) else { return };
    let rng = TestRng::from_seed(RngAlgorithm::PassThrough, seed);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let case = match kind % 2 {
        0 => framing_cases::whole().new_tree(&mut runner).map(|tree| tree.current()),
        _ => framing_cases::damaged().new_tree(&mut runner).map(|tree| tree.current()),
    };
    // Too few bytes to make a case of.
    let Ok(case) = case else { return };
    case.check();
});
