//! A request of any number of parts.

use super::Client;
use super::call::Call;
use super::channel::Failure;
use super::failing::progress_at;
use super::inner::Inner;
use super::lead::Inbox as _;
use super::parts::Parts;
use super::pending::{NotBegun, PartRefused, Terms, UPLOAD_MAX};
use crate::body::IntoBody;
use crate::clock;
use crate::counts::CallEnd;
use crate::error::{Error, Progress};
use crate::nesting;
use crate::trace::CallSpan;
use bytes::Bytes;
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Sends a request of any number of parts; [`Client::upload`] and [`Client::duplex`] begin it. The server takes them with
/// [`Request::into_parts`](crate::Request::into_parts).
///
/// Once 256 KiB wait here, or one larger part, [`send`](Upload::send) waits for the server, which takes up to
/// [`Limits::call_window`](crate::Limits::call_window) bytes ahead of its handler. As [`Write`] each write is a part:
/// put it in a [`BufWriter`](std::io::BufWriter) if they are small.
///
/// Dropped before its end, as by a panic, the call of [`Client::upload`] is cancelled; of [`Client::duplex`] the server
/// learns that the request is incomplete, and can still answer; if nothing of it was sent yet, it is not sent, and the reply
/// ends with [`Error::Answered`], code [`ErrorReply::FAILED`](crate::ErrorReply::FAILED).
#[must_use = "an upload that is dropped is cancelled"]
pub struct Upload {
    inner: Arc<Inner>,
    id: u32,
    began: Instant,
    /// The time for the reply after the end of the request.
    timeout: Duration,
    /// The reply is taken by somebody else.
    is_duplex: bool,
    is_ended: bool,
    /// What was sent since this side last looked for what has arrived.
    unlooked: usize,
    span: CallSpan,
}

/// So much is sent before this side looks whether the server has answered: a system call for each look.
const LOOK_AFTER: usize = 64 * 1024;

/// What a small part counts for that: 32 of them are as much.
const PART_COST: usize = 2048;

impl Client {
    /// Begins a request of any number of parts, with one reply. Does not block. The server must
    /// [accept](crate::Server::accept_streams) such requests, also for one of a single part.
    ///
    /// The time of the call ([`with_timeout`](Client::with_timeout)) counts from [`Upload::finish`].
    ///
    /// ```no_run
    /// let client = msgpipe::Client::connect("com.example.store")?;
    /// let mut upload = client.upload()?;
    /// std::io::copy(&mut std::fs::File::open("notes.txt")?, &mut upload)?;
    /// let reply = upload.finish()?.wait()?;
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::TooManyCalls`], [`Error::Closed`], and [`Error::Answered`] if the server stops. A server that does not
    /// accept such requests answers with [`ErrorReply::PARTS_REFUSED`](crate::ErrorReply::PARTS_REFUSED).
    pub fn upload(&self) -> Result<Upload, Error> {
        self.begin_upload(false)
    }

    /// Begins a request and a reply of any number of parts each, which can go on at once: a conversation.
    /// [`Upload::end`] ends the request. Otherwise as [`upload`](Client::upload), without a deadline.
    ///
    /// ```no_run
    /// let client = msgpipe::Client::connect("com.example.chat")?;
    /// let (mut says, hears) = client.duplex()?;
    /// std::thread::spawn(move || hears.for_each(|part| println!("{part:?}")));
    /// says.send("hello")?;
    /// says.end()?;
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`upload`](Client::upload).
    pub fn duplex(&self) -> Result<(Upload, Parts), Error> {
        let upload = self.begin_upload(true)?;
        let parts = Parts::new(upload.inner.clone(), upload.id, upload.began, upload.span.clone());
        Ok((upload, parts))
    }

    fn begin_upload(&self, is_duplex: bool) -> Result<Upload, Error> {
        let began = clock::now();
        let span = self.span();
        let nested = nesting::outgoing(&self.metadata, &span);
        let nested = nested.map_err(|why| why.error(&self.inner.endpoint))?;
        let terms = Terms {
            began,
            deadline: None,
            method: self.method,
            metadata: nested.as_ref().unwrap_or(&self.metadata),
            has_parts: is_duplex,
            is_kept: false,
        };
        let begun = self.inner.make_room(1).and_then(|()| self.inner.pending.begin_stream(terms));
        let id = begun.map_err(|why| self.not_begun(why, ().into_body(), began))?;
        let (inner, timeout) = (self.inner.clone(), self.time(began));
        inner.channel.send_soon(&inner.pending);
        Ok(Upload { inner, id, began, timeout, is_duplex, is_ended: false, unlooked: 0, span })
    }
}

