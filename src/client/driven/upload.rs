//! A request of any number of parts.

use super::Client;
use super::call::Call;
use super::parts::Parts;
use super::shared::{Handle, Unfit};
use crate::body::IntoBody;
use crate::client::failing::progress_at;
use crate::client::pending::{PartRefused, Terms, UPLOAD_MAX, Until, Waited};
use crate::error::{Error, Progress};
use crate::exchange::Settings;
use crate::nesting;
use crate::trace::CallSpan;
use bytes::Bytes;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

/// Sends a request of any number of parts; [`Client::upload`] and [`Client::duplex`] begin it. The server takes them with
/// [`Request::into_parts`](crate::Request::into_parts).
///
/// Once 256 KiB wait here, or one larger part, [`send`](Upload::send) waits for the server, which takes up to
/// [`Limits::call_window`](crate::Limits::call_window) bytes ahead of its handler. As
/// [`AsyncWrite`](tokio::io::AsyncWrite) each write is a part; one over the server's limit is taken in part. Its flush waits
/// until the driver has taken all parts; its shutdown ends the request, and [`finish`](Upload::finish) returns the call then.
///
/// Dropped before its end, the call of [`Client::upload`] is cancelled; of [`Client::duplex`] the server learns that the
/// request is incomplete, and can still answer.
#[must_use = "an upload that is dropped is cancelled"]
pub struct Upload {
    inner: Arc<Handle>,
    id: u32,
    began: Instant,
    /// The time for the reply after the end of the request.
    timeout: Duration,
    /// The reply is taken by somebody else.
    is_duplex: bool,
    /// Nothing more is sent.
    is_ended: bool,
    /// The call is somebody else's.
    is_given_away: bool,
    /// Of a write that waits.
    waits: Option<u64>,
    span: CallSpan,
}

impl Client {
    /// Begins a request of any number of parts, with one reply. Does not wait. The time of the call
    /// ([`with_timeout`](Client::with_timeout)) counts from [`Upload::finish`].
    ///
    /// ```no_run
    /// # async fn f(client: msgpipe::tokio::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut upload = client.upload()?;
    /// tokio::io::copy(&mut tokio::io::empty(), &mut upload).await?;
    /// upload.send("the end").await?;
    /// let reply = upload.finish()?.await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`msgpipe::Client::upload`](crate::Client::upload).
    pub fn upload(&self) -> Result<Upload, Error> {
        self.begin_upload(false)
    }

    /// Begins a request and a reply of any number of parts each, which can go on at once: a conversation.
    /// [`Upload::end`] ends the request. Otherwise as [`upload`](Client::upload), without a deadline.
    ///
    /// # Errors
    /// As [`upload`](Client::upload).
    pub fn duplex(&self) -> Result<(Upload, Parts), Error> {
        let upload = self.begin_upload(true)?;
        let parts = Parts::new(upload.inner.clone(), upload.id, upload.began, upload.span.clone());
        Ok((upload, parts))
    }

    fn begin_upload(&self, is_duplex: bool) -> Result<Upload, Error> {
        let (inner, began) = (self.inner.clone(), (self.inner.clock)());
        let span = self.span();
        let metadata = self.metadata_to_send(&span)?;
        let terms = Terms {
            began,
            deadline: None,
            method: self.method,
            metadata: metadata.as_ref().unwrap_or(&self.metadata),
            has_parts: is_duplex,
            is_kept: false,
        };
        let begun = inner.pending.begin_stream(terms);
        let id = begun.map_err(|why| inner.not_begun(why, &Bytes::new()))?;
        inner.kick();
        let timeout = nesting::time_left(self.timeout, began);
        let (is_ended, is_given_away, waits) = (false, false, None);
        Ok(Upload { inner, id, began, timeout, is_duplex, is_ended, is_given_away, waits, span })
    }
}

impl Upload {
    /// Sends a part. Waits while there is no room for it, until the server takes parts or the call ends.
    ///
    /// Cancel safety: dropped before it is done, the part was not sent, and the request goes on without it.
    ///
    /// # Errors
    /// [`Error::Stopped`] if the server takes no more: [`finish`](Upload::finish) and read its reply.
    /// [`Error::PartTooLarge`] for a part over the server's limit, without which the request goes on; [`Error::Closed`] if
    /// the connection has ended.
    pub async fn send(&mut self, part: impl IntoBody) -> Result<(), Error> {
        let mut part = part.into_body().into_bytes();
        let began = (self.inner.clock)();
        let fits = self.inner.wait_for_limit(part.len(), began + self.timeout).await;
        fits.map_err(|why| self.refused(why, &part))?;
        loop {
            part = match self.queue(part)? {
                None => return Ok(()),
                Some(part) => part,
            };
            let until = Until::Room { id: self.id, bytes: UPLOAD_MAX };
            if let Waited::Closed(_) = self.inner.wait_until(until, None).await {
                return Err(self.over());
            }
        }
    }

    /// Queues a part, or returns it if there is no room.
    fn queue(&self, part: Bytes) -> Result<Option<Bytes>, Error> {
        if self.is_ended {
            return Err(self.over());
        }
        match self.inner.pending.send_part(self.id, part) {
            Ok(()) => {
                self.inner.kick();
                Ok(None)
            }
            Err(PartRefused::Full(part)) => Ok(Some(part)),
            Err(PartRefused::TooLarge { limit, part }) => {
                Err(self.refused(Unfit::TooLarge { limit }, &part))
            }
            Err(PartRefused::Over) => Err(self.over()),
        }
    }

