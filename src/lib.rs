//! Whole messages and request/reply between processes of one machine: over message-mode named
//! pipes on Windows, over Unix domain sockets elsewhere, behind one API.
//!
//! A server in two lines, a client in two more:
//!
//! ```no_run
//! // the background service
//! let server = msgpipe::Server::bind("com.example.notes")?;
//! server.serve(|request| request.body())?; // echo
//! # Ok::<_, msgpipe::Error>(())
//! ```
//! ```no_run
//! // the program that uses it
//! let client = msgpipe::Client::connect("com.example.notes")?;
//! let reply = client.call("hello")?;
//! # Ok::<_, msgpipe::Error>(())
//! ```
//!
//! # Two levels
//!
//! - **Calls**: [`Server`] and [`Client`] match replies to requests. A handler may answer at once or
//!   later, from any thread and in any order; a client may have many calls under way.
//! - **Messages**: [`MessageServer`] is a trait for whole messages on many connections, implemented
//!   by [`LocalServer`] for this operating system and by [`memory`] for tests; [`MessageClient`] is
//!   the other end. What the messages mean is up to the application. It is the level for a server that
//!   speaks unasked: with calls a server only answers.
//!
//! # What is promised
//!
//! - Only the user who started the server gets in, and root or LocalSystem, unless it says who else
//!   ([`Access`]).
//! - Nothing grows without a limit: see [`Limits`]. A slow client costs itself only.
//! - Each call ends exactly once: with a reply, an error, or the reason why the connection ended.
//! - Errors say who is at fault ([`Error::fault`]), name the endpoint, and say what to do.
//!
//! The bytes on the wire are specified in `docs/PROTOCOL.md`, so that programs in other languages
//! can take part.

/// The code in the README is true.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub mod endpoint;
pub mod framing;

mod access;
mod account;
mod body;
mod client;
mod client_stream;
mod connections;
mod error;
mod exchange;
mod goodbye;
mod ids;
mod layer;
mod limits;
mod message_server;
mod peer;
mod server;
mod text;

// Everything that knows the operating system lives beside `src/`, not in it: the one path of this
// package, so that each side can be read, checked and moved as a whole.
#[path = "../backends/mod.rs"]
mod backends;

pub use access::{Access, Principal, Trust};
pub use account::{Account, Share};
pub use backends::{LocalServer, memory};
pub use body::{Body, IntoBody};
/// The buffers that messages come in.
pub use bytes;
pub use client::{Batch, Call, Client, ClientOptions, MessageClient};
pub use client_stream::{ClientStream, ReadMessage};
pub use endpoint::{Endpoint, NAME_MAX, NameError};
pub use error::{CloseReason, Error, ErrorReply, Fault, Progress};
pub use goodbye::Goodbye;
pub use limits::Limits;
pub use message_server::{ConnectionId, Event, MessageServer, Refusal, SendError, Waker};
pub use peer::Peer;
pub use server::{
    Failure, Instances, IntoReply, Request, Responder, Risk, Server, ServerOptions, Stopper,
};
