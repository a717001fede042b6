//! A whole server against hostile clients. `tests/endpoints.rs` runs the same function on random inputs and on the corpus.
#![no_main]

#[path = "../../tests/endpoint_cases/mod.rs"]
mod endpoint_cases;
#[path = "../heap.rs"]
mod heap;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| heap::bounded(|| endpoint_cases::server::check(bytes)));
