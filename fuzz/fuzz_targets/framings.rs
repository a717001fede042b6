//! Checks the properties of the plain framings on inputs of the fuzzer, as in `framing.rs`.
#![no_main]

#[path = "../../tests/framings_cases/mod.rs"]
mod framings_cases;
#[path = "../../tests/framings_cases/scripted.rs"]
mod scripted;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| scripted::check(bytes));
