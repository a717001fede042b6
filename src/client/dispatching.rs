//! A client in an application's own event loop.

use super::inner::Inner;
use super::server_message::ServerMessage;
use super::{Client, Incoming};
use crate::backends::Waitable;
use crate::clock;
use crate::error::{Error, Progress};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The time after which [`Incoming::dispatch`] returns although there is more: a server that sends without a pause must
/// not hold the application's loop. 5 ms are a third of the time between two pictures on a screen.
pub(super) const DISPATCH_TIME: Duration = Duration::from_millis(5);

/// While the application's own loop is in `dispatch`. Its drop, also by a panic of the handler, sees to it that the loop
/// comes again if there is more.
struct Dispatching {
    inner: Arc<Inner>,
    /// Whether messages that wait are of interest here.
    listens: bool,
    until: Instant,
    is_cut_short: bool,
}

impl Dispatching {
    fn begin(inner: &Arc<Inner>, listens: bool) -> Dispatching {
        inner.channel.begin_dispatch();
        let until = clock::now() + DISPATCH_TIME;
        Dispatching { inner: inner.clone(), listens, until, is_cut_short: false }
    }

    /// Whether its time is over.
    fn is_over(&mut self) -> bool {
        self.is_cut_short = self.until <= clock::now();
        self.is_cut_short
    }
}

impl Drop for Dispatching {
    fn drop(&mut self) {
        let has_messages = self.listens && self.inner.pending.has_unasked();
        self.inner.channel.end_dispatch(has_messages || self.is_cut_short);
    }
}

impl Client {
    /// What an application's own event loop waits for, to call [`Incoming::dispatch`] or [`Client::dispatch`] then.
    /// [`Waitable`] says how. It is the same for all clones.
    ///
    /// # Errors
    /// [`Error::Misuse`] if the stream has nothing that a loop could wait for: in memory, and on a
    /// [`ClientStream`](crate::ClientStream) without it. [`Error::System`] if a system call failed.
    pub fn waitable(&self) -> Result<Waitable, Error> {
        let endpoint = self.inner.endpoint.clone();
        let waitable = self.inner.channel.waitable();
        let waitable = waitable
            .map_err(|cause| Error::system(&endpoint, "preparing to be waited for", cause))?;
        waitable.ok_or_else(|| {
            let problem =
                "this transport has nothing that a loop could wait for: listen on a thread instead";
            Error::Misuse { endpoint, problem: problem.to_owned() }
        })
    }

    /// For an application's own loop without an [`Incoming`]: as [`Incoming::dispatch`], for the replies of calls alone.
    /// [`Call::try_wait`](crate::Call::try_wait) returns them then.
    ///
    /// # Errors
    /// [`Error::Closed`] if the connection has ended: the waitable stays signalled.
    pub fn dispatch(&self) -> Result<bool, Error> {
        let mut dispatching = Dispatching::begin(&self.inner, false);
        loop {
            let has_read = self.inner.read_for_loop();
            if let Some(reason) = self.inner.pending.closed() {
                return Err(Error::closed(&self.inner.endpoint, reason, Progress::NoRequest));
            }
            if !has_read {
                return Ok(false);
            }
            if dispatching.is_over() {
                return Ok(true);
            }
        }
    }
}

impl Incoming {
    /// For an application's own loop, which calls it when the [`Waitable`] is signalled: reads what has arrived, sends
    /// what is unsent, and passes each message to `handler`. It does not wait. `true`: it has stopped after 5 ms, and
    /// there may be more; the waitable stays signalled then.
    ///
    /// Replies of calls are read as well: [`Call::try_wait`](crate::Call::try_wait) returns them after it. No lock is held
    /// while `handler` runs, and it may call on the same client. If it panics, the panic goes on, and what waits is
    /// passed on the next time.
    ///
    /// Other threads may use the client meanwhile. If one of them reads, because it waits for a reply, it reads for this
    /// one too, and the waitable is signalled for what it has read; it may be signalled without need.
    ///
    /// # Errors
    /// [`Error::Closed`] if the connection has ended, and all that came before was passed on. The waitable stays
    /// signalled: take it out of the loop.
    ///
    /// ```no_run
    /// # fn wait_for(_: &msgpipe::Waitable) {}
    /// let client = msgpipe::Client::connect("com.example.notes")?;
    /// let mut incoming = client.incoming()?;
    /// let waitable = client.waitable()?;
    /// loop {
    ///     wait_for(&waitable); // poll(2), or the notifier of a toolkit, with all else that the loop waits for
    ///     incoming.dispatch(|message| println!("{message:?}"))?;
    /// }
    /// # #[allow(unreachable_code)]
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    pub fn dispatch(&mut self, mut handler: impl FnMut(ServerMessage)) -> Result<bool, Error> {
        let mut dispatching = Dispatching::begin(&self.inner, true);
        loop {
            let has_read = self.inner.read_for_loop();
            while let Some(message) = self.take()? {
                message.pass_to(&mut handler);
                if dispatching.is_over() {
                    return Ok(true);
                }
            }
            if !has_read {
                return Ok(false);
            }
            if dispatching.is_over() {
                return Ok(true);
            }
        }
    }
}
