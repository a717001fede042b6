//! The properties of the plain framings, tried on whatever the fuzzer comes up with.
//!
//! ```text
//! cargo +nightly fuzz run framings
//! ```
//!
//! As in `framing.rs`, the fuzzer's bytes stand in for the random numbers of the property tests.
#![no_main]

#[path = "../../tests/framings_cases/mod.rs"]
mod framings_cases;

use libfuzzer_sys::fuzz_target;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

fuzz_target!(|bytes: &[u8]| {
    let (Some((&kind, seed)), true) = (bytes.split_first(), bytes.len() > 8) else { return };
    let rng = TestRng::from_seed(RngAlgorithm::PassThrough, seed);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let stream = match kind % 2 {
        0 => framings_cases::whole().new_tree(&mut runner).map(|tree| tree.current()),
        _ => framings_cases::damaged().new_tree(&mut runner).map(|tree| tree.current()),
    };
    // Too few bytes to make a stream of.
    let Ok(stream) = stream else { return };
    stream.check();
});
