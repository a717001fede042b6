//! A subscription that is taken up again.

use super::ReconnectingClient;
use super::patience::Patience;
use super::resuming::{Next, Received, Resuming};
use crate::client::Parts;
use crate::clock;
use crate::error::{Error, Progress};
use crate::limits::Limits;
use bytes::Bytes;
use std::fmt;
use std::time::Duration;

/// A reply of any number of parts that goes on over the ends of connections:
/// [`ReconnectingClient::subscribe`]. The end of the reply ends it too, unless the server stops. As an iterator it waits for each part without a limit, and after the end of a
/// connection for as many tries as [`Backoff::tries`](super::Backoff::tries) allows; each part begins them anew.
/// Dropping it cancels the call.
#[must_use = "a subscription that is dropped is cancelled"]
pub struct Subscription {
    client: ReconnectingClient,
    request: Bytes,
    /// `None`: it has to be taken up again.
    parts: Option<Parts>,
    state: Resuming,
}

impl Subscription {
    /// Subscribes, within the time of a call.
    pub(super) fn new(client: ReconnectingClient, request: Bytes) -> Result<Subscription, Error> {
        let patience = client.patience();
        let mut subscription =
            Subscription { client, request, parts: None, state: Resuming::default() };
        subscription.take_up(patience)?;
        Ok(subscription)
    }

    /// Waits for the next part, or the news of a gap, at most for `timeout`. `None`: the server has ended the
    /// reply.
    ///
    /// # Errors
    /// [`Error::Deadline`] if there is nothing within `timeout`: the next one can still be waited for. The others end the
    /// subscription: [`Error::GaveUp`] after as many tries as may be, [`Error::Answered`] for an error reply,
    /// [`Error::TooManyCalls`] if other calls have all places of the new connection, and
    /// [`Error::Closed`] if another connection would end in the same way.
    ///
    /// ```no_run
    /// use msgpipe::{Backoff, ClientOptions, Received};
    /// use std::time::Duration;
    ///
    /// let client = ClientOptions::new().reconnecting("com.example.news", Backoff::new())?;
    /// let mut news = client.subscribe("all news")?;
    /// while let Some(received) = news.next_within(Duration::from_secs(60))? {
    ///     match received {
    ///         Received::Part(news) => println!("{news:?}"),
    ///         Received::Gap(reason) => println!("some news may be missing: {reason}"),
    ///         _ => {}
    ///     }
    /// }
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    pub fn next_within(&mut self, timeout: Duration) -> Result<Option<Received>, Error> {
        let given = Some(Limits::clamp(timeout));
        self.receive(Patience { began: clock::now(), given })
    }

    fn receive(&mut self, patience: Patience) -> Result<Option<Received>, Error> {
        while !self.state.is_over {
            if self.parts.is_none() {
                if let Err(error) = self.take_up(patience) {
                    let is_late = patience.is_over(clock::now());
                    let is_over = self.state.is_given_up(is_late, &self.client.link.backoff);
                    return Err(if is_over { error } else { self.late(patience) });
                }
            }
            if let Some(gap) = self.state.gap() {
                return Ok(Some(gap));
            }
            let Some(parts) = &mut self.parts else { continue };
            let Some(part) = parts.next_until(patience.until()) else {
                return Err(self.late(patience));
            };
            let (link, stops) = (&self.client.link, || parts.server_stops());
            let (endpoint, is_closed) = (parts.endpoint(), || link.is_closed());
            match self.state.received(part, stops, endpoint, is_closed, &link.backoff)? {
                Next::Part(part) => return Ok(Some(Received::Part(part))),
                Next::Over => return Ok(None),
                Next::TakeUp { has_pause } => {
                    self.parts = None;
                    if has_pause {
                        link.pause(&self.state.tries, patience);
                    }
                }
            }
        }
        Ok(None)
    }

    /// Sends the request on the present connection, or on a new one.
    fn take_up(&mut self, patience: Patience) -> Result<(), Error> {
        while self.parts.is_none() {
            let request = &self.request;
            self.parts =
                self.client.begin(&mut self.state.tries, patience, |it| it.stream(request))?;
        }
        Ok(())
    }

    fn late(&self, patience: Patience) -> Error {
        let given = patience.given.unwrap_or_default();
        Error::late(&self.client.link.name(), given, patience.began, Progress::NoRequest)
    }
}

impl Iterator for Subscription {
    type Item = Result<Received, Error>;

    fn next(&mut self) -> Option<Result<Received, Error>> {
        self.receive(Patience { began: clock::now(), given: None }).transpose()
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("endpoint", &self.client.link.endpoint)
            .field("is_over", &self.state.is_over)
            .finish_non_exhaustive()
    }
}
