//! Requests, and replies from other threads.

use super::IntoReply;
use super::connection::{Connection, Origin};
use super::interrupt::{Interrupt, Watch};
use super::outbox::{Answer, Given};
use super::request_parts::RequestParts;
use crate::account::Share;
use crate::error::ErrorReply;
use crate::exchange::Metadata;
use crate::message_server::ConnectionId;
use crate::peer::Peer;
use crate::trace::RequestSpan;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

/// A request, the argument of a handler; see [`Server::serve`](super::Server::serve).
#[derive(Debug)]
pub struct Request {
    pub(super) body: Bytes,
    pub(super) method: u32,
    pub(super) deadline: Option<Instant>,
    /// `None`: no metadata, as most requests.
    pub(super) metadata: Option<Box<Metadata>>,
    pub(super) origin: Arc<Origin>,
    /// Of a request of any number of parts.
    pub(super) parts: Option<Box<RequestParts>>,
    /// `None` for a handler that replies at once.
    pub(super) watch: Option<Arc<Watch>>,
    pub(super) span: RequestSpan,
}

impl Request {
    /// The body. Cheap: the bytes are shared, not copied. They can be a slice of a larger buffer; to keep a
    /// small request for long, copy them.
    pub fn body(&self) -> Bytes {
        self.body.clone()
    }

    /// What was asked, taken out of the request: as [`body`](Request::body), with no count of who shares
    /// the bytes.
    ///
    /// ```no_run
    /// let server = msgpipe::Server::bind("com.example.echo")?;
    /// server.serve(|request| request.into_body())?;
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    pub fn into_body(self) -> Bytes {
        self.body
    }

    /// The number of the method, 0 for none. The application gives numbers to what it offers, so that the body need
    /// not say it; [`Client::with_method`](crate::Client::with_method).
    pub fn method(&self) -> u32 {
        self.method
    }

    /// What the client has sent beside the body: [`Client::with_metadata`](crate::Client::with_metadata). A key that
    /// begins with a byte 0 belongs to the protocol, as that of calls made by [workers](crate::Workers).
    pub fn metadata(&self) -> Metadata {
        self.metadata.as_deref().cloned().unwrap_or_default()
    }

    /// The request as parts: those of a client that sends any number of them, or the only one.
    ///
    /// Only a server that [accepts them](super::Server::accept_streams) gets requests of any number of parts; their
    /// [`body`](Request::body) is empty. [`RequestParts`] has an example.
    pub fn into_parts(mut self) -> RequestParts {
        self.take_parts()
    }

    /// As [`into_parts`](Request::into_parts), for who needs the request meanwhile. Its body is empty then, and a second call
    /// returns one part without bytes.
    ///
    /// ```no_run
    /// let server = msgpipe::Server::bind("com.example.store")?.accept_streams();
    /// server.serve_workers_deferred(msgpipe::Workers::new(), |mut request, responder| {
    ///     let mut parts = request.take_parts();
    ///     while let (false, Some(Ok(part))) = (request.is_cancelled(), parts.next()) {
    ///         println!("{part:?}");
    ///     }
    ///     responder.reply("");
    /// })?;
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    pub fn take_parts(&mut self) -> RequestParts {
        let parts = self.parts.take().map(|parts| *parts);
        parts.unwrap_or_else(|| RequestParts::of_one(std::mem::take(&mut self.body)))
    }

    /// Whether the request has any number of parts.
    pub fn is_stream(&self) -> bool {
        self.parts.is_some()
    }

    /// When the client stops waiting. The request is cancelled then. `None`: it waits any time.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Who asks, as the operating system told it when the connection was made.
    pub fn peer(&self) -> &Peer {
        &self.origin.peer
    }

    pub(super) fn connection_id(&self) -> ConnectionId {
        self.origin.id
    }

    /// The connection that it came from.
    ///
    /// [`Connection::set_state`] has an example.
    pub fn connection(&self) -> Connection {
        Connection::new(self.origin.clone())
    }

    /// Whether the request is cancelled: by the client, by its deadline, or because the connection has ended. Work
    /// on it can stop; a reply is dropped. The server's thread updates this when it next polls.
    ///
    /// ```no_run
    /// # fn count(from: u64) -> u64 { from }
    /// let server = msgpipe::Server::bind("com.example.count")?;
    /// server.serve_deferred(|request, responder| {
    ///     std::thread::spawn(move || {
    ///         let mut sum = 0;
    ///         for step in 0..1_000_000 {
    ///             if request.is_cancelled() {
    ///                 return; // the client has disconnected
    ///             }
    ///             sum += count(step);
    ///         }
    ///         responder.reply(sum.to_string());
    ///     });
    /// })?;
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    pub fn is_cancelled(&self) -> bool {
        self.origin.is_gone() || self.watch.as_ref().is_some_and(|it| it.is_over())
    }
}

/// A reply of the application.
pub(super) fn of_application(reply: impl IntoReply) -> Answer {
    reply.into_reply().map_err(|error| error.of_application().into())
}

