//! Requests that leave together.

use super::pending::Outcome;
use super::{Call, Client, Unsent};
use crate::error::{CloseReason, Error};
use bytes::Bytes;
use std::fmt;
use std::time::Instant;

/// Collects requests that leave together, in one write: for many small ones several times faster
/// than one by one.
///
/// ```no_run
/// let client = msgpipe::Client::connect("com.example.notes")?;
/// let mut batch = client.batch();
/// let calls = ["one", "two", "three"].map(|request| batch.start(request));
/// batch.send()?;
/// for call in calls {
///     println!("{:?}", call?.wait()?);
/// }
/// # Ok::<_, msgpipe::Error>(())
/// ```
///
/// Dropped instead of sent, its requests do not leave, and their calls end as if this side had
/// closed the connection.
#[must_use = "a batch that is not sent does nothing"]
pub struct Batch<'a> {
    client: &'a Client,
    requests: Vec<Unsent>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(client: &'a Client) -> Batch<'a> {
        Batch { client, requests: Vec::new() }
    }

    /// Adds a request. The time for its reply counts from here.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::TooManyCalls`] or [`Error::Closed`]; the batch stays as it was.
    pub fn start(&mut self, request: impl Into<Bytes>) -> Result<Call, Error> {
        let (call, unsent) = self.client.register(request.into())?;
        self.requests.push(unsent);
        Ok(call)
    }

    /// Sends what was collected. Blocks while the server does not take it, for the time of one call.
    ///
    /// # Errors
    /// [`Error::Deadline`] or [`Error::Closed`].
    pub fn send(mut self) -> Result<(), Error> {
        let deadline = Instant::now().checked_add(self.client.timeout);
        self.client.send(&mut std::mem::take(&mut self.requests), deadline)
    }
}

impl fmt::Debug for Batch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("requests", &self.requests.len()).finish_non_exhaustive()
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        for request in &self.requests {
            self.client.inner.pending.withdraw(request.id, Outcome::Closed(CloseReason::Local));
        }
    }
}
