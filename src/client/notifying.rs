//! Notifications to the server.

use super::Client;
use super::pending::NotBegun;
use crate::body::{Body, IntoBody};
use crate::clock;
use crate::error::Error;
use crate::exchange::Message;
#[cfg(doc)]
use crate::limits::Limits;
use std::time::Duration;

impl Client {
    /// Sends a message that needs no reply, with the [method](Client::with_method) and the
    /// [metadata](Client::with_metadata) of this client. Notifications arrive in the order in which they were sent; small
    /// calls may overtake them. Whether one has arrived is not known: a call tells that.
    ///
    /// It does not block, but for the first message of more than 240 bytes, which waits for the server's settings, at
    /// most for the time of a call. What the server has no credit for waits in the client, up to [`Limits::queued`] bytes
    /// with 64 for each; it is sent by the next thread that sends or reads. When the connection ends it is lost.
    ///
    /// ```no_run
    /// let client = msgpipe::Client::connect("com.example.notes")?;
    /// client.notify("the window was closed")?;
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Full`] if so much waits that no more is taken, and [`Error::TooLarge`]: both return the message.
    /// [`Error::Closed`] if the connection has ended, [`Error::Deadline`] if the settings have not come.
    pub fn notify(&self, body: impl IntoBody) -> Result<(), Error> {
        self.notify_until(body.into_body(), None)
    }

    /// As [`notify`](Client::notify), but if too much waits it waits until there is room, at most for `limit`. It reads
    /// meanwhile, or lets another thread read.
    ///
    /// # Errors
    /// As [`notify`](Client::notify), with [`Error::Deadline`] instead of [`Error::Full`]: the message was not sent.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// let client = msgpipe::Client::connect("com.example.notes")?;
    /// for line in 0..1_000_000 {
    ///     client.notify_within(line.to_string(), Duration::from_secs(5))?;
    /// }
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    pub fn notify_within(&self, body: impl IntoBody, limit: Duration) -> Result<(), Error> {
        self.notify_until(body.into_body(), Some(limit))
    }

    fn notify_until(&self, body: Body<'_>, limit: Option<Duration>) -> Result<(), Error> {
        let (inner, began) = (&self.inner, clock::now());
        let time = limit.unwrap_or(self.timeout);
        let body: Body<'static> = body.into_bytes().into();
        let failed = |why| self.with_timeout(time).not_begun(why, body.clone(), began);
        let deadline = began + self.with_timeout(time).timeout;
        inner.wait_for_limit(body.len(), deadline).map_err(failed)?;
        let bytes = body.clone().into_bytes();
        let metadata = self.metadata.clone();
        let message = Message { metadata, method: self.method, ..Message::new(bytes, false) };
        let mut sent = inner.notify(message.clone());
        if matches!(sent, Err(NotBegun::Full { .. })) {
            // The server may have given credit.
            inner.look();
            sent = inner.notify(message.clone());
        }
        while limit.is_some() && matches!(sent, Err(NotBegun::Full { .. })) {
            inner.wait_for_room(deadline).map_err(failed)?;
            sent = inner.notify(message.clone());
        }
        sent.map_err(failed)
    }
}
