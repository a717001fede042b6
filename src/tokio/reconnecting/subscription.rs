//! A subscription that is taken up again.

use super::ReconnectingClient;
use crate::client::driven::Parts;
use crate::client::reconnecting::Received;
use crate::client::reconnecting::patience::Patience;
use crate::client::reconnecting::resuming::{Next, Resuming};
use crate::client::reconnecting::tries::Tries;
use crate::error::Error;
use crate::tokio::runtime::now;
use bytes::Bytes;
use futures_core::Stream;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// A reply of any number of parts that goes on over the ends of connections:
/// [`ReconnectingClient::subscribe`]. The end of the reply ends it too, unless the server stops.
///
/// It is a [`Stream`]; an item that is an error is the last. It waits for each part without a limit, and after the end of a
/// connection for as many tries as [`Backoff::tries`](crate::Backoff::tries) allows; each part begins them anew. It is taken up
/// again while it is polled. Dropping it cancels the call.
///
/// ```no_run
/// # async fn f() -> Result<(), msgpipe::Error> {
/// use msgpipe::{Backoff, ClientOptions, Received, tokio::ReconnectingClient};
///
/// let options = ClientOptions::new();
/// let client = ReconnectingClient::new("com.example.news", &options, Backoff::new())?;
/// let mut news = client.subscribe("all news").await?;
/// while let Some(received) = news.next().await {
///     match received? {
///         Received::Part(news) => println!("{news:?}"),
///         Received::Gap(reason) => println!("some news may be missing: {reason}"),
///         _ => {}
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "a subscription that is dropped is cancelled"]
pub struct Subscription {
    client: ReconnectingClient,
    request: Bytes,
    reply: Reply,
    state: Resuming,
}

/// Where the parts are from.
enum Reply {
    Parts(Parts),
    TakingUp(TakingUp),
}

type TakingUp = Pin<Box<dyn Future<Output = (Tries, Result<Parts, Error>)> + Send + Sync>>;

impl Subscription {
    /// Subscribes, within the time of a call.
    pub(super) async fn new(
        client: ReconnectingClient,
        request: Bytes,
    ) -> Result<Subscription, Error> {
        let patience = client.patience();
        let taking_up = take_up(client.clone(), request.clone(), Tries::default(), patience, false);
        let (tries, parts) = taking_up.await;
        let mut state = Resuming::default();
        state.tries = tries;
        let reply = Reply::Parts(parts?);
        Ok(Subscription { client, request, reply, state })
    }

    /// Waits for the next part, or the news of a gap. `None`: the server has ended the reply, or an error was returned.
    /// There is no limit of time: put a `timeout` around it.
    ///
    /// Cancel safety: a dropped future takes nothing, and the next one goes on where it was.
    ///
    /// # Errors
    /// They end the subscription: [`Error::GaveUp`] after as many tries as may be, [`Error::Answered`] for an error reply,
    /// [`Error::TooManyCalls`] if other calls have all places of the new connection, and
    /// [`Error::Closed`] if another connection would end in the same way; [`Error::Misuse`] outside of a runtime of tokio.
    pub async fn next(&mut self) -> Option<Result<Received, Error>> {
        poll_fn(|context| self.poll_received(context)).await
    }

    fn poll_received(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Received, Error>>> {
        while !self.state.is_over {
            let parts = match &mut self.reply {
                Reply::Parts(parts) => parts,
                Reply::TakingUp(taking_up) => {
                    let (tries, parts) = ready!(taking_up.as_mut().poll(context));
                    self.state.tries = tries;
                    match parts {
                        Ok(parts) => self.reply = Reply::Parts(parts),
                        Err(error) => {
                            self.state.is_over = true;
                            return Poll::Ready(Some(Err(error)));
                        }
                    }
                    continue;
                }
            };
            if let Some(gap) = self.state.gap() {
                return Poll::Ready(Some(Ok(gap)));
            }
            let part = ready!(parts.poll_part(context)).transpose();
            let (link, stops) = (&self.client.link, || parts.server_stops());
            let (endpoint, is_closed) = (parts.endpoint(), || link.is_closed());
            match self.state.received(part, stops, endpoint, is_closed, &link.backoff) {
                Ok(Next::Part(part)) => return Poll::Ready(Some(Ok(Received::Part(part)))),
                Ok(Next::Over) => return Poll::Ready(None),
                Ok(Next::TakeUp { has_pause }) => {
                    let patience = Patience { began: now(), given: None };
                    let tries = std::mem::take(&mut self.state.tries);
                    let (client, request) = (self.client.clone(), self.request.clone());
                    let taking_up = take_up(client, request, tries, patience, has_pause);
                    self.reply = Reply::TakingUp(Box::pin(taking_up));
                }
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
        Poll::Ready(None)
    }
}

/// Sends the request on the present connection, or on a new one.
async fn take_up(
    client: ReconnectingClient,
    request: Bytes,
    mut tries: Tries,
    patience: Patience,
    has_pause: bool,
) -> (Tries, Result<Parts, Error>) {
    if has_pause {
        client.link.pause(&tries, patience).await;
    }
    loop {
        let request = request.clone();
        let stream = |client: super::Client| async move { client.stream(request).await };
        match client.begin(&mut tries, patience, stream).await {
            Ok(None) => {}
            Ok(Some(parts)) => return (tries, Ok(parts)),
            Err(error) => return (tries, Err(error)),
        }
    }
}

impl Stream for Subscription {
    type Item = Result<Received, Error>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Received, Error>>> {
        self.poll_received(context)
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