/// Replies to one request, once, from any thread; see
/// [`Server::serve_deferred`](super::Server::serve_deferred).
///
/// Dropped without an answer it answers with [`ErrorReply::UNANSWERED`], so that no caller waits
/// for an answer that nobody will give; by a panic, with [`ErrorReply::FAILED`]. If the caller has gone, the answer is thrown away.
///
/// A server that is told to stop waits for the responders that are held, for [`Limits::drain`](crate::Limits::drain) at
/// most: drop those that will not be used. [`on_interrupt`](Responder::on_interrupt) tells when.
#[derive(Debug)]
#[must_use = "dropping a responder sends an error reply"]
pub struct Responder {
    id: u32,
    origin: Arc<Origin>,
    watch: Arc<Watch>,
    /// For the reply, or its first part.
    pub(super) metadata: Metadata,
    answered: bool,
}

impl Responder {
    pub(super) fn new(id: u32, origin: Arc<Origin>, watch: Arc<Watch>) -> Responder {
        Responder { id, origin, watch, metadata: Metadata::default(), answered: false }
    }

    /// Whether the request is cancelled; see [`Request::is_cancelled`].
    pub fn is_cancelled(&self) -> bool {
        self.origin.is_gone() || self.watch.is_over()
    }

    /// Whether the server was told to stop.
    pub fn is_stopping(&self) -> bool {
        self.origin.outbox.is_stopping()
    }

    /// Sets a hook that is told when the work on the request may be of no more use: once for each [`Interrupt`], and
    /// nothing after the reply was sent or the request is cancelled. What has happened before is told at once, on this
    /// thread; the rest on the server's thread: the hook must not block. Its panics are caught. There is one hook for a
    /// request: the last one that was set.
    ///
    /// ```no_run
    /// use std::sync::mpsc;
    /// let server = msgpipe::Server::bind("com.example.watch")?;
    /// server.serve_deferred(|_, responder| {
    ///     std::thread::spawn(move || {
    ///         let (tell, told) = mpsc::channel();
    ///         responder.on_interrupt(move |why| drop(tell.send(why)));
    ///         let why = told.recv(); // the work is here; it waits for one of several things
    ///         responder.reply(format!("ended: {why:?}"));
    ///     });
    /// })?;
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    pub fn on_interrupt(&self, tell: impl FnMut(Interrupt) + Send + 'static) {
        self.watch.set_hook(Box::new(tell));
    }

    /// The connection that the request came from.
    pub fn connection(&self) -> Connection {
        Connection::new(self.origin.clone())
    }

    /// Metadata for the reply, or for the first of its parts: beside the body, up to 4 KiB. An error reply has
    /// [details](ErrorReply::details) instead.
    ///
    /// ```no_run
    /// let server = msgpipe::Server::bind("com.example.notes")?;
    /// server.serve_deferred(|request, responder| {
    ///     let metadata = msgpipe::Metadata::default().with(b"version", b"7").unwrap();
    ///     responder.with_metadata(metadata).reply(request.into_body());
    /// })?;
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    pub fn with_metadata(mut self, metadata: Metadata) -> Responder {
        self.metadata = metadata;
        self
    }

    /// Sends the reply. Does not block.
    pub fn reply(mut self, reply: impl IntoReply) {
        // It may panic: then the drop answers.
        let answer = of_application(reply);
        self.answered = true;
        let answer = match answer {
            Ok(body) if !self.metadata.is_empty() => {
                Given::Reply((body, std::mem::take(&mut self.metadata)).into())
            }
            answer => Given::Answer(answer),
        };
        self.give(answer);
    }

    /// The server does not begin the request.
    pub(crate) fn refuse(mut self, why: ErrorReply) {
        self.answered = true;
        self.give(Given::Answer(Err(why.into())));
    }

    /// Another type answers.
    pub(super) fn set_answered(&mut self) {
        self.answered = true;
    }

    pub(super) fn give(&self, given: Given) {
        self.origin.give(self.id, given);
    }

    /// The share that memory of its client is charged to.
    pub(super) fn share(&self) -> Share {
        self.origin.share.clone()
    }

    /// So many messages for its client were dropped.
    pub(super) fn count_dropped(&self, messages: usize) {
        self.origin.outbox.tally.dropped.fetch_add(messages as u64, Relaxed);
    }

    /// The number of its client's user.
    pub(super) fn user(&self) -> u64 {
        self.origin.share.group()
    }

    /// Whether this is the thread that runs the server's loop.
    pub(super) fn is_on_loop(&self) -> bool {
        self.origin.outbox.is_on_loop()
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        if !self.answered {
            let error = match std::thread::panicking() {
                true => ErrorReply::panicked(),
                false => ErrorReply::new(ErrorReply::UNANSWERED, "the handler gave no answer"),
            };
            self.give(Given::Answer(Err(error.into())));
        }
    }
}
