//! Requests, and replies from other threads.

use super::IntoReply;
use super::flow::Flow;
use crate::account::Share;
use crate::error::ErrorReply;
use crate::exchange::Metadata;
use crate::message_server::{ConnectionId, Waker};
use crate::peer::Peer;
use bytes::Bytes;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::ThreadId;
use std::time::Instant;

/// A request, the argument of a handler; see [`Server::serve`](super::Server::serve).
#[derive(Debug)]
pub struct Request {
    pub(super) body: Bytes,
    pub(super) method: u32,
    pub(super) deadline: Option<Instant>,
    /// `None`: no metadata, as most requests.
    pub(super) metadata: Option<Box<Metadata>>,
    pub(super) connection: ConnectionId,
    pub(super) origin: Arc<Origin>,
    /// Set when it is cancelled. `None` for a handler that replies at once.
    pub(super) cancelled: Option<Arc<AtomicBool>>,
}

/// Where requests come from: one client.
#[derive(Debug)]
pub(super) struct Origin {
    pub peer: Peer,
    /// The memory that is held for its requests is charged to it.
    pub share: Share,
    /// It has gone: nobody waits for its answers.
    pub gone: AtomicBool,
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

    /// What the client has sent beside the body: [`Client::with_metadata`](crate::Client::with_metadata).
    pub fn metadata(&self) -> Metadata {
        self.metadata.as_deref().cloned().unwrap_or_default()
    }

    /// When the client stops waiting. The request is cancelled then. `None`: it waits any time.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Who asks, as the operating system told it when the connection was made.
    pub fn peer(&self) -> &Peer {
        &self.origin.peer
    }

    /// The id of the connection: the same for all requests of one client.
    pub fn connection(&self) -> ConnectionId {
        self.connection
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
        let cancelled = self.cancelled.as_ref().is_some_and(|it| it.load(Ordering::SeqCst));
        cancelled || self.origin.gone.load(Ordering::SeqCst)
    }
}

/// A reply to a request, or an error reply.
pub(super) type Answer = Result<Bytes, Box<ErrorReply>>;

/// A reply of the application.
pub(super) fn of_application(reply: impl IntoReply) -> Answer {
    reply.into_reply().map_err(|error| error.of_application().into())
}

/// What a responder gives to the loop.
#[derive(Debug)]
pub(super) enum Given {
    Answer(Answer),
    /// Parts of its reply wait here.
    Parts(Arc<Flow>),
}

impl Given {
    /// Nobody takes it.
    pub fn discard(self) {
        if let Given::Parts(flow) = self {
            flow.close();
        }
    }
}

/// Replies from other threads that the loop has not taken yet.
#[derive(Debug)]
pub(super) struct Outbox {
    answers: Mutex<Vec<(ConnectionId, u32, Given)>>,
    /// The loop has ended. Changed under the lock of `answers`.
    has_ended: AtomicBool,
    /// Whether there are any. The loop checks this for each message, without a lock.
    waiting: AtomicBool,
    waker: Waker,
    /// The thread that runs the loop.
    thread: OnceLock<ThreadId>,
}

impl Outbox {
    pub fn new(waker: Waker) -> Outbox {
        let (answers, waiting) = (Mutex::default(), AtomicBool::new(false));
        let has_ended = AtomicBool::new(false);
        Outbox { answers, has_ended, waiting, waker, thread: OnceLock::new() }
    }

    /// This thread runs the loop.
    pub fn is_run_here(&self) {
        self.thread.get_or_init(|| std::thread::current().id());
    }

    /// Whether there are answers that were given since the last look.
    pub fn has_some(&self) -> bool {
        self.waiting.load(Ordering::Acquire)
    }

    /// The answers given since the last look.
    pub fn take(&self) -> Vec<(ConnectionId, u32, Given)> {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        self.waiting.store(false, Ordering::Relaxed);
        std::mem::take(&mut *answers)
    }

    /// The loop has ended: nobody takes what is given, and who waits to send is told.
    pub fn end(&self) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        self.has_ended.store(true, Ordering::SeqCst);
        let left = std::mem::take(&mut *answers);
        drop(answers);
        left.into_iter().for_each(|(_, _, given)| given.discard());
    }

    fn put(&self, connection: ConnectionId, id: u32, given: Given) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if self.has_ended.load(Ordering::SeqCst) {
            drop(answers);
            return given.discard();
        }
        let first = answers.is_empty();
        answers.push((connection, id, given));
        self.waiting.store(true, Ordering::Release);
        drop(answers);
        // One wake is enough for many replies: the loop takes all of them.
        if first {
            self.waker.wake();
        }
    }
}

/// Replies to one request, once, from any thread; see
/// [`Server::serve_deferred`](super::Server::serve_deferred).
///
/// Dropped without an answer it answers with [`ErrorReply::UNANSWERED`], so that no caller waits
/// for an answer that nobody will give; by a panic, with [`ErrorReply::FAILED`]. If the caller has gone, the answer is thrown away.
///
/// A server that is told to stop waits for the responders that are held, for [`Limits::drain`](crate::Limits::drain) at
/// most: drop those that will not be used.
#[derive(Debug)]
#[must_use = "dropping a responder sends an error reply"]
pub struct Responder {
    outbox: Arc<Outbox>,
    connection: ConnectionId,
    id: u32,
    origin: Arc<Origin>,
    cancelled: Arc<AtomicBool>,
    answered: bool,
}

impl Responder {
    pub(super) fn new(
        outbox: Arc<Outbox>,
        connection: ConnectionId,
        id: u32,
        origin: Arc<Origin>,
        cancelled: Arc<AtomicBool>,
    ) -> Responder {
        Responder { outbox, connection, id, origin, cancelled, answered: false }
    }

    /// Whether the request is cancelled; see [`Request::is_cancelled`].
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst) || self.origin.gone.load(Ordering::SeqCst)
    }

    /// Sends the reply. Does not block.
    pub fn reply(mut self, reply: impl IntoReply) {
        self.answered = true;
        self.give(Given::Answer(of_application(reply)));
    }

    /// Another type answers.
    pub(super) fn set_answered(&mut self) {
        self.answered = true;
    }

    pub(super) fn give(&self, given: Given) {
        self.outbox.put(self.connection, self.id, given);
    }

    /// The share that memory of its client is charged to.
    pub(super) fn share(&self) -> Share {
        self.origin.share.clone()
    }

    /// Whether this is the thread that runs the server's loop.
    pub(super) fn is_on_loop(&self) -> bool {
        self.outbox.thread.get() == Some(&std::thread::current().id())
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
