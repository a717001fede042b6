//! The backends for each operating system, and the in-memory transport.
//!
//! # What a backend must provide
//!
//! - a server: an implementation of [`MessageServer`](crate::MessageServer). It accepts clients,
//!   identifies each one before it reads anything of it, and passes each one's bytes to `connections`,
//!   which decodes messages and queues replies. For each client it provides a `ServerStream`, which reads
//!   and writes without blocking, and reports its readiness.
//! - a client: a function that connects within a deadline and returns a
//!   [`ClientStream`](crate::ClientStream). It fails at once if no server runs, and waits for a busy one.
//!   It checks the server's identity before it sends anything.
//!
//! A backend moves bytes and connections. It never looks inside a message, and it does not import
//! another backend; the two real ones share `event_loop`. Backends of different systems have the same parts
//! under the same file names: `listener` accepts clients, `stream` moves a client's bytes on the server,
//! `client` is the other end, `identity` finds out the peer, `security` excludes other users.

mod blocking_stream;
mod event_loop;
mod local_server;
pub mod memory;
#[cfg(windows)]
mod named_pipe;
pub(crate) mod processes;
mod standard_streams;
#[cfg(feature = "tokio")]
mod tokio_bytes;
#[cfg(feature = "tokio")]
mod tokio_io;
#[cfg(feature = "tokio")]
mod tokio_poll;
#[cfg(feature = "tokio")]
mod tokio_wait;
#[cfg(unix)]
mod unix_socket;
mod waitable;

#[cfg(windows)]
use named_pipe as os;
#[cfg(unix)]
use unix_socket as os;

pub use blocking_stream::StreamServer;
pub(crate) use blocking_stream::{over_stream, stream_client};
pub use local_server::LocalServer;
pub use os::ListeningSocket;
pub(crate) use os::{StartLock, connect, locate, names, spawn};
pub(crate) use standard_streams::stdio;
#[cfg(feature = "tokio")]
pub(crate) use tokio_bytes::TokioStream;
#[cfg(feature = "tokio")]
pub(crate) use tokio_io::{TokioIo, open_tokio, retries, tokio_over};
#[cfg(feature = "tokio")]
pub(crate) use tokio_wait::{TaskWait, TokioWait};
pub use waitable::Waitable;

/// A connected client's stream, and its endpoint as text.
pub(crate) type Connected = (Box<dyn crate::client_stream::ClientStream>, std::sync::Arc<str>);
