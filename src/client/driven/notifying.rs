//! Notifications to the server.

use super::Client;
use crate::body::IntoBody;
use crate::client::pending::{NotBegun, Until, Waited};
use crate::error::{Error, Progress};
use crate::exchange::Message;
#[cfg(doc)]
use crate::limits::Limits;
use bytes::Bytes;
use std::time::Duration;

impl Client {
    /// Sends a message that needs no reply, with the [method](Client::with_method) and the
    /// [metadata](Client::with_metadata) of this client. Notifications arrive in the order in which they were sent; small
    /// calls may overtake them. Whether one has arrived is not known: a call tells that.
    ///
    /// It waits only for the server's settings, if it is one of the first messages and has more than 240 bytes, at most for
    /// the time of a call. What the server has no credit for waits in the client, up to [`Limits::queued`] bytes with 64
    /// for each. When the connection ends it is lost.
    ///
    /// Cancel safety: dropped before it is done, the message was not sent.
    ///
    /// # Errors
    /// [`Error::Full`] if so much waits that no more is taken, and [`Error::TooLarge`]: both return the message.
    /// [`Error::Closed`] if the connection has ended, [`Error::Deadline`] if the settings have not come.
    pub async fn notify(&self, body: impl IntoBody) -> Result<(), Error> {
        self.notify_until(body.into_body().into_bytes(), None).await
    }

    /// As [`notify`](Client::notify), but if too much waits it waits until there is room, at most for `limit`.
    ///
    /// Cancel safety: dropped before it is done, the message was not sent. One that was forgotten keeps nothing from others.
    ///
    /// # Errors
    /// As [`notify`](Client::notify), with [`Error::Deadline`] instead of [`Error::Full`]: the message was not sent.
    pub async fn notify_within(&self, body: impl IntoBody, limit: Duration) -> Result<(), Error> {
        self.notify_until(body.into_body().into_bytes(), Some(limit)).await
    }

    async fn notify_until(&self, body: Bytes, limit: Option<Duration>) -> Result<(), Error> {
        let (inner, began) = (&self.inner, (self.inner.clock)());
        let time = self.with_timeout(limit.unwrap_or(self.timeout)).timeout;
        let deadline = began + time;
        let fits = inner.wait_for_limit(body.len(), deadline).await;
        fits.map_err(|why| inner.unfit(why, &body, time, began))?;
        let metadata = self.metadata.clone();
        let message =
            Message { metadata, method: self.method, ..Message::new(body.clone(), false) };
        loop {
            match inner.pending.notify(message.clone()) {
                Ok(()) => {
                    inner.kick();
                    return Ok(());
                }
                Err(NotBegun::Full { .. }) if limit.is_some() => {}
                Err(why) => return Err(inner.not_begun(why, &body)),
            }
            match inner.wait_until(Until::MayNotify, Some(deadline)).await {
                Waited::Met | Waited::NotYet => {}
                Waited::Late => {
                    return Err(Error::late(&inner.endpoint, time, began, Progress::NotBegun));
                }
                Waited::Closed(reason) => {
                    return Err(inner.not_begun(NotBegun::Closed(reason), &body));
                }
            }
        }
    }
}
