//! Message-mode named pipes, driven by mio on the server.
//!
//! The difficulties of mio and Win32 here, and the file that handles each. `mio_pipe` lists everything that
//! depends on mio's internals.
//! - mio hides message boundaries and reports an empty message as the end: `stream` reads a stream of bytes,
//!   and the framing's header gives the length of a message. Without a header, `messages` reads instead of
//!   mio.
//! - A listening instance is registered before it is connected, and never serves a second client: `listener`
//!   makes a new instance for each client.
//! - The system cancels a thread's overlapped operations when the thread ends, unless they have no event and
//!   their handle is tied to a completion port: on the server mio writes in this way, on the client `writer`.
//!   Reads may be cancelled: a read that has not completed has taken nothing, and is started again.
//! - The handle of a dropped pipe is closed only after its last completion packet has been taken from the
//!   port: the loop continues to poll, and a disconnect ends a write that never completes.
//!
//! Three ways to read, and why none replaces another:
//! - A server reads a stream of bytes through mio (`mio_pipe`): one read and one completion packet for each
//!   piece, and no other call.
//! - A client reads a stream of bytes with an overlapped read and its event (`transfer`). It has no loop: it
//!   waits for the event, the deadline, `wake` and `shutdown` at once.
//! - Both ends read whole messages with a zero-byte read, a peek and a read of that length (`messages`). A
//!   read of a fixed size cannot do it: mio hides whether it returned all of a message. A stream of bytes
//!   does not read in this way, since it takes three calls instead of one.
//!
//! Three ways to write:
//! - A server writes what fits into the pipe's buffer itself, without a completion packet (`nonblocking`).
//!   Such a write completes at once or is cancelled as a whole.
//! - A server gives mio the write that has to wait for the client. The write then outlives its thread, and a
//!   packet of mio's port reports its end.
//! - A client ties its pipe to the port of the system's thread pool for the same purpose (`writer`). A handle
//!   can be tied to one port only, and only a server's loop takes packets from mio's port.

mod client;
#[cfg(test)]
mod cycles;
mod handed_over;
mod handle;
mod identity;
mod impersonation;
mod inherited;
mod instance;
mod listener;
#[cfg(test)]
mod message_loop_tests;
mod messages;
#[cfg(test)]
mod mio_internals;
mod mio_pipe;
mod names;
mod nonblocking;
mod opening;
#[cfg(test)]
mod pipe_options;
mod read_size;
mod readiness;
mod security;
mod standard;
mod start_lock;
mod state;
mod stream;
mod token;
#[cfg(feature = "tokio")]
mod tokio_pipe;
mod transfer;
#[cfg(test)]
mod traps;
mod watch;
mod writer;

pub(crate) use client::connect;
pub use handed_over::ListeningSocket;
pub(crate) use inherited::spawn;
pub(super) use inherited::{check_standard_streams, inherit};
pub(super) use listener::Listener;
pub(crate) use names::names;
pub(super) use standard::take_standard_streams;
pub(crate) use start_lock::StartLock;
#[cfg(feature = "tokio")]
pub(super) use tokio_pipe::{TokioStream, open_tokio, retries};
pub(super) use transfer::wait_signalled;

/// The most bytes of one message on the pipe, and so of one write. A message on the pipe is only a piece of
/// the stream of bytes: small frames share one, a large frame takes several. The size is twice the pipe's
/// quota: a message of 64 KiB then leaves in one write with its header; with two writes, the sender would
/// wait for each. Bytes that wait for the reader are in this process's memory; mio keeps at most two such
/// buffers for each connection on which a write ever had to wait.
pub(super) const PIPE_MESSAGE_MAX: usize = 2 * QUOTA as usize;

/// The quota: the bytes that the system buffers for each direction of an instance before a write has to wait
/// for the reader. It is a socket's buffer within a factor of four. The default of zero would make every
/// write wait. It includes what precedes a message, so that a message of 64 KiB does not wait.
const QUOTA: u32 = 64 * 1024 + 256;

/// The name of an endpoint's pipe, for this user.
pub(crate) fn locate(endpoint: &crate::Endpoint) -> Result<std::path::PathBuf, crate::Error> {
    let name = endpoint.to_string().into();
    let failed = |source| crate::Error::system(&name, "asking who we are", source);
    let sid = identity::own_sid().map_err(failed)?;
    Ok(endpoint.pipe_name(sid)?.into())
}
