//! Unix domain sockets.

mod address;
mod client;
mod client_stream;
mod directory;
mod ending;
mod explain;
mod handed_over;
mod identity;
mod inherited;
mod interest;
mod listener;
mod names;
mod place;
mod readiness;
mod socket;
mod standard;
mod start_lock;
mod stream;
#[cfg(test)]
mod tests;
#[cfg(feature = "tokio")]
mod tokio_socket;
mod unmapped;
mod wakeup;

pub(crate) use address::locate;
pub(crate) use client::connect;
pub use handed_over::ListeningSocket;
pub(crate) use inherited::spawn;
pub(super) use inherited::{check_standard_streams, inherit};
pub(super) use listener::Listener;
pub(crate) use names::names;
pub(super) use standard::take_standard_streams;
pub(crate) use start_lock::StartLock;
#[cfg(feature = "tokio")]
pub(super) use tokio_socket::{TokioStream, open_tokio, retries};
pub(super) use wakeup::wait_signalled;
