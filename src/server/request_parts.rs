//! Requests of any number of parts.

use super::connection::Origin;
use super::inflow::{Inflow, RequestEnd, Taken};
use super::outbox::Given;
use crate::clock;
use crate::nesting;
use bytes::{Buf, Bytes};
use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The parts of a request, in order, for any thread; [`Request::into_parts`](super::Request::into_parts) returns it.
///
/// As an iterator it waits for each part, without a limit: [`next_within`](RequestParts::next_within) has one, for
/// clients that begin a request and do not go on: with [workers](super::Workers) each of them has a thread until then.
/// As [`Read`] it joins the bytes of all parts. Parts that are not taken
/// make the client wait, up to [`Limits::call_window`](crate::Limits::call_window) bytes of a request and
/// [`Limits::connection_window`](crate::Limits::connection_window) of a client. Dropping it makes the client stop
/// sending; the request can still be answered.
///
/// ```no_run
/// use std::io::Read;
///
/// let server = msgpipe::Server::bind("com.example.store")?.accept_streams();
/// server.serve_deferred(|request, responder| {
///     std::thread::spawn(move || {
///         let mut text = String::new();
///         match request.into_parts().read_to_string(&mut text) {
///             Ok(size) => responder.reply(format!("{size} bytes")),
///             Err(error) => responder.reply(Err::<&str, _>(error.to_string())),
///         }
///     });
/// })?;
/// # Ok::<_, msgpipe::Error>(())
/// ```
#[must_use = "a request that is dropped is stopped"]
pub struct RequestParts {
    inflow: Arc<Inflow>,
    id: u32,
    /// `None` for a request of one message.
    origin: Option<Arc<Origin>>,
    /// Of the part that is being read.
    rest: Bytes,
}

/// Why there is no next part of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// The call was cancelled or answered, its deadline has passed, or the connection has ended.
    #[error("the call is over: no more of its request comes")]
    Cancelled,
    /// The client gave up before the end of its request.
    #[error("the client gave up its request before the end: it is incomplete")]
    Incomplete,
    /// No part has arrived within this time. The next one can still be waited for.
    #[error("no part of the request has arrived within {after:?}")]
    Late {
        /// The time.
        after: Duration,
    },
    /// The server's own thread cannot wait for a part that it has to read itself.
    #[error(
        "a handler in the server's loop cannot wait for parts: use another thread, or try_next"
    )]
    WouldBlock,
}

impl RequestParts {
    /// The parts of a request of one message.
    pub(super) fn of_one(body: Bytes) -> RequestParts {
        let inflow = Arc::new(Inflow::of_one(body));
        RequestParts { inflow, id: 0, origin: None, rest: Bytes::new() }
    }

    pub(super) fn new(inflow: Arc<Inflow>, id: u32, origin: Arc<Origin>) -> RequestParts {
        RequestParts { inflow, id, origin: Some(origin), rest: Bytes::new() }
    }

    pub(super) fn inflow(&self) -> &Arc<Inflow> {
        &self.inflow
    }

    /// Waits for the next part, at most for `timeout`. `None`: the request has ended.
    ///
    /// # Errors
    /// See [`ReceiveError`].
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # fn of(mut parts: msgpipe::RequestParts) -> Result<(), msgpipe::ReceiveError> {
    /// while let Some(part) = parts.next_within(Duration::from_secs(5))? {
    ///     println!("{part:?}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn next_within(&mut self, timeout: Duration) -> Result<Option<Bytes>, ReceiveError> {
        let until = clock::now().checked_add(timeout);
        self.next_until(until).unwrap_or(Err(ReceiveError::Late { after: timeout }))
    }

    /// Returns the next part if it has arrived; does not wait. `None`: not yet. `Some(Ok(None))`: the request has ended.
    ///
    /// # Errors
    /// [`ReceiveError::Cancelled`] and [`ReceiveError::Incomplete`].
    pub fn try_next(&mut self) -> Option<Result<Option<Bytes>, ReceiveError>> {
        let taken = self.inflow.take();
        self.taken(taken)
    }

    fn next_until(
        &mut self,
        until: Option<Instant>,
    ) -> Option<Result<Option<Bytes>, ReceiveError>> {
        if self.origin.as_ref().is_some_and(|it| it.outbox.is_on_loop()) {
            return self.try_next().or(Some(Err(ReceiveError::WouldBlock)));
        }
        let _waiting = nesting::wait();
        let taken = self.inflow.wait(until);
        self.taken(taken)
    }

    pub(super) fn taken(
        &self,
        (taken, tells): (Taken, bool),
    ) -> Option<Result<Option<Bytes>, ReceiveError>> {
        self.tell(tells);
        Some(match taken {
            Taken::Nothing => return None,
            Taken::Part(part) => Ok(Some(part)),
            Taken::End(RequestEnd::Complete) => Ok(None),
            Taken::End(RequestEnd::Incomplete) => Err(ReceiveError::Incomplete),
            Taken::End(RequestEnd::Cancelled) => Err(ReceiveError::Cancelled),
        })
    }

    /// Tells the loop that there is something for it.
    fn tell(&self, tells: bool) {
        if let Some(origin) = self.origin.as_ref().filter(|_| tells) {
            origin.give(self.id, Given::Taken(self.inflow.clone()));
        }
    }
}

impl Iterator for RequestParts {
    type Item = Result<Bytes, ReceiveError>;

    fn next(&mut self) -> Option<Result<Bytes, ReceiveError>> {
        self.next_until(None)?.transpose()
    }
}

impl Read for RequestParts {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() && !buffer.is_empty() {
            match self.next() {
                Some(part) => self.rest = part.map_err(io::Error::from)?,
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.rest.len());
        self.rest.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

impl From<ReceiveError> for io::Error {
    fn from(error: ReceiveError) -> io::Error {
        let kind = match error {
            ReceiveError::Cancelled => io::ErrorKind::BrokenPipe,
            ReceiveError::Incomplete => io::ErrorKind::UnexpectedEof,
            ReceiveError::Late { .. } => io::ErrorKind::TimedOut,
            ReceiveError::WouldBlock => io::ErrorKind::WouldBlock,
        };
        io::Error::new(kind, error)
    }
}

impl Drop for RequestParts {
    fn drop(&mut self) {
        let tells = self.inflow.leave();
        self.tell(tells);
    }
}

impl fmt::Debug for RequestParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestParts").field("id", &self.id).finish_non_exhaustive()
    }
}
