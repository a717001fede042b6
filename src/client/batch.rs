//! Requests that are sent together.

use super::{Call, Client};
use crate::body::{Body, IntoBody};
use crate::clock;
use crate::error::Error;
use std::fmt;

/// Collects requests and sends them in one write. For many small requests this is several times faster than
/// one by one. No call begins before [`send`](Batch::send).
///
/// ```no_run
/// let client = msgpipe::Client::connect("com.example.notes")?;
/// let mut batch = client.batch();
/// for request in ["one", "two", "three"] {
///     batch.add(request);
/// }
/// for call in batch.send()? {
///     println!("{:?}", call.wait()?);
/// }
/// # Ok::<_, msgpipe::Error>(())
/// ```
#[must_use = "a batch that is not sent does nothing"]
pub struct Batch<'a> {
    client: &'a Client,
    requests: Vec<Body<'static>>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(client: &'a Client) -> Batch<'a> {
        Batch { client, requests: Vec::new() }
    }

    /// Adds a request. The batch copies borrowed bytes, as it sends them later.
    pub fn add(&mut self, request: impl IntoBody) -> &mut Self {
        self.requests.push(request.into_body().into_bytes().into());
        self
    }

    /// Sends all requests, or none. Returns the calls in the order of their requests; their deadlines count
    /// from here. Blocks while the server does not read, at most for the time of one call.
    ///
    /// # Errors
    /// As [`Client::start`]. [`Error::TooLarge`], [`Error::Unsendable`] and [`Error::TooManyCalls`] return
    /// the refused request; none was sent then.
    pub fn send(self) -> Result<Vec<Call>, Error> {
        let (client, began) = (self.client, clock::now());
        let span = client.span();
        let ids = client.start_all(&self.requests, began, false, &span)?;
        let deadline = began + client.time(began);
        let call = |id| Call::new(client.inner.clone(), id, began, deadline, span.clone());
        Ok(ids.into_iter().map(call).collect())
    }
}

impl fmt::Debug for Batch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("requests", &self.requests.len()).finish_non_exhaustive()
    }
}
