//! Checks the properties of this crate's framing on inputs of the fuzzer. `tests/framing.rs` checks the same
//! properties on random inputs; the fuzzer is guided by the code that an input reaches.
#![no_main]

#[path = "../../tests/framing_cases/mod.rs"]
mod framing_cases;
#[path = "../../tests/framing_cases/scripted.rs"]
mod scripted;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| scripted::check(bytes));
