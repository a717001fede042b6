//! Unix domain sockets, of the stream kind.

mod client;
mod identity;
mod listener;
mod lock;
mod place;
mod stream;

pub(crate) use client::connect;
pub(super) use listener::Listener;
