//! The place of a call among those that may be in flight, kept before the call is begun.

use super::Client;
use super::shared::Handle;
use crate::client::pending::{NotBegun, Until, Waited};
use crate::error::Error;
use bytes::Bytes;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Given back when it is dropped.
pub(crate) struct Place {
    inner: Option<Arc<Handle>>,
}

impl Place {
    /// A call begins in it. Returns whether there is one, as always.
    pub fn take(mut self) -> bool {
        self.inner.take().is_some()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(inner) = &self.inner {
            inner.pending.give_back_place();
        }
    }
}

/// Waits for places, one at a time. A clone waits for its own.
pub(crate) struct Places {
    client: Client,
    key: Option<u64>,
}

impl Places {
    pub fn new(client: Client) -> Places {
        Places { client, key: None }
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Keeps a place. The task is woken when there may be one; it has none before it polls again, so nothing is kept for
    /// who does not come.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Place, Error>> {
        let inner = &self.client.inner;
        match inner.pending.wait_until(&mut self.key, Until::MayCall, None, context.waker()) {
            Waited::Met => Poll::Ready(Ok(Place { inner: Some(inner.clone()) })),
            Waited::Closed(reason) => {
                let why = NotBegun::Closed(reason);
                Poll::Ready(Err(inner.not_begun(why, &Bytes::new())))
            }
            Waited::NotYet | Waited::Late => Poll::Pending,
        }
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.client.inner.pending.stop_waiting(key);
        }
    }
}
