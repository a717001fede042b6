//! Request and reply over whole messages: the envelope, the ids, what is pending. No I/O, and the
//! time is passed in.
//!
//! The asking side keeps [`Calls`], the answering side [`Requests`]; both read and write the
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
