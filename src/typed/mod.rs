//! Services as traits: typed calls, streams and subscriptions, with the types of the application. Feature `typed`.
//!
//! ```no_run
//! use msgpipe::typed::{self, ServiceError};
//! use msgpipe::{Client, Server, Workers};
//! use serde::{Deserialize, Serialize};
//!
//! #[typed::service]
//! pub trait Notes {
//!     /// Adds a note, and returns its number.
//!     fn add(&self, text: String) -> Result<u64, NoteError>;
//!     #[idempotent]
//!     fn get(&self, id: u64) -> Result<Note, NoteError>;
//! }
//!
//! #[derive(Debug, Serialize, Deserialize)]
//! pub struct Note {
//!     text: String,
//! }
//!
//! #[derive(Debug, thiserror::Error, Serialize, Deserialize)]
//! pub enum NoteError {
//!     #[error("no note {0}")]
//!     NotFound(u64),
//! }
//!
//! impl ServiceError for NoteError {}
//!
//! // The server's side: the trait is implemented, and served on workers.
//! struct Store;
//!
//! impl Notes for Store {
//!     fn add(&self, text: String) -> Result<u64, NoteError> {
//!         Ok(text.len() as u64)
//!     }
//!     fn get(&self, id: u64) -> Result<Note, NoteError> {
//!         Err(NoteError::NotFound(id))
//!     }
//! }
//!
//! fn serve() -> Result<(), msgpipe::Error> {
//!     Server::bind("com.example.notes")?.serve_typed(Workers::new(), NotesServer::new(Store))
//! }
//!
//! // The client's side: the same methods.
//! fn use_it() -> Result<(), Box<dyn std::error::Error>> {
//!     let notes = NotesClient::new(Client::connect("com.example.notes")?);
//!     let id = notes.add("milk".into())?;
//!     println!("{:?}", notes.get(id)?);
//!     Ok(())
//! }
//! ```
//!
//! # What a method can be
//!
//! | in the trait | of the client | |
//! |---|---|---|
//! | `fn get(&self, id: u64) -> Result<Note, E>` | `-> Result<Note, CallError<E>>` | a call |
//! | `fn now(&self) -> u64` | `-> Result<u64, CallError<Never>>` | a call without errors of its own |
//! | `-> Result<impl Iterator<Item = Result<Note, E>>, E>` | `-> Result<Replies<Note, E>, CallError<E>>` | a reply of many parts; `Item = Note` too |
//! | `fn import(&self, notes: Incoming<Note>) -> …` | `notes: impl IntoIterator<Item = Note>` | a request of many parts: [`Incoming`] |
//! | both | `-> Result<(Sender<…>, Replies<…>), …>` | a conversation |
//! | `fn export(&self, progress: Progress<u32>) -> …` | `progress: impl FnMut(u32)` | a reply, and progress until then: [`Progress`] |
//! | `fn watch(&self, news: Subscriber<News>)` | `-> Result<Subscription<News, E>, …>` | what is published from now on: [`Topic`] |
//! | `#[one_way] fn touched(&self, id: u64)` | `-> Result<(), …>` | no reply |
//! | `context: &Context` beside the arguments | no argument | who calls, and whether they still wait: [`Context`] |
//!
//! The types of arguments, replies, items and errors are `Serialize` and `DeserializeOwned`; errors are [`ServiceError`] too.
//! `#[idempotent]`: over a [`ReconnectingClient`](crate::ReconnectingClient) the call is sent again also if it may have been carried
//! out.
//!
//! A call with one reply ends at the deadline of its client. Items, updates and methods with [`Progress`] have none: see
//! [`Replies::next_within`] and [`Subscription::next_within`].
//!
//! With the feature `tokio` there is `NotesAsyncClient` too, over a `msgpipe::tokio::Client`: the same
//! methods, to be awaited. Items that are sent are a `Stream`, and those that come are one: `AsyncReplies`.
//!
//! # On the wire
//!
//! A method has a [number] made of its name, as `Notes.add`: the order in the trait means nothing. Arguments are a map from
//! their names. [`Codec`] says which forms there are. `docs/TYPED.md` has all of it, for programs in other languages, and says
//! what may be changed while old clients are in use.
#![forbid(unsafe_code)]

mod arguments;
#[cfg(feature = "tokio")]
mod async_client;
#[cfg(feature = "tokio")]
mod async_replies;
mod client;
mod codec;
mod context;
mod error;
mod incoming;
mod interface;
mod method;
mod progress;
mod received;
mod replies;
mod replying;
mod scan;
mod service;
mod serving;
mod step;
mod topic;

#[cfg(feature = "tokio")]
pub use async_client::AsyncCaller;
#[cfg(feature = "tokio")]
pub use async_replies::{AsyncReplies, AsyncSender};
pub use client::Caller;
pub use codec::{Codec, CodecError};
pub use context::Context;
pub use error::{CallError, Mismatch, Never, ServiceError, What, code};
pub use incoming::{Incoming, IncomingError};
pub use interface::{
    ArgumentDescription, Break, Described, Direction, Field, Interface, MethodDescription, Shape,
    TypeDescription, Variant, check_interface, compat,
};
pub use method::{Kind, number};
pub use msgpipe_macros::service;
pub use progress::Progress;
pub use replies::{Replies, Sender, Subscription, Update};
pub use service::Service;
pub use topic::{Subscriber, Topic};

/// What the code of the attribute uses. Not for others.
#[doc(hidden)]
pub mod hidden {
    #[cfg(feature = "tokio")]
    pub use futures_core::Stream;

    pub use super::method::Method;
    pub use super::serving::{
        ServerCall, Told, duplex, one_way, progress, replies, subscription, unary, upload,
    };
}

/// The code of the attribute cannot see the features of this crate: with the feature `tokio` this is what it is given.
#[cfg(feature = "tokio")]
#[doc(hidden)]
#[macro_export]
macro_rules! __with_tokio {
    ($($code:tt)*) => { $($code)* };
}

/// Without the feature `tokio` it is nothing.
#[cfg(not(feature = "tokio"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __with_tokio {
    ($($code:tt)*) => {};
}
