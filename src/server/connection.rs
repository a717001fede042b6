//! Connections as values: to notify a client, to close it, to keep something for it.

use super::flow::{Flow, Refused};
use super::outbox::{Given, Outbox};
use super::parts::PartError;
use crate::account::Share;
use crate::body::IntoBody;
use crate::error::CloseReason;
use crate::exchange::{MESSAGE_COST, Message, Metadata, Side};
use crate::framing::GoodbyeCode;
use crate::goodbye::Goodbye;
use crate::guard::guarded;
use crate::message_server::ConnectionId;
use crate::nesting;
use crate::peer::Peer;
use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// A connection of a [`Server`](super::Server): a client, for any thread. Cheap to clone; a clone does not keep the
/// connection open.
///
/// [`Server::on_connected`](super::Server::on_connected), [`Request::connection`](super::Request::connection) and
/// [`Connections`](super::Connections) return it.
///
/// ```no_run
/// let server = msgpipe::Server::bind("com.example.notes")?;
/// let server = server.on_connected(|client| {
///     let client = client.clone();
///     std::thread::spawn(move || {
///         while client.notify("tick").is_ok() {
///             std::thread::sleep(std::time::Duration::from_secs(1));
///         }
///     });
/// });
/// server.serve(|request| request.body())?;
/// # Ok::<_, msgpipe::Error>(())
/// ```
#[derive(Clone)]
pub struct Connection {
    pub(super) origin: Arc<Origin>,
    pub(super) method: u32,
    pub(super) metadata: Metadata,
    /// The time of a call; `None`: the server's.
    pub(super) timeout: Option<Duration>,
}

/// A client, as its connection, its requests and its responders share it.
pub(super) struct Origin {
    pub id: ConnectionId,
    pub peer: Peer,
    /// The memory that is held for its requests is charged to it.
    pub share: Share,
    /// Why it has ended: nobody waits for its answers.
    ended: OnceLock<Box<CloseReason>>,
    /// The largest body in bytes that it takes, once that is known.
    largest_body: AtomicUsize,
    pub outbox: Arc<Outbox>,
    /// What most connections do not have.
    extras: OnceLock<Box<Extras>>,
}

#[derive(Default)]
struct Extras {
    state: OnceLock<Box<dyn Any + Send + Sync>>,
    /// The notifications for it that wait for the loop.
    lane: OnceLock<Arc<Flow>>,
    /// The calls to it that are open, and the bytes of their requests with 64 for each.
    calls: AtomicUsize,
    call_bytes: AtomicUsize,
}

/// A call to a client counts as open while this is held.
#[derive(Debug)]
pub(super) struct Place {
    origin: Arc<Origin>,
    bytes: usize,
}

/// Why there is no place for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoPlace {
    /// So many calls are open.
    TooMany,
    /// Their requests have so many bytes.
    Full,
}

