//! Message-mode named pipes, driven by mio on the server.
//!
//! What mio and Win32 make hard here, and where it is seen to; all that rests on what mio does inside is in
//! `mio_pipe`, with a list:
//! - mio hides where a message ends and takes an empty one for the end: `stream` reads a stream of
//!   bytes, and the framing's header says how long a message is; where there is no header, `messages`
//!   reads instead of mio.
//! - a listening instance is registered before it is connected, and never used for a second client:
//!   `listener` makes a new one for each.
//! - the system cancels what a thread has under way when the thread ends, unless it has no event and
//!   is tied to a completion port: on the server mio writes, on the client `writer` sees to it. Reads
//!   may be cancelled: one that has not ended has taken nothing, and is begun again.
//! - a dropped pipe's handle is closed only once its last completion has been taken from the port:
//!   the loop goes on polling, and a write that never ends is ended by disconnecting.

#[cfg(test)]
mod as_asked;
#[cfg(test)]
mod beside_mio;
mod client;
#[cfg(test)]
mod cycles;
mod handle;
mod identity;
mod impersonation;
mod instance;
mod listener;
mod messages;
mod mio_pipe;
mod opening;
mod read_size;
mod security;
mod stream;
mod token;
mod transfer;
#[cfg(test)]
mod traps;
mod waiting;
mod watch;
mod writer;

pub(crate) use client::connect;
pub(super) use listener::Listener;

/// The most bytes of one message on the pipe, so of one write. A message on the pipe is nothing but
/// a piece of the stream of bytes: small frames share one, a large frame takes several. Twice what the
/// pipe holds: a message of 64 KiB then goes in one write with its header, where two would each be
/// waited for. What waits for the reader is in memory here meanwhile; mio keeps two such buffers at
/// most of each connection whose client was ever waited for.
pub(super) const PIPE_MESSAGE_MAX: usize = 2 * QUOTA as usize;

/// The bytes that the system holds for each direction of an instance before a write has to wait for
/// the reader: as much as it is on sockets, within a factor of four. The default of zero would make every
/// write wait. With what goes before a message, so that one of 64 KiB goes without waiting.
const QUOTA: u32 = 64 * 1024 + 256;

/// What this system calls an endpoint, for this user.
pub(crate) fn locate(endpoint: &crate::Endpoint) -> Result<std::path::PathBuf, crate::Error> {
    let name = endpoint.to_string().into();
    let failed = |source| crate::Error::system(&name, "asking who we are", source);
    let sid = identity::own_sid().map_err(failed)?;
    Ok(endpoint.pipe_name(sid)?.into())
}