    fn refused(&self, why: Unfit, part: &Bytes) -> Error {
        let endpoint = self.inner.endpoint.clone();
        match why {
            Unfit::TooLarge { limit } => {
                Error::PartTooLarge { endpoint, size: part.len(), limit, part: part.clone() }
            }
            Unfit::Late => Error::late(&endpoint, self.timeout, self.began, Progress::Unknown),
            Unfit::Closed(_) => self.over(),
        }
    }

    /// Why no more can be sent.
    fn over(&self) -> Error {
        let endpoint = &self.inner.endpoint;
        match self.inner.pending.closed() {
            Some(reason) => {
                let end = self.inner.pending.begun_at(self.id);
                let progress = progress_at(&self.inner.given, end, &reason);
                Error::closed(endpoint, reason.of_open_call(), progress)
            }
            None => Error::Stopped { endpoint: endpoint.clone() },
        }
    }

    /// Ends the request and returns the call, which is the future of the reply. Its time counts from here.
    ///
    /// # Errors
    /// [`Error::Misuse`] for an upload of [`Client::duplex`]: its reply is taken from [`Parts`].
    pub fn finish(mut self) -> Result<Call, Error> {
        let inner = self.inner.clone();
        if self.is_duplex {
            let problem = "the reply of a duplex call is taken from its parts: use end".to_owned();
            return Err(Error::Misuse { endpoint: inner.endpoint.clone(), problem });
        }
        let now = (inner.clock)();
        self.end_request(Some(now + self.timeout));
        self.is_given_away = true;
        let span = std::mem::take(&mut self.span);
        Ok(Call::new(inner, self.id, now, self.timeout, span))
    }

    /// Ends the request of [`Client::duplex`]: all parts have been sent.
    ///
    /// # Errors
    /// [`Error::Misuse`] for an upload of [`Client::upload`], which is cancelled: [`finish`](Upload::finish) it.
    pub fn end(mut self) -> Result<(), Error> {
        if !self.is_duplex {
            let endpoint = self.inner.endpoint.clone();
            let problem = "the reply of this call would be lost: use finish".to_owned();
            return Err(Error::Misuse { endpoint, problem });
        }
        self.end_request(None);
        Ok(())
    }

    fn end_request(&mut self, deadline: Option<Instant>) {
        self.is_ended = true;
        self.inner.pending.end_request(self.id, deadline);
        self.inner.kick();
    }

    fn poll_until(
        &mut self,
        context: &mut Context<'_>,
        until: Until,
        deadline: Option<Instant>,
    ) -> Poll<Waited> {
        let pending = &self.inner.pending;
        match pending.wait_until(&mut self.waits, until, deadline, context.waker()) {
            Waited::NotYet => {
                // The wait may have been one without a deadline before.
                if deadline.is_some() {
                    self.inner.kick();
                }
                Poll::Pending
            }
            waited => Poll::Ready(waited),
        }
    }

    /// Sends bytes as a part: as many as the server takes in one.
    pub(crate) fn poll_send(
        &mut self,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if bytes.len() > Settings::assumed().body as usize && !self.inner.pending.is_settled() {
            let deadline = self.began + self.timeout;
            match ready!(self.poll_until(context, Until::Settled, Some(deadline))) {
                Waited::Closed(_) => return Poll::Ready(Err(io_error(self.over()))),
                Waited::Late => {
                    return Poll::Ready(Err(io_error(self.refused(Unfit::Late, &Bytes::new()))));
                }
                Waited::Met | Waited::NotYet => {}
            }
        }
        let limit = match self.inner.check_limit(bytes.len()) {
            Err(Unfit::TooLarge { limit }) => limit,
            _ => bytes.len(),
        };
        loop {
            let room = Until::Room { id: self.id, bytes: UPLOAD_MAX };
            if let Waited::Closed(_) = ready!(self.poll_until(context, room, None)) {
                return Poll::Ready(Err(io_error(self.over())));
            }
            let part = Bytes::copy_from_slice(&bytes[..limit]);
            if self.queue(part).map_err(io_error)?.is_none() {
                return Poll::Ready(Ok(limit));
            }
        }
    }

    /// Waits until the driver has taken all parts.
    pub(crate) fn poll_sent(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_ended {
            return Poll::Ready(Ok(()));
        }
        let until = Until::Room { id: self.id, bytes: 1 };
        match ready!(self.poll_until(context, until, None)) {
            Waited::Closed(_) => Poll::Ready(Err(io_error(self.over()))),
            _ if self.inner.pending.closed().is_some() => Poll::Ready(Err(io_error(self.over()))),
            _ => Poll::Ready(Ok(())),
        }
    }

    /// Ends the request, after its parts.
    pub(crate) fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_sent(context))?;
        if !self.is_ended {
            self.end_request(None);
        }
        Poll::Ready(Ok(()))
    }
}

fn io_error(error: Error) -> io::Error {
    match error {
        Error::Stopped { .. } => io::Error::new(io::ErrorKind::BrokenPipe, error),
        error => io::Error::other(error),
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(key) = self.waits {
            self.inner.pending.stop_waiting(key);
        }
        match (self.is_duplex, self.is_ended) {
            _ if self.is_given_away => return,
            (true, true) => return,
            (true, false) => self.inner.pending.give_up_request(self.id),
            (false, _) => drop(self.inner.pending.abandon(self.id)),
        }
        self.inner.kick();
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoint = &self.inner.endpoint;
        f.debug_struct("Upload")
            .field("endpoint", endpoint)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
