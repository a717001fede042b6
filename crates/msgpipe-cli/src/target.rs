//! From a name on the command line to an endpoint, and to a connection.

use crate::args::{Common, FramingName};
use crate::exit::Exit;
use msgpipe::framing::{LengthPrefix, Lines, OsMessage};
use msgpipe::{
    Client, ClientOptions, CloseReason, Endpoint, Error, Fault, Limits, LocalServer, MessageClient,
    ServerOptions, Trust,
};
use std::io;
use std::ops::RangeInclusive;

/// What --message-limit may be: up to what the library takes of any peer.
const MESSAGE_LIMITS: RangeInclusive<usize> = 1..=1 << 30;

/// The endpoint that a text stands for.
pub fn endpoint(text: &str) -> Result<Endpoint, Exit> {
    let found = if let Some(name) = text.strip_prefix('@') {
        Endpoint::abstract_name(name)
    } else if text.starts_with(r"\\.\pipe\") {
        Endpoint::pipe(text)
    } else if text.contains('/') || text.contains('\\') {
        Endpoint::path(text)
    } else {
        Endpoint::name(text)
    };
    found.map_err(|error| Exit::Usage(error.to_string()))
}

/// What the end of a server is for who looks on. One that stops says goodbye: that is as it should be. One that does not
/// was killed, or has crashed.
pub fn ended(error: Error) -> Result<(), Exit> {
    let Error::Closed { endpoint, reason, .. } = &error else { return Err(error.into()) };
    match reason {
        CloseReason::PeerClosed | CloseReason::Broken(_) => {
            let text = "the server has ended without a goodbye: it was killed, or has crashed";
            let text = format!("{text} ({reason})");
            Err(Exit::System(endpoint.to_string(), io::Error::other(text)))
        }
        reason if reason.fault() == Fault::Nobody => Ok(()),
        _ => Err(error.into()),
    }
}

/// The limits of a client or server of the command.
pub fn limits(common: &Common) -> Result<Limits, Exit> {
    if !MESSAGE_LIMITS.contains(&common.message_limit) {
        return Err(Exit::Usage("--message-limit is from 1 to 1073741824 bytes".to_owned()));
    }
    let mut limits = Limits::default().with_message(common.message_limit);
    limits.connect = common.timeout;
    limits.call = common.timeout;
    Ok(limits)
}

/// The options with the framing of another program.
macro_rules! with_framing {
    ($options:expr, $which:expr, $limit:expr) => {
        match $which {
            FramingName::Lines => $options.framing(Lines::new($limit)),
            FramingName::Len32be => $options.framing(LengthPrefix::big_endian($limit)),
            FramingName::Len32le => $options.framing(LengthPrefix::little_endian($limit)),
            FramingName::Os => $options.framing(OsMessage::new($limit)),
        }
    };
}

fn options(common: &Common) -> Result<ClientOptions, Exit> {
    let trust = if common.trust_anyone { Trust::Anyone } else { Trust::SameUser };
    Ok(ClientOptions::new().limits(limits(common)?).trust(trust))
}

/// A client for calls.
pub fn client(common: &Common, name: &str) -> Result<Client, Exit> {
    if common.framing.is_some() {
        return Err(Exit::Usage(
            "--framing is for servers without calls: it works with call, listen and serve"
                .to_owned(),
        ));
    }
    Ok(options(common)?.connect(endpoint(name)?)?)
}

/// A client for messages in the framing of another program.
pub fn message_client(
    common: &Common,
    name: &str,
    which: FramingName,
) -> Result<MessageClient, Exit> {
    let options = options(common)?;
    let options = with_framing!(options, which, common.message_limit);
    Ok(options.connect_messages(endpoint(name)?)?)
}

/// A server for messages in the framing of another program.
pub fn message_server(
    common: &Common,
    name: &str,
    which: FramingName,
) -> Result<LocalServer, Exit> {
    let options = ServerOptions::new().limits(limits(common)?);
    let options = with_framing!(options, which, common.message_limit);
    Ok(options.bind_messages(endpoint(name)?)?)
}
