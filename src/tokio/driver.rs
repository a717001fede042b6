//! The task of a connection.

use crate::backends::TokioIo;
use crate::client::driven;
use crate::error::CloseReason;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The task that reads and writes for a [`Client`](super::Client);
/// [`Client::connect_with_driver`](super::Client::connect_with_driver) returns it. It ends when the connection does, with the
/// reason. Nothing is sent, and no deadline is noticed, while nobody polls it. Dropped, it ends the connection and all
/// calls.
#[must_use = "nothing happens on a connection whose driver is not polled"]
pub struct Driver(driven::Driver<TokioIo>);

impl Driver {
    pub(super) fn new(driver: driven::Driver<TokioIo>) -> Driver {
        Driver(driver)
    }
}

impl Future for Driver {
    type Output = CloseReason;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<CloseReason> {
        Pin::new(&mut self.0).poll(context)
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").finish_non_exhaustive()
    }
}
