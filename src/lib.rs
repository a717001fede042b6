//! Local IPC: whole messages, and requests with their replies, between processes of one machine. The
//! transport is message-mode named pipes on Windows and Unix domain sockets elsewhere, behind one API.
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
//! - **Calls**: [`Server`] and [`Client`] match replies to requests. A handler may reply at once or
//!   later, from any thread and in any order; a client may have many calls in flight.
//! - **Messages**: [`MessageServer`] is a trait for whole messages on many connections, implemented
//!   by [`LocalServer`] for this operating system and by [`memory`] for tests; [`MessageClient`] is
//!   the other end. What the messages mean is up to the application. [`Incoming`] is for
//!   what a server of calls sends unasked.
//!
//! # Which client
//!
//! | the program | takes |
//! |---|---|
//! | calls from threads, and may wait | [`Client`] |
//! | has a service that starts, stops and dies | [`ReconnectingClient`], from [`ClientOptions::reconnecting`] |
//! | should start the service if none is there | [`ClientOptions::start_with`] |
//! | runs on tokio | `tokio::Client`, or `tokio::ReconnectingClient` (feature `tokio`) |
//! | has an event loop of its own | [`Incoming`], with [`Client::start`] and [`Call::try_wait`] |
//! | has the service as a child process | [`Client::spawn`] |
//! | wants a trait with methods instead of bytes | `typed` (feature `typed`), over any of these |
//! | speaks to a server that is not made with this crate | [`MessageClient`], with a [`framing`] |
//!
//! And which server:
//!
//! | the handler | takes |
//! |---|---|
//! | replies at once | [`Server::serve`] |
//! | replies later, from anywhere | [`Server::serve_deferred`] |
//! | blocks | [`Server::serve_workers`] |
//! | is async | `Server::serve_tasks` (feature `tokio`) |
//! | is a trait with methods | `Server::serve_typed` (feature `typed`) |
//! | is a `tower::Service` | `Server::serve_service` (feature `tower`) |
//!
//! # Features
//!
//! None is on by default.
//!
//! | feature | adds |
//! |---|---|
//! | `tokio` | the async client, and async handlers |
//! | `tower` | a client as a `tower::Service`, and servers of one; with `tokio` |
//! | `typed` | services as traits, with MessagePack or JSON |
//! | `tracing` | spans of calls and requests, and traces that go through them |
//! | `test-util` | programs of servers and async clients with a seed and a clock that stands still (`memory::Simulation`); with `tokio` |
//!
//! [`recipes`] has what applications want most often, [`monitor`] what a running server shows to tools.
//!
//! # Promises
//!
//! - Only the user who started the server may connect, and root or LocalSystem, unless [`Access`]
//!   allows others.
//! - Nothing grows without a limit: see [`Limits`]. A slow client delays only itself.
//! - Each call ends exactly once: with a reply, an error, or the reason why the connection ended.
//! - Errors say who is at fault ([`Error::fault`]), name the endpoint, and say what to do.
//!
//! [`calls`] says which kind of call to use, which order is kept, what is limited, and what happens to a call when
//! something goes wrong.
//!
//! `docs/PROTOCOL.md` specifies the bytes on the wire for programs in other languages. The glossary at
//! the end of `ARCHITECTURE.md` defines the terms.

/// Compiles the code in the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(doctest)]
mod guide;

pub mod calls;
pub mod endpoint;
pub mod framing;

mod access;
mod account;
#[cfg(feature = "tokio")]
mod async_io;
mod body;
mod byte_stream;
mod client;
mod client_stream;
mod clock;
mod connection_id;
mod connections;
mod counts;
mod error;
pub mod exchange;
mod goodbye;
mod guard;
mod ids;
mod layer;
mod limits;
mod message_server;
pub mod monitor;
mod nesting;
mod peer;
pub mod recipes;
mod sddl;
mod send_error;
mod server;
#[cfg(feature = "test-util")]
mod simulation;
mod stdio;
mod sync;
mod text;
#[cfg(feature = "tokio")]
pub mod tokio;
#[cfg(feature = "tower")]
pub mod tower;
mod trace;
#[cfg(feature = "tracing")]
pub mod tracing;
#[cfg(feature = "typed")]
pub mod typed;
mod waker;

// Code for an operating system is beside `src/`, not in it. This is the only path attribute of the
// package, so that each side can be read, checked and moved separately.
#[path = "../backends/mod.rs"]
mod backends;

pub use access::{Access, Principal, Trust};
pub use account::{Account, Share};
pub use backends::{ListeningSocket, LocalServer, StreamServer, Waitable, memory};
pub use body::{Body, IntoBody};
pub use byte_stream::ByteStream;
/// The crate of the buffers that hold messages.
pub use bytes;
pub use client::{
    Backoff, Batch, Call, ChildProcess, Client, ClientCounts, ClientOptions, Incoming,
    MessageClient, Notification, Parts, Received, ReconnectingClient, ServerMessage, ServerRequest,
    Start, Subscription, Upload,
};
pub use client_stream::{ClientStream, ReadMessage};
pub use counts::{CallCounts, CallEnd, Traffic};
pub use endpoint::{Endpoint, NAME_MAX, NameError};
pub use error::{CloseReason, Error, ErrorReply, Fault, Progress, STDERR_LINES, StartError};
pub use exchange::Metadata;
pub use goodbye::Goodbye;
pub use limits::Limits;
pub use message_server::{ConnectionId, Event, MessageServer, Refusal, SendError, Waker};
pub use peer::Peer;
pub use sddl::SddlError;
pub use server::{
    ClientCall, ClientNotification, Connection, Connections, Counters, Failure, Instances,
    Interrupt, IntoReply, PartError, PartSender, Published, ReceiveError, Request, RequestParts,
    Responder, Risk, Server, ServerCounts, ServerOptions, SlowCall, Stopper, Topic, WhenFull,
    Workers,
};
