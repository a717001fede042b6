//! Typed services: what a method can be, how it fails, and what an attacker or another version can do. Each case runs over the
//! memory transport and over that of the system.

mod typed_cases {
    #[cfg(feature = "tokio")]
    mod asynchronous;
    mod calls;
    pub mod common;
    mod errors;
    mod evolution;
    mod hostile;
    mod interface;
    mod streams;
}
