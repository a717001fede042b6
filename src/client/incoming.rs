//! Listening: what a server sends unasked.

use super::Client;
use super::inner::Inner;
use super::pending::{Next, UNASKED};
use super::server_message::ServerMessage;
use crate::clock;
use crate::error::{CloseReason, Error, Progress};
use crate::guard::guarded;
#[cfg(doc)]
use crate::limits::Limits;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the server sends unasked: its notifications, and its calls to this client, in the order in which they arrive.
/// [`Client::incoming`] begins it.
///
/// As an iterator it waits for each message, without a limit: [`next_within`](Incoming::next_within) has one. An item
/// that is an error is the last: it says why the connection has ended. What has arrived before the end comes first;
/// but calls that nobody waits for any more are passed over.
///
/// It is a queue with limits, whatever the server sends and however seldom the application looks:
///
/// | what waits | at most | at the limit |
/// |---|---|---|
/// | notifications | [`Limits::call_window`] bytes, with 64 for each, and one larger than half of it | the server waits with further ones |
/// | calls, bytes | [`Limits::queued`] with 64 for each, and one more | the server gets [`ErrorReply::TOO_MANY_REQUESTS`](crate::ErrorReply::TOO_MANY_REQUESTS) |
/// | calls, number, with those that were taken and not answered | [`Limits::in_flight`] | the same |
///
/// None of it holds back the replies of this client's own calls, nor closes the connection. Dropping it ends the listening: what has not been taken
/// is dropped, and calls are refused, as before it. It keeps the connection open, as a clone of the client does.
///
/// # Ways to listen
///
/// A client reads on the threads of the application. So one of them has to look:
///
/// - **A thread** in [`listen`](Incoming::listen), or in a loop over the iterator. What is read is handled on it; other
///   threads call on clones of the client meanwhile.
/// - **The application's own event loop**, that of a window for instance: it waits for the
///   [`waitable`](Client::waitable) beside all else, and calls [`dispatch`](Incoming::dispatch) when that is signalled. It
///   sends with calls that do not block: [`Client::notify`], [`Call::try_wait`](crate::Call::try_wait), and
///   [`Client::start`] as long as the system's buffer takes the request, some 100 KB.
/// - **Now and then**: with [`try_next`](Incoming::try_next), between other things. Calls read what arrives, and keep it
///   in the queue; a server that sends much waits meanwhile.
///
/// ```
/// use msgpipe::{Client, ServerMessage};
///
/// /// Runs on a thread of its own.
/// fn listen(client: &Client) -> Result<(), msgpipe::Error> {
///     let reason = client.incoming()?.listen(|message| match message {
///         ServerMessage::Notification(news) => println!("{:?}", news.body()),
///         ServerMessage::Request(request) => {
///             let reply = request.body();
///             request.reply(reply)
///         }
///         _ => {}
///     });
///     println!("no more: {reason}");
///     Ok(())
/// }
/// ```
pub struct Incoming {
    pub(super) inner: Arc<Inner>,
    /// The end has been returned.
    is_over: bool,
}

impl Client {
    /// Listens: from now on what the server sends unasked is kept until it is taken from [`Incoming`]. Before that, and
    /// after `Incoming` was dropped, notifications are dropped as they arrive, and calls of the server are refused. The
    /// ways to listen are described at [`Incoming`]. Does not block, and reads nothing.
    ///
    /// # Errors
    /// [`Error::Misuse`] if there is an `Incoming` of this connection already; [`Error::Closed`] if the connection has
    /// ended, or [`Error::Busy`] if the server has refused it.
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
    /// Returns the next message if it has arrived: reads arrived bytes and does not wait. `None`: not yet.
    ///
    /// # Errors
    /// [`Error::Closed`] if the connection has ended, and all that came before was taken; [`Error::Busy`] instead if the server
    /// has refused the connection.
    pub fn try_next(&mut self) -> Result<Option<ServerMessage>, Error> {
        if let Some(message) = self.take()? {
            return Ok(Some(message));
        }
        self.inner.look();
        self.take()
    }

    /// Waits for the next message, at most for `timeout`.
    ///
    /// # Errors
    /// [`Error::Deadline`] if none has arrived within `timeout`; [`Error::Closed`] and [`Error::Busy`] as with
    /// [`try_next`](Incoming::try_next).
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// let client = msgpipe::Client::connect("com.example.notes")?;
    /// let mut incoming = client.incoming()?;
    /// println!("{:?}", incoming.next_within(Duration::from_secs(5))?);
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    pub fn next_within(&mut self, timeout: Duration) -> Result<ServerMessage, Error> {
        let began = clock::now();
        let next = self.next_until(began.checked_add(timeout))?;
        next.ok_or_else(|| Error::late(&self.inner.endpoint, timeout, began, Progress::NoRequest))
    }

    /// Passes each message to `handler`, on this thread, until the connection ends or the client is
    /// [closed](Client::close). Returns the reason. Blocks until then.
    ///
    /// No lock is held while `handler` runs: it may call on the same client, also for what the server sends meanwhile,
    /// which waits until `handler` has returned. To end the listening and keep the connection, use
    /// [`next_within`](Incoming::next_within) in a loop instead.
    ///
    /// A panic of `handler` does not end the listening, as it does not end a server: the panic's message is printed by
    /// the panic hook as ever, a request that it was given is answered with
    /// [`ErrorReply::FAILED`](crate::ErrorReply::FAILED), and the next message is passed on. The state of `handler` stays
    /// as the panic left it.
    pub fn listen(mut self, mut handler: impl FnMut(ServerMessage)) -> CloseReason {
        loop {
            match self.next_until(None) {
                Ok(Some(message)) => {
                    guarded(|| message.pass_to(&mut handler));
                }
                Ok(None) => {}
                Err(_) => return self.inner.pending.closed().unwrap_or(CloseReason::Local),
            }
        }
    }

    /// The next message, or nothing until then.
    fn next_until(&mut self, until: Option<Instant>) -> Result<Option<ServerMessage>, Error> {
        loop {
            let taken = self.take()?;
            if taken.is_some() || until.is_some_and(|at| at <= clock::now()) {
                return Ok(taken);
            }
            self.inner.wait(&[UNASKED], until);
        }
    }

    /// The next message, if it has arrived.
    pub(super) fn take(&mut self) -> Result<Option<ServerMessage>, Error> {
        match self.inner.next_unasked() {
            Next::Item(item) => Ok(Some(ServerMessage::new(self.inner.clone(), item))),
            Next::Nothing => Ok(None),
            Next::Closed(reason) => {
                Err(Error::closed(&self.inner.endpoint, reason, Progress::NoRequest))
            }
        }
    }
}

impl Iterator for Incoming {
    type Item = Result<ServerMessage, Error>;

    fn next(&mut self) -> Option<Result<ServerMessage, Error>> {
        if self.is_over {
            return None;
        }
        let next = self.next_until(None).transpose();
        self.is_over = next.as_ref().is_none_or(Result::is_err);
        next
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").field("endpoint", &self.inner.endpoint).finish_non_exhaustive()
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.inner.stop_listening();
    }
}
