//! The properties of this crate's framing, tried on whatever the fuzzer comes up with: it looks for
//! streams in the same space as `tests/framing.rs` and around it, guided by which code they reach.
#![no_main]

#[path = "../../tests/framing_cases/mod.rs"]
mod framing_cases;
#[path = "../../tests/framing_cases/scripted.rs"]
mod scripted;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| scripted::check(bytes));
