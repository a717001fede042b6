//! What calls need of a framing.

use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::framing::Framing;

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
