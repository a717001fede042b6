//! Unix domain sockets.

mod address;
mod client;
mod client_stream;
mod directory;
mod explain;
mod handed_over;
mod identity;
mod interest;
mod listener;
mod place;
mod readiness;
mod socket;
mod start_lock;
mod stream;
#[cfg(test)]
mod tests;
mod unmapped;
mod wakeup;

pub(crate) use address::locate;
pub(crate) use client::connect;
pub use handed_over::ListeningSocket;
pub(super) use listener::Listener;
pub(crate) use start_lock::StartLock;
pub(super) use wakeup::wait_signalled;
