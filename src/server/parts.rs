//! Replies of any number of parts.

use super::Interrupt;
use super::flow::{Ending, Flow, Refused};
use super::outbox::Given;
use super::responder::Responder;
use crate::body::IntoBody;
use crate::error::ErrorReply;
use crate::exchange::Message;
use crate::limits::Limits;
use crate::nesting;
use bytes::Bytes;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Sends a reply of any number of parts, from any thread; [`Responder::into_parts`] makes it. The client takes them with
/// [`Client::stream`](crate::Client::stream).
///
/// Up to 512 KiB wait here for the server's loop, or one part of any size, and in the loop up to 256 KiB of all replies
/// of a client that takes its parts slowly, or one part of each; then [`send`](PartSender::send) waits for the client,
/// for any time: it is not closed for that. All but the first part here counts as memory of the client
/// ([`Limits::memory`](crate::Limits::memory)). Without memory for more, one part at a time goes on, and the next waits until it
/// has been sent.
///
/// Dropped without [`finish`](PartSender::finish) or [`fail`](PartSender::fail), as by a panic, the client learns that
/// the parts are incomplete.
///
/// ```no_run
/// let server = msgpipe::Server::bind("com.example.count")?;
/// server.serve_deferred(|request, responder| {
///     std::thread::spawn(move || {
///         let mut parts = responder.into_parts();
///         for number in 0..1000 {
///             if parts.send(number.to_string()).is_err() {
///                 return; // the client has gone, or takes no more
///             }
///         }
///         parts.finish();
///     });
/// })?;
/// # Ok::<_, msgpipe::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping it says that the parts are incomplete"]
pub struct PartSender {
    pub(super) responder: Responder,
    pub(super) flow: Arc<Flow>,
    is_ended: bool,
}

/// Why a part of a reply, or a notification, was not sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PartError {
    /// The call was cancelled, the client has gone, or the server has ended: nothing more is of use.
    #[error("cancelled: the client takes no more")]
    Cancelled,
    /// The body of a notification is over the client's limit. For a part see [`PartSender::send`].
    #[error("the body is over the client's limit of {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// There is no room for it; its body is returned here.
    #[error("the client has not taken what was sent before: there is no room for more")]
    Full(Bytes),
}

impl Responder {
    /// Replies with any number of parts instead of one reply; see [`PartSender`].
    pub fn into_parts(self) -> PartSender {
        let (responder, flow) = self.into_flow();
        PartSender { responder, flow, is_ended: false }
    }

    /// The way for parts of its reply. Whoever has it ends the reply.
    pub(super) fn into_flow(mut self) -> (Responder, Arc<Flow>) {
        self.set_answered();
        let flow = Arc::new(Flow::new(self.share()));
        (self, flow)
    }
}

impl Refused {
    pub fn into_error(self) -> PartError {
        match self {
            Refused::Gone => PartError::Cancelled,
            Refused::Full(part) => PartError::Full(part.body),
        }
    }
}

impl PartSender {
    /// Sends a part. Blocks while there is no room for it: until the client takes parts, or the call is cancelled.
    ///
    /// A part over the client's limit ends the reply with [`ErrorReply::REPLY_TOO_LARGE`] for the client, and the next
    /// `send` is refused.
    ///
    /// # Errors
    /// [`PartError::Cancelled`], also once the server has ended. On the server's own thread, inside a handler, it does not block:
    /// [`PartError::Full`].
    pub fn send(&mut self, part: impl IntoBody) -> Result<(), PartError> {
        let waits = !self.responder.is_on_loop();
        self.push(part.into_body().into_bytes(), waits, None)
    }

    /// As [`send`](PartSender::send), and blocks for `limit` at most: for a sender that has something else to do when its
    /// client takes nothing, or that rather gives up.
    ///
    /// ```no_run
    /// use msgpipe::{PartError, Server};
    /// use std::time::Duration;
    ///
    /// Server::bind("com.example.log")?.serve_deferred(|_, responder| {
    ///     std::thread::spawn(move || {
    ///         let mut parts = responder.into_parts();
    ///         for line in 0.. {
    ///             match parts.send_within(line.to_string(), Duration::from_secs(10)) {
    ///                 Ok(()) => {}
    ///                 Err(PartError::Full(_)) => return parts.fail("you are too slow"),
    ///                 Err(_) => return, // it takes no more
    ///             }
    ///         }
    ///     });
    /// })?;
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`PartError::Full`] with the part when the time is over. Others as of [`send`](PartSender::send).
    pub fn send_within(&mut self, part: impl IntoBody, limit: Duration) -> Result<(), PartError> {
        let waits = !self.responder.is_on_loop();
        self.push(part.into_body().into_bytes(), waits, Some(Limits::until(limit)))
    }

    /// Sends a part if there is room for it; does not block.
    ///
    /// # Errors
    /// See [`PartError`].
    pub fn try_send(&mut self, part: impl IntoBody) -> Result<(), PartError> {
        self.push(part.into_body().into_bytes(), false, None)
    }

    fn push(&mut self, part: Bytes, waits: bool, until: Option<Instant>) -> Result<(), PartError> {
        if self.is_cancelled() {
            return Err(PartError::Cancelled);
        }
        let metadata = std::mem::take(&mut self.responder.metadata);
        let part = Message { metadata, ..Message::new(part, false) };
        let pushed = match self.flow.push(part, false) {
            Err(Refused::Full(part)) if waits => {
                let _waiting = nesting::wait();
                self.flow.push_until(part, true, until)
            }
            pushed => pushed,
        };
        let tells = pushed.map_err(Refused::into_error)?;
        self.tell(tells);
        Ok(())
    }

    /// Whether the call is cancelled; see [`Request::is_cancelled`](crate::Request::is_cancelled).
    pub fn is_cancelled(&self) -> bool {
        self.responder.is_cancelled() || self.flow.is_gone()
    }

    /// As [`Responder::on_interrupt`].
    pub fn on_interrupt(&self, tell: impl FnMut(Interrupt) + Send + 'static) {
        self.responder.on_interrupt(tell);
    }

    /// Ends the reply: all parts have been sent.
    pub fn finish(self) {
        self.end(Ending::Complete);
    }

    /// Ends the reply with an error, which the client gets after the parts.
    pub fn fail(self, error: impl Into<ErrorReply>) {
        let error = error.into().of_application();
        self.end(Ending::Failed(error.into()));
    }

    fn end(mut self, ending: Ending) {
        self.is_ended = true;
        let tells = self.flow.end(ending);
        self.tell(tells);
    }

    /// Tells the loop that there is something for it.
    pub(super) fn tell(&self, tells: bool) {
        if tells {
            self.responder.give(Given::Parts(self.flow.clone()));
        }
    }
}

/// Each write is a part.
impl Write for PartSender {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.send(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(PartError::Full(_)) => Err(io::ErrorKind::WouldBlock.into()),
            Err(cancelled) => Err(io::Error::new(io::ErrorKind::BrokenPipe, cancelled)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for PartSender {
    fn drop(&mut self) {
        if !self.is_ended {
            let tells = self.flow.end(Ending::Broken);
            self.tell(tells);
        }
    }
}
