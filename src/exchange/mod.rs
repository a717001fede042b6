//! Requests and replies over whole messages: the envelope, the ids, the calls in flight. No I/O, and the
//! time is passed in.
//!
//! The client keeps [`Calls`], the server [`Requests`]; both read and write the
//! [`Envelope`] at the front of each message (`docs/PROTOCOL.md`, "Calls").
#![forbid(unsafe_code)]

mod calls;
mod carrying;
mod envelope;
#[cfg(test)]
mod model;
mod requests;

pub(crate) use calls::{Calls, TooMany};
pub(crate) use carrying::carries_calls;
pub(crate) use envelope::{ENVELOPE_LEN, Envelope, Kind};
pub(crate) use requests::{Refused, Requests};
