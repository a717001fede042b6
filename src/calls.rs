//! Which kind of call to use, which order is kept, what is limited, and what happens to a call when something goes wrong.
//!
#![doc = include_str!("../docs/CALLS.md")]
#![forbid(unsafe_code)]
