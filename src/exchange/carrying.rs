//! What calls need of a framing.

use super::frame::{ERROR_MAX, HEAD_MAX};
use super::machine::PIECE_ALONE;
use crate::error::Error;
use crate::framing::{Framing, Layer, Native};
use std::fmt::Display;

impl Native {
    /// The framing for calls with bodies of up to `message` bytes. Its own messages are frames of calls: pieces
    /// of up to 1 MiB, or errors, with what stands before them.
    ///
    /// ```
    /// use msgpipe::framing::Native;
    /// assert_eq!(Native::for_calls(1 << 30), Native::for_calls(1 << 20));
    /// ```
    pub fn for_calls(message: usize) -> Native {
        let piece = message.clamp(ERROR_MAX + 2, PIECE_ALONE);
        Native::new(Layer::Calls, piece + HEAD_MAX)
    }
}

/// Checks that a framing can carry calls.
pub(crate) fn carries_calls(
    framing: Option<&dyn Framing>,
    endpoint: &dyn Display,
) -> Result<(), Error> {
    if framing.is_none_or(|framing| framing.carries_any_bytes()) {
        return Ok(());
    }
    let problem =
        "this framing cannot carry the binary envelope of a call: use messages (bind_messages, \
                   connect_messages), or LengthPrefix"
            .to_owned();
    Err(Error::Misuse { endpoint: endpoint.to_string().into(), problem })
}
