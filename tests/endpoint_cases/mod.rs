//! Whole endpoints that are fed by a hostile peer. Each `check` reads an input as a program, runs it on one thread without
//! waiting, and fails where a promise is broken. The tests replay the inputs in `fuzz/corpus`, and the fuzzer looks for
//! others; `ARCHITECTURE.md`, "Fuzzing", says what is tried.

pub mod app;
pub mod client;
pub mod frames;
pub mod hostile;
pub mod names;
pub mod observed;
#[path = "../passing/mod.rs"]
pub mod passing;
pub mod played;
pub mod script;
pub mod sddl;
pub mod served;
pub mod server;
#[cfg(feature = "tokio")]
pub mod tokio_client;
pub mod values;
