//! What calls need of a framing.

use super::envelope::ENVELOPE_LEN;
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::framing::{Framing, Layer, Native};

impl Native {
    /// The framing for calls whose requests and replies have up to `message` bytes: their envelope
    /// comes on top.
    ///
    /// ```
    /// use msgpipe::framing::{Layer, Native};
    /// assert_eq!(Native::for_calls(1000), Native::new(Layer::Calls, 1008));
    /// ```
    pub fn for_calls(message: usize) -> Native {
        Native::new(Layer::Calls, message.saturating_add(ENVELOPE_LEN))
    }
}

/// Whether calls can be put in this framing.
pub(crate) fn carries_calls(
    framing: Option<&dyn Framing>,
    endpoint: &Endpoint,
) -> Result<(), Error> {
    if framing.is_none_or(|framing| framing.carries_any_bytes()) {
        return Ok(());
    }
    let problem =
        "this framing does not carry any bytes, and the envelope of a call may be any: use \
                   messages (bind_messages, connect_messages), or LengthPrefix"
            .to_owned();
    Err(Error::Misuse { endpoint: endpoint.to_string().into(), problem })
}