impl Upload {
    /// Sends a part. Blocks while there is no room for it, until the server takes parts or the call ends. After each 64 KiB,
    /// or 32 small parts, it looks whether the server has answered.
    ///
    /// # Errors
    /// [`Error::Stopped`] if the server takes no more: [`finish`](Upload::finish) and read its reply.
    /// [`Error::PartTooLarge`] for a part over the server's limit, without which the request goes on, [`Error::Closed`] if the connection has ended.
    pub fn send(&mut self, part: impl IntoBody) -> Result<(), Error> {
        let mut part = part.into_body().into_bytes();
        let size = part.len();
        let limit = self.inner.wait_for_limit(size, clock::now() + self.timeout);
        if let Err(why) = limit {
            return Err(self.refused(why, part));
        }
        loop {
            part = match self.inner.pending.send_part(self.id, part) {
                Ok(()) => break,
                Err(PartRefused::Full(part)) => part,
                Err(PartRefused::TooLarge { limit, part }) => {
                    return Err(self.refused(NotBegun::TooLarge { limit }, part));
                }
                Err(PartRefused::Over) => return Err(self.over()),
            };
            self.wait_for_room(UPLOAD_MAX)?;
        }
        self.inner.channel.send_soon(&self.inner.pending);
        self.unlooked += size + PART_COST;
        if self.unlooked >= LOOK_AFTER || !self.inner.pending.has_room(self.id, 1) {
            // Perhaps the credit for more has arrived, or the reply.
            self.unlooked = 0;
            self.inner.look();
        }
        Ok(())
    }

    /// Waits until fewer bytes than `room` wait here. Sends what can be sent, and reads what lets more be sent.
    fn wait_for_room(&self, room: usize) -> Result<(), Error> {
        let _waiting = nesting::wait();
        let (channel, pending) = (&self.inner.channel, &self.inner.pending);
        loop {
            let sent = channel.send::<Failure>(None, pending, |_| Ok(()));
            let has_room = || pending.has_room(self.id, room);
            let waited = match sent {
                Ok(()) if has_room() => return Ok(()),
                // Whoever reads the credit may send what it allows, too.
                Ok(()) => channel.wait_for_peer(None, pending, || pending.has_more() || has_room()),
                failed => failed,
            };
            if let Err(Failure::Closed(reason)) = waited {
                self.inner.close(reason);
                return Err(self.over());
            }
        }
    }

    fn refused(&self, why: NotBegun, part: Bytes) -> Error {
        let endpoint = self.inner.endpoint.clone();
        match why {
            NotBegun::TooLarge { limit } => {
                Error::PartTooLarge { endpoint, size: part.len(), limit, part }
            }
            NotBegun::Unsent(Failure::Closed(reason)) => {
                self.inner.close(reason);
                self.over()
            }
            _ => Error::late(&endpoint, self.timeout, self.began, Progress::Unknown),
        }
    }

    /// Why no more can be sent.
    fn over(&self) -> Error {
        let endpoint = &self.inner.endpoint;
        match self.inner.pending.closed() {
            Some(reason) => {
                let end = self.inner.pending.begun_at(self.id);
                let progress = progress_at(&self.inner.channel.given, end, &reason);
                Error::closed(endpoint, reason.of_open_call(), progress)
            }
            None => Error::Stopped { endpoint: endpoint.clone() },
        }
    }

    /// Ends the request and returns the call, whose reply can be waited for. Its time counts from here. What has not
    /// been sent yet is sent while a thread waits for the reply.
    ///
    /// # Errors
    /// [`Error::Misuse`] for an upload of [`Client::duplex`]: its reply is taken from [`Parts`].
    pub fn finish(mut self) -> Result<Call, Error> {
        if self.is_duplex {
            let endpoint = self.inner.endpoint.clone();
            let problem = "the reply of a duplex call is taken from its parts: use end".to_owned();
            return Err(Error::Misuse { endpoint, problem });
        }
        let deadline = clock::now() + self.timeout;
        self.is_ended = true;
        self.inner.pending.end_request(self.id, Some(deadline));
        self.inner.channel.send_soon(&self.inner.pending);
        let span = std::mem::take(&mut self.span);
        Ok(Call::new(self.inner.clone(), self.id, clock::now(), deadline, span))
    }

    /// Ends the request of [`Client::duplex`]: all parts have been sent. What has not been sent yet is sent while a
    /// thread waits for the reply.
    ///
    /// # Errors
    /// [`Error::Misuse`] for an upload of [`Client::upload`], which is cancelled: [`finish`](Upload::finish) it.
    pub fn end(mut self) -> Result<(), Error> {
        if !self.is_duplex {
            let endpoint = self.inner.endpoint.clone();
            let problem = "the reply of this call would be lost: use finish".to_owned();
            return Err(Error::Misuse { endpoint, problem });
        }
        self.is_ended = true;
        self.inner.pending.end_request(self.id, None);
        self.inner.channel.send_soon(&self.inner.pending);
        Ok(())
    }
}

/// Each write is a part. `flush` waits until all of them have been given to the system: a part waits here while there is
/// no credit for it, until a thread sends more, or waits for something of this client.
impl Write for Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.send(bytes).map_err(io_error)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.wait_for_room(1).map_err(io_error)
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
        match (self.is_ended, self.is_duplex) {
            (true, _) => {}
            (false, true) => {
                self.inner.pending.give_up_request(self.id);
                self.inner.channel.send_soon(&self.inner.pending);
                self.inner.channel.wake_reader();
            }
            (false, false) => {
                self.span.ends(CallEnd::Cancelled);
                self.inner.abandon(self.id);
            }
        }
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
