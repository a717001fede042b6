//! What calls need of a framing.

use super::envelope::ENVELOPE_LEN;
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::framing::{Framing, Layer, Native};

impl Native {
    /// The framing for calls with requests and replies of up to `message` bytes, without their envelope.
    ///
    /// ```
    /// use msgpipe::framing::{Layer, Native};
    /// assert_eq!(Native::for_calls(1000), Native::new(Layer::Calls, 1008));
    /// ```
    pub fn for_calls(message: usize) -> Native {
        Native::new(Layer::Calls, message.saturating_add(ENVELOPE_LEN))
    }
}

/// Checks that a framing can carry calls.
pub(crate) fn carries_calls(
    framing: Option<&dyn Framing>,
    endpoint: &Endpoint,
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
