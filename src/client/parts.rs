//! A reply of any number of parts.

use super::inner::Inner;
use super::pending::Outcome;
use crate::clock;
use crate::counts::CallEnd;
use crate::error::{Error, Progress};
use crate::exchange::Metadata;
use crate::trace::CallSpan;
use bytes::{Buf, Bytes};
use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The parts of a reply, in order; [`Client::stream`](crate::Client::stream) begins the call.
///
/// As an iterator it waits for each part, without a limit: [`next_within`](Parts::next_within) has one. As [`Read`]
/// it joins the bytes of all parts. Dropping it cancels the call: the server is told, and sends no more.
///
/// A sender that gives up, as by a panic, ends the reply with [`Error::Answered`], code
/// [`ErrorReply::FAILED`](crate::ErrorReply::FAILED). So a reply without an error is complete.
///
/// ```no_run
/// use std::io::Read;
///
/// let client = msgpipe::Client::connect("com.example.notes")?;
/// let mut text = String::new();
/// client.stream("the notes of 2026")?.read_to_string(&mut text)?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a reply that is dropped is cancelled"]
pub struct Parts {
    inner: Arc<Inner>,
    id: u32,
    began: Instant,
    /// The reply has ended, and its end has been returned.
    is_over: bool,
    /// It has ended with an error.
    has_failed: bool,
    /// Of the part that is being read.
    rest: Bytes,
    span: CallSpan,
}

impl Parts {
    pub(super) fn new(inner: Arc<Inner>, id: u32, began: Instant, span: CallSpan) -> Parts {
        let (is_over, has_failed, rest) = (false, false, Bytes::new());
        Parts { inner, id, began, is_over, has_failed, rest, span }
    }

    /// Waits for the next part, at most for `timeout`. `None`: the reply has ended.
    ///
    /// # Errors
    /// [`Error::Deadline`] if no part has arrived within `timeout`: the next one can still be waited for. The others
    /// end the reply: [`Error::Answered`] for an error reply, also after parts, and [`Error::Closed`] if the
    /// connection has ended.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// let client = msgpipe::Client::connect("com.example.notes")?;
    /// let mut parts = client.stream("all notes")?;
    /// while let Some(part) = parts.next_within(Duration::from_secs(5))? {
    ///     println!("{part:?}");
    /// }
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    pub fn next_within(&mut self, timeout: Duration) -> Result<Option<Bytes>, Error> {
        let began = clock::now();
        let next = self.next_until(began.checked_add(timeout));
        next.unwrap_or_else(|| {
            Err(Error::late(&self.inner.endpoint, timeout, began, Progress::NoRequest))
        })
    }

    /// Returns the next part if it has arrived: reads arrived bytes and does not wait. `None`: not yet.
    /// `Some(Ok(None))`: the reply has ended.
    ///
    /// # Errors
    /// As [`next_within`](Parts::next_within), without [`Error::Deadline`].
    pub fn try_next(&mut self) -> Option<Result<Option<Bytes>, Error>> {
        self.take().or_else(|| {
            self.inner.look();
            self.take()
        })
    }

    /// What the server has sent beside the first part ([`Responder::with_metadata`](crate::Responder::with_metadata)), once
    /// that has been taken and until the end; mostly nothing.
    ///
    /// ```no_run
    /// let client = msgpipe::Client::connect("com.example.notes")?;
    /// let mut parts = client.stream("all notes")?;
    /// while let Some(part) = parts.next() {
    ///     println!("{:?}, version {:?}", part?, parts.metadata().get(b"version"));
    /// }
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    pub fn metadata(&self) -> Metadata {
        self.inner.pending.metadata(self.id)
    }

    /// The next part, the end, or nothing until then.
    pub(super) fn next_until(
        &mut self,
        until: Option<Instant>,
    ) -> Option<Result<Option<Bytes>, Error>> {
        loop {
            let taken = self.take();
            if taken.is_some() || until.is_some_and(|at| at <= clock::now()) {
                return taken;
            }
            self.inner.wait(&[self.id], until);
        }
    }

    /// Whether the server has said that it begins no more calls.
    pub(super) fn server_stops(&self) -> bool {
        self.inner.pending.is_draining()
    }

    pub(super) fn endpoint(&self) -> &Arc<str> {
        &self.inner.endpoint
    }

    /// The next part or the end, if it has arrived.
    fn take(&mut self) -> Option<Result<Option<Bytes>, Error>> {
        if self.is_over {
            return Some(Ok(None));
        }
        if let Some(part) = self.inner.next_part(self.id) {
            return Some(Ok(Some(part)));
        }
        let (outcome, end) = self.inner.collect(self.id)?;
        self.is_over = true;
        let result = match outcome {
            Outcome::End => Ok(None),
            outcome => {
                self.has_failed = true;
                Err(self.inner.error(outcome, end, self.began, Duration::ZERO))
            }
        };
        self.span.outcome(&result);
        Some(result)
    }
}

impl Iterator for Parts {
    type Item = Result<Bytes, Error>;

    fn next(&mut self) -> Option<Result<Bytes, Error>> {
        self.next_until(None)?.transpose()
    }
}

impl Read for Parts {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() && !buffer.is_empty() {
            match self.next() {
                Some(part) => self.rest = part.map_err(io::Error::other)?,
                None if self.has_failed => {
                    let text = "the reply ended with an error, and is incomplete";
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
                }
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.rest.len());
        self.rest.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoint = &self.inner.endpoint;
        f.debug_struct("Parts")
            .field("endpoint", endpoint)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        if !self.is_over {
            self.span.ends(CallEnd::Cancelled);
            self.inner.abandon(self.id);
        }
    }
}