impl Place {
    /// A place for a call with a request of so many bytes. One request may be over `most_bytes`, if it is the only one.
    pub fn take(
        origin: &Arc<Origin>,
        bytes: usize,
        most: usize,
        most_bytes: usize,
    ) -> Result<Place, NoPlace> {
        let Extras { calls, call_bytes, .. } = origin.extras();
        let bytes = bytes + MESSAGE_COST as usize;
        let (set, get) = (Ordering::SeqCst, Ordering::SeqCst);
        let taken = calls.fetch_update(set, get, |open| (open < most).then_some(open + 1));
        taken.map_err(|_| NoPlace::TooMany)?;
        let taken = call_bytes.fetch_update(set, get, |held| {
            (held == 0 || held + bytes <= most_bytes).then_some(held + bytes)
        });
        if taken.is_err() {
            calls.fetch_sub(1, Ordering::SeqCst);
            return Err(NoPlace::Full);
        }
        Ok(Place { origin: origin.clone(), bytes })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Extras { calls, call_bytes, .. } = self.origin.extras();
        call_bytes.fetch_sub(self.bytes, Ordering::SeqCst);
        calls.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Extras {
    /// The application's state may panic.
    fn drop(&mut self) {
        guarded(|| drop(self.state.take()));
    }
}

impl Origin {
    pub fn new(id: ConnectionId, peer: Peer, share: Share, outbox: Arc<Outbox>) -> Origin {
        let (ended, extras) = (OnceLock::new(), OnceLock::new());
        let largest_body = AtomicUsize::new(usize::MAX);
        Origin { id, peer, share, ended, largest_body, outbox, extras }
    }

    /// Whether it has gone.
    pub fn is_gone(&self) -> bool {
        self.ended.get().is_some()
    }

    /// Why it has ended, if it has.
    pub fn ended(&self) -> Option<&CloseReason> {
        self.ended.get().map(|reason| &**reason)
    }

    /// Why it has ended. By the peer, unless something else is known.
    pub fn why_ended(&self) -> CloseReason {
        self.ended().cloned().unwrap_or(CloseReason::PeerClosed)
    }

    /// It has ended, or the server: who waits to notify it is told.
    pub fn end(&self, reason: &CloseReason) {
        self.ended.get_or_init(|| reason.clone().into());
        if let Some(lane) = self.lane() {
            lane.close();
        }
    }

    /// It takes bodies of up to so many bytes.
    pub fn set_largest_body(&self, bytes: usize) {
        self.largest_body.store(bytes, Ordering::SeqCst);
    }

    fn extras(&self) -> &Extras {
        self.extras.get_or_init(Box::default)
    }

    /// Its notifications, if there were any.
    pub fn lane(&self) -> Option<&Arc<Flow>> {
        self.extras.get()?.lane.get()
    }

    /// The flow of its notifications, which is made for the first of them.
    fn make_lane(&self) -> &Arc<Flow> {
        let lane = self.extras().lane.get_or_init(|| Arc::new(Flow::new(self.share.clone())));
        if self.is_gone() {
            lane.close();
        }
        lane
    }

    pub fn give(&self, id: u32, given: Given) {
        self.outbox.put(self.id, id, given);
    }
}

impl Connection {
    pub(super) fn new(origin: Arc<Origin>) -> Connection {
        Connection { origin, method: 0, metadata: Metadata::default(), timeout: None }
    }

    /// The id of the connection. A server uses none twice.
    pub fn id(&self) -> ConnectionId {
        self.origin.id
    }

    /// Who it is, as the operating system told it when the connection was made.
    pub fn peer(&self) -> &Peer {
        &self.origin.peer
    }

    /// Whether the connection is open, as far as the server knows.
    pub fn is_open(&self) -> bool {
        !self.origin.is_gone()
    }

    /// Why it has ended; `None` while it is open.
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.origin.ended().cloned()
    }

    /// The same connection, with this number of the method in its notifications and calls instead of 0.
    ///
    /// ```no_run
    /// const CHANGED: u32 = 3;
    /// # fn of(client: &msgpipe::Connection) -> Result<(), msgpipe::PartError> {
    /// client.with_method(CHANGED).try_notify("the second note")
    /// # }
    /// ```
    #[must_use]
    pub fn with_method(&self, method: u32) -> Connection {
        Connection { method, ..self.clone() }
    }

    /// The same connection, with these metadata in its notifications and calls instead of none.
    #[must_use]
    pub fn with_metadata(&self, metadata: Metadata) -> Connection {
        Connection { metadata, ..self.clone() }
    }

    /// The same connection with another deadline for its calls, instead of [`Limits::call`](crate::Limits::call).
    ///
    /// ```no_run
    /// # fn of(client: &msgpipe::Connection) -> Result<bytes::Bytes, msgpipe::Error> {
    /// client.with_timeout(std::time::Duration::from_millis(500)).call("are you there?")
    /// # }
    /// ```
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Connection {
        Connection { timeout: Some(timeout), ..self.clone() }
    }

    /// Sends a notification: a message that gets no reply. Those for one client arrive in order. A client that does
    /// not listen drops them.
    ///
    /// What a client does not take waits as parts of replies do ([`PartSender`](super::PartSender)): up to 512 KiB
    /// here, and in the loop up to 256 KiB of all that it takes slowly; then this blocks until it takes them. It is
    /// not closed for that.
    ///
    /// # Errors
    /// [`PartError::Cancelled`] if the connection has ended, or if it had to wait and the server stops, [`PartError::TooLarge`] for a body over the client's
    /// limit; one that was sent before the limit was known is dropped. On the server's own thread, inside a handler or a hook, it does not block: [`PartError::Full`].
    pub fn notify(&self, body: impl IntoBody) -> Result<(), PartError> {
        self.push(body, !self.origin.outbox.is_on_loop())
    }

    /// As [`notify`](Connection::notify), without blocking.
    ///
    /// # Errors
    /// As [`notify`](Connection::notify); [`PartError::Full`] while there is no room.
    pub fn try_notify(&self, body: impl IntoBody) -> Result<(), PartError> {
        self.push(body, false)
    }

    fn push(&self, body: impl IntoBody, waits: bool) -> Result<(), PartError> {
        if !self.is_open() {
            return Err(PartError::Cancelled);
        }
        let body = body.into_body().into_bytes();
        let limit = self.origin.largest_body.load(Ordering::SeqCst);
        if body.len() > limit {
            return Err(PartError::TooLarge { limit });
        }
        let (method, metadata) = (self.method, self.metadata.clone());
        let lane = self.origin.make_lane();
        let message = Message { body, method, metadata, last: false };
        let pushed = match lane.push(message, false) {
            // A server that stops waits for nobody.
            Err(Refused::Full(_)) if waits && self.origin.outbox.is_stopping() => {
                Err(Refused::Gone)
            }
            Err(Refused::Full(message)) if waits => {
                let _waiting = nesting::wait();
                lane.push(message, true)
            }
            pushed => pushed,
        };
        let tells = pushed.map_err(Refused::into_error)?;
        if tells {
            self.origin.give(Side::Server.lane(), Given::Parts(lane.clone()));
        }
        Ok(())
    }

    /// Closes the connection once what waits for the client has been sent, with the application's own reason (code
    /// from 100 on; a lower one becomes [`GoodbyeCode::STOPPING`]), which the client gets. Does not block. Does nothing if it has ended.
    ///
    /// ```no_run
    /// # fn of(client: &msgpipe::Connection) {
    /// client.close(msgpipe::Goodbye::new(200, "the licence has ended"));
    /// # }
    /// ```
    pub fn close(&self, why: Goodbye) {
        // Some codes of this crate say that nothing was begun: an application cannot know that.
        let code = if why.code < 100 { GoodbyeCode::STOPPING } else { why.code };
        let why = Goodbye { code, ..why };
        self.origin.give(Side::Server.lane(), Given::Close(why.into()));
    }

    /// Keeps something of the application's own with the connection, once. It is dropped with the last clone of the
    /// connection and the last of its requests: a clone of the connection in it keeps it for ever.
    ///
    /// ```no_run
    /// struct Session(String);
    /// let server = msgpipe::Server::bind("com.example.notes")?
    ///     .on_connected(|client| drop(client.set_state(Session(client.peer().to_string()))));
    /// server.serve(|request| match request.connection().state::<Session>() {
    ///     Some(Session(who)) => format!("hello, {who}"),
    ///     None => "who are you?".to_owned(),
    /// })?;
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    ///
    /// # Errors
    /// Returns `state` if there is one.
    pub fn set_state<T: Any + Send + Sync>(&self, state: T) -> Result<(), T> {
        let mut unset = Some(state);
        self.origin.extras().state.get_or_init(|| match unset.take() {
            Some(state) => Box::new(state),
            None => Box::new(()),
        });
        unset.map_or(Ok(()), Err)
    }

    /// What [`set_state`](Connection::set_state) has set, if it is of this type.
    pub fn state<T: Any + Send + Sync>(&self) -> Option<&T> {
        self.origin.extras.get()?.state.get()?.downcast_ref()
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.origin.fmt(f)
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("Connection");
        f.field("id", &self.id).field("peer", &self.peer).finish_non_exhaustive()
    }
}
