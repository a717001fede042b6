//! Calls of the server to a client, for the application.

use super::calling::Calling;
use super::connection::{Connection, NoPlace, Place};
use super::outbox::Given;
use crate::body::IntoBody;
use crate::clock;
use crate::counts::CallEnd;
use crate::error::{Error, Progress};
use crate::exchange::{Message, Opening};
use crate::nesting;
use crate::trace::CallSpan;
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A call of the server to a client; [`Connection::start`] begins it. Dropping it, or the end of its time, cancels it.
#[must_use = "a call that is dropped is cancelled"]
pub struct ClientCall {
    calling: Arc<Calling>,
    connection: Connection,
    is_over: bool,
    span: CallSpan,
}

impl Connection {
    /// Calls the client and waits for its reply, at most for [`Limits::call`](crate::Limits::call) or the time of
    /// [`with_timeout`](Connection::with_timeout). Blocks: not for handlers and hooks that run in the server's loop,
    /// which would wait for themselves; see [`start`](Connection::start).
    ///
    /// A client that takes no calls answers with an error reply.
    ///
    /// ```no_run
    /// let server = msgpipe::Server::bind("com.example.notes")?;
    /// server.serve_deferred(|request, responder| {
    ///     std::thread::spawn(move || match request.connection().call("may I?") {
    ///         Ok(answer) => responder.reply(answer),
    ///         Err(error) => responder.reply(Err::<&str, _>(error.to_string())),
    ///     });
    /// })?;
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Answered`] for an error reply, [`Error::Deadline`] at the end of the time, [`Error::Closed`] if the
    /// connection has ended, [`Error::TooLarge`] for a body over the client's limit, [`Error::TooManyCalls`] if
    /// [`Limits::in_flight`](crate::Limits::in_flight) calls to this client are open, [`Error::Misuse`] in the
    /// server's loop.
    pub fn call(&self, body: impl IntoBody) -> Result<Bytes, Error> {
        self.start(body)?.wait()
    }

    /// Calls the client and does not wait for its reply. The deadline counts from here.
    ///
    /// ```no_run
    /// let server = msgpipe::Server::bind("com.example.notes")?;
    /// server.serve_deferred(|request, responder| {
    ///     // Nobody waits here: the reply is passed on when it comes.
    ///     match request.connection().start("may I?") {
    ///         Ok(call) => call.then(|answer| responder.reply(answer.map_err(|it| it.to_string()))),
    ///         Err(error) => responder.reply(Err::<&str, _>(error.to_string())),
    ///     }
    /// })?;
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::TooManyCalls`]; [`Error::Full`] if the requests of open calls to this client have more than
    /// [`Limits::connection_window`](crate::Limits::connection_window) bytes, with 64 for each; one may be larger.
    /// [`Error::Closed`] with the reason if the connection has ended.
    pub fn start(&self, body: impl IntoBody) -> Result<ClientCall, Error> {
        let body = body.into_body().into_bytes();
        let outbox = &self.origin.outbox;
        let endpoint = outbox.endpoint().clone();
        if let Some(reason) = self.origin.ended() {
            let (reason, progress) = (reason.clone(), Progress::NotBegun);
            return Err(Error::Closed { endpoint, reason, progress });
        }
        let (most, most_bytes) = (outbox.in_flight(), outbox.call_bytes());
        let place = match Place::take(&self.origin, body.len(), most, most_bytes) {
            Ok(place) => place,
            Err(NoPlace::TooMany) => {
                return Err(Error::TooManyCalls { endpoint, limit: most, request: body });
            }
            Err(NoPlace::Full) => {
                return Err(Error::Full { endpoint, limit: most_bytes, message: body });
            }
        };
        let given = self.timeout.unwrap_or(outbox.call_time());
        // In a handler: at most what is left of its request's time, and with who waits for this call.
        let given = nesting::time_left(given, clock::now());
        let span = CallSpan::begin(&endpoint, self.method);
        let nested = nesting::outgoing(&self.metadata, &span);
        let nested = nested.map_err(|why| why.error(&endpoint))?;
        let metadata = nested.unwrap_or_else(|| self.metadata.clone());
        let calling = Arc::new(Calling::new(endpoint, given, place));
        let message = Message { metadata, ..Message::new(body, true) };
        let (method, deadline, message) = (self.method, calling.deadline(), Some(message));
        let opening = Opening { method, deadline, message, ..Opening::default() };
        self.origin.give(0, Given::Call(Box::new((opening, calling.clone()))));
        Ok(ClientCall { calling, connection: self.clone(), is_over: false, span })
    }
}

impl ClientCall {
    /// Waits for the reply, until the call's deadline.
    ///
    /// # Errors
    /// As [`Connection::call`]; [`Error::Misuse`] also if [`try_wait`](ClientCall::try_wait) has returned the outcome.
    pub fn wait(mut self) -> Result<Bytes, Error> {
        self.check()?;
        let _waiting = nesting::wait();
        let until = self.calling.deadline();
        match self.calling.wait(until) {
            Some(result) => {
                self.is_over = true;
                self.span.outcome(&result);
                result
            }
            None => Err(self.calling.late(Duration::ZERO, Progress::Unknown)),
        }
    }

    /// Waits for the reply, at most for so long. `None`: no reply yet, and the call goes on.
    ///
    /// # Errors
    /// As [`wait`](ClientCall::wait).
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # fn of(client: &msgpipe::Connection) -> Result<(), msgpipe::Error> {
    /// let mut call = client.start("are you there?")?;
    /// if call.wait_within(Duration::from_secs(1)).is_none() {
    ///     println!("it takes its time");
    /// }
    /// println!("{:?}", call.wait()?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn wait_within(&mut self, timeout: Duration) -> Option<Result<Bytes, Error>> {
        if let Err(misuse) = self.check() {
            return Some(Err(misuse));
        }
        let until = clock::now().checked_add(timeout);
        let _waiting = nesting::wait();
        let until = until.into_iter().chain(self.calling.deadline()).min();
        let result = self.calling.wait(until);
        self.ended(result)
    }

    /// Returns the reply if it has arrived; does not wait.
    ///
    /// # Errors
    /// As [`wait`](ClientCall::wait).
    pub fn try_wait(&mut self) -> Option<Result<Bytes, Error>> {
        let result = self.calling.take();
        self.ended(result)
    }

    fn ended(&mut self, result: Option<Result<Bytes, Error>>) -> Option<Result<Bytes, Error>> {
        if let Some(result) = &result {
            self.is_over = true;
            self.span.outcome(result);
        }
        result
    }

    /// Passes the outcome to `then` on the server's thread, which must not block; at once, if there is one already. Its
    /// panics are caught.
    pub fn then(mut self, then: impl FnOnce(Result<Bytes, Error>) + Send + 'static) {
        self.is_over = true;
        let span = std::mem::take(&mut self.span);
        self.calling.set_then(Box::new(move |result| {
            span.outcome(&result);
            then(result);
        }));
    }

    /// Cancels the call: the client is told. As dropping it.
    pub fn cancel(self) {}

    fn check(&self) -> Result<(), Error> {
        let problem = match self.is_over {
            true => "the outcome of this call was returned before: there is no other",
            false if self.connection.origin.outbox.is_on_loop() => {
                "a handler or hook in the server's loop waits for a reply that the loop has to read: use then"
            }
            false => return Ok(()),
        };
        Err(self.calling.misuse(problem))
    }
}

impl Drop for ClientCall {
    fn drop(&mut self) {
        if !self.is_over {
            self.span.ends(CallEnd::Cancelled);
            self.connection.origin.give(0, Given::Cancel(self.calling.clone()));
        }
    }
}

impl fmt::Debug for ClientCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCall").field("connection", &self.connection).finish_non_exhaustive()
    }
}
