//! The operating systems, and a transport without one.
//!
//! # What a backend must provide
//!
//! - a server: an implementation of [`MessageServer`](crate::MessageServer). It accepts clients,
//!   finds out who they are before anything of them is looked at, and gives each one's bytes to
//!   `connections`, which cuts them into messages and queues the answers. It brings for each client
//!   a `ServerStream` that reads and writes without blocking, and tells when one is ready.
//! - a client: a function that connects within a deadline and returns a
//!   [`ClientStream`](crate::ClientStream). A server that is not there is known at once; one that
//!   is busy is waited for. Who serves is known before anything is sent.
//!
//! A backend moves bytes and connections. It never looks inside a message, and it does not import
//! another backend; `event_loop` is what the two with an operating system share. Backends of
//! different systems have the same parts under the same file names: `listener` takes clients in,
//! `stream` moves a client's bytes on the server, `client` is the other end, `identity` says who is
//! there, `security` keeps others out.

mod event_loop;
mod local_server;
pub mod memory;
#[cfg(windows)]
mod named_pipe;
#[cfg(unix)]
mod unix_socket;

#[cfg(windows)]
use named_pipe as os;
#[cfg(unix)]
use unix_socket as os;

pub use local_server::LocalServer;
pub(crate) use os::{connect, locate};

/// A connected client's stream, and its endpoint in words.
pub(crate) type Connected = (Box<dyn crate::client_stream::ClientStream>, std::sync::Arc<str>);
