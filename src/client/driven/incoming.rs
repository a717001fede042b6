//! Listening: what a server sends unasked.

use super::Client;
use super::shared::Handle;
use crate::client::pending::{Next, UNASKED};
use crate::client::server_message::ServerMessage;
use crate::error::{Error, Progress};
use futures_core::Stream;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// What the server sends unasked: its notifications, and its calls to this client, in the order in which they arrive.
/// [`Client::incoming`] begins it.
///
/// It is a [`Stream`]; an item that is an error is the last, and says why the connection has ended. What waits in it has
/// the limits of [`msgpipe::Incoming`](crate::Incoming), and holds back no reply. Dropping it ends the listening. It keeps
/// the connection open, as a clone of the client does.
///
/// A [`ServerRequest`](crate::ServerRequest) may be answered from any task or thread, at any time.
///
/// ```no_run
/// # async fn f(client: msgpipe::tokio::Client) -> Result<(), msgpipe::Error> {
/// use msgpipe::ServerMessage;
/// let mut incoming = client.incoming()?;
/// while let Some(message) = incoming.next().await {
///     match message? {
///         ServerMessage::Notification(news) => println!("{:?}", news.body()),
///         ServerMessage::Request(request) => {
///             let reply = request.body();
///             request.reply(reply)
///         }
///         _ => {}
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub struct Incoming {
    inner: Arc<Handle>,
    /// The end has been returned.
    is_over: bool,
}

impl Client {
    /// Listens: from now on what the server sends unasked is kept until it is taken from [`Incoming`]. Before that, and
    /// after `Incoming` was dropped, notifications are dropped as they arrive, and calls of the server are refused.
    ///
    /// # Errors
    /// [`Error::Misuse`] if there is an `Incoming` of this connection already; [`Error::Closed`] if the connection has
    /// ended.
    pub fn incoming(&self) -> Result<Incoming, Error> {
        let (inner, endpoint) = (self.inner.clone(), self.inner.endpoint.clone());
        if let Some(reason) = inner.pending.closed() {
            return Err(Error::closed(&endpoint, reason, Progress::NoRequest));
        }
        if !inner.pending.listen() {
            let problem =
                "there is an Incoming of this connection already: share it, or drop it first";
            return Err(Error::Misuse { endpoint, problem: problem.to_owned() });
        }
        Ok(Incoming { inner, is_over: false })
    }
}

impl Incoming {
    /// Waits for the next message. `None`: the end was returned before.
    ///
    /// Cancel safety: a dropped future takes nothing.
    ///
    /// # Errors
    /// [`Error::Closed`] if the connection has ended, and all that came before was taken.
    pub async fn next(&mut self) -> Option<Result<ServerMessage, Error>> {
        poll_fn(|context| self.poll_message(context)).await
    }

    fn poll_message(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<ServerMessage, Error>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        loop {
            let (next, has_unsent) = self.inner.pending.next_unasked();
            if has_unsent {
                self.inner.kick();
            }
            match next {
                Next::Item(item) => {
                    return Poll::Ready(Some(Ok(ServerMessage::new(self.inner.clone(), item))));
                }
                Next::Closed(reason) => {
                    self.is_over = true;
                    let endpoint = &self.inner.endpoint;
                    let error = Error::closed(endpoint, reason, Progress::NoRequest);
                    return Poll::Ready(Some(Err(error)));
                }
                Next::Nothing => {}
            }
            if self.inner.pending.watch(UNASKED, context.waker()) {
                return Poll::Pending;
            }
        }
    }
}

impl Stream for Incoming {
    type Item = Result<ServerMessage, Error>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<ServerMessage, Error>>> {
        self.poll_message(context)
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").field("endpoint", &self.inner.endpoint).finish_non_exhaustive()
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.inner.pending.stop_listening();
        self.inner.kick();
    }
}
