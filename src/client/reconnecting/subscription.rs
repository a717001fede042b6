//! A subscription that is taken up again.

use super::ReconnectingClient;
use super::link::Patience;
use super::tries::{Loss, Tries, loss};
use crate::client::Parts;
use crate::error::{CloseReason, Error, ErrorReply, Progress};
use crate::framing::{FramingError, GoodbyeCode};
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a [`Subscription`] returns.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Received {
    /// The next part of the reply.
    Part(Bytes),
    /// The subscription was interrupted for this reason, and is taken up again: the request was sent on a new connection. What
    /// was published meanwhile is missing. A call that is made now is sent after that request.
    Gap(Arc<Error>),
}

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
    tries: Tries,
    /// Why it was interrupted. Not told yet.
    gap: Option<Arc<Error>>,
    is_over: bool,
}

impl Subscription {
    /// Subscribes, within the time of a call.
    pub(super) fn new(client: ReconnectingClient, request: Bytes) -> Result<Subscription, Error> {
        let patience = client.patience();
        let mut subscription = Subscription {
            client,
            request,
            parts: None,
            tries: Tries::default(),
            gap: None,
            is_over: false,
        };
        subscription.take_up(patience)?;
        Ok(subscription)
    }

    /// Waits for the next part, or the news of a gap, at most for `timeout`. `None`: the server has ended the
    /// reply.
    ///
    /// # Errors
    /// [`Error::Deadline`] if there is nothing within `timeout`: the next one can still be waited for. The others end the
    /// subscription: [`Error::GaveUp`] after as many tries as may be, [`Error::Answered`] for an error reply, and
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
        let given = Some(crate::limits::Limits::clamp(timeout));
        self.receive(Patience { began: Instant::now(), given })
    }

    fn receive(&mut self, patience: Patience) -> Result<Option<Received>, Error> {
        while !self.is_over {
            let Some(parts) = &mut self.parts else {
                if let Err(error) = self.take_up(patience) {
                    // At the end of the given time it can be gone on with.
                    let is_late = patience.until().is_some_and(|until| until <= Instant::now());
                    self.is_over = !is_late || self.tries.failed >= self.client.link.backoff.tries;
                    return Err(if self.is_over { error } else { self.late(patience) });
                }
                continue;
            };
            if let Some(reason) = self.gap.take() {
                return Ok(Some(Received::Gap(reason)));
            }
            let error = match parts.next_until(patience.until()) {
                None => return Err(self.late(patience)),
                Some(Ok(Some(part))) => {
                    self.tries = Tries::default();
                    return Ok(Some(Received::Part(part)));
                }
                Some(Ok(None)) if !parts.server_stops() => {
                    self.is_over = true;
                    return Ok(None);
                }
                // The end of a subscription, since its server stops.
                Some(Ok(None)) => stopped(parts.endpoint()),
                Some(Err(error)) => error,
            };
            self.interrupted(error, patience)?;
        }
        Ok(None)
    }

    /// The reply has ended with an error: it is taken up again, or is over.
    fn interrupted(&mut self, error: Error, patience: Patience) -> Result<(), Error> {
        let lagged = error.reply().is_some_and(|reply| reply.code == ErrorReply::LAGGED);
        let is_lost = loss(&error) != Loss::None;
        if !is_lost && !lagged || self.client.link.is_closed() {
            self.is_over = true;
            return Err(error);
        }
        self.parts = None;
        let error = Arc::new(error);
        self.gap = Some(error.clone());
        if let Err(error) = self.tries.count(error, &self.client.link.backoff) {
            self.is_over = true;
            return Err(error);
        }
        if is_lost {
            self.client.link.pause(&self.tries, patience);
        }
        Ok(())
    }

    /// Sends the request on the present connection, or on a new one.
    fn take_up(&mut self, patience: Patience) -> Result<(), Error> {
        while self.parts.is_none() {
            let request = &self.request;
            self.parts = self.client.begin(&mut self.tries, patience, |it| it.stream(request))?;
        }
        Ok(())
    }

    fn late(&self, patience: Patience) -> Error {
        let given = patience.given.unwrap_or_default();
        Error::late(&self.client.link.name(), given, patience.began, Progress::NoRequest)
    }
}

fn stopped(endpoint: &Arc<str>) -> Error {
    let text = "it stops".to_owned();
    let reason = FramingError::Goodbye { code: GoodbyeCode::STOPPING, text };
    Error::closed(endpoint, CloseReason::Peer(reason), Progress::NoRequest)
}

impl Iterator for Subscription {
    type Item = Result<Received, Error>;

    fn next(&mut self) -> Option<Result<Received, Error>> {
        self.receive(Patience { began: Instant::now(), given: None }).transpose()
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("endpoint", &self.client.link.endpoint)
            .field("is_over", &self.is_over)
            .finish_non_exhaustive()
    }
}
