//! Message-mode named pipes, driven by mio on the server.
//!
//! What mio and Win32 make hard here, and where it is seen to:
//! - mio hides where a message ends and takes an empty one for the end: `stream` reads a stream of
//!   bytes, and the framing's header says how long a message is; where there is no header, `messages`
//!   reads instead of mio.
//! - a listening instance is registered before it is connected, and never used for a second client:
//!   `listener` makes a new one for each.
//! - a dropped pipe's handle is closed only once its last completion has been taken from the port:
//!   the loop goes on polling, and a write that never ends is ended by disconnecting.

#[cfg(test)]
mod as_asked;
mod client;
#[cfg(test)]
mod cycles;
mod handle;
mod identity;
mod instance;
mod listener;
mod messages;
mod security;
mod stream;
mod transfer;
#[cfg(test)]
mod traps;
mod waiting;
mod watch;

pub(crate) use client::connect;
pub(super) use listener::Listener;

/// The most bytes of one message on the pipe, so of one write. A message on the pipe is nothing but
/// a piece of the stream of bytes: small frames share one, a large frame takes several. 64 KiB is
/// what the pipe holds, so that a write waits for the reader only when something is before it.
pub(super) const PIPE_MESSAGE_MAX: usize = QUOTA as usize;

/// The bytes that the system holds for each direction of an instance before a write has to wait for
/// the reader: 64 KiB, as much as it is on sockets, within a factor of four. The default of zero
/// would make every write wait.
const QUOTA: u32 = 64 * 1024;

/// What this system calls an endpoint, for this user.
pub(crate) fn locate(endpoint: &crate::Endpoint) -> Result<std::path::PathBuf, crate::Error> {
    let name = endpoint.to_string().into();
    let failed = |source| crate::Error::system(&name, "asking who we are", source);
    let sid = identity::own_sid().map_err(failed)?;
    Ok(endpoint.pipe_name(sid)?.into())
}
