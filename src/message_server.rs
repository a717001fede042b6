//! The `MessageServer` trait: whole messages, many connections, no operating system.
#![forbid(unsafe_code)]

use crate::account::Share;
use crate::error::{CloseReason, Error};
use crate::goodbye::Goodbye;
use crate::peer::Peer;
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A server of whole messages: the lower of the two levels of this crate. [`Server`] puts requests
/// and replies on top of any implementation of it.
///
/// The driver is one thread that calls [`poll`](MessageServer::poll) in a loop. Nothing happens
/// between the calls: reading, sending and accepting are done inside `poll`.
///
/// What every implementation promises:
/// - each connection gives one [`Event::Connected`], then its messages in the order they were
///   sent, then one [`Event::Closed`], also when it was this side that closed it;
/// - a message arrives whole, or not at all;
/// - what one peer does, or leaves undone, ends or delays that peer's connection only.
///
/// [`LocalServer`] is the one for this operating system, [`memory`] holds one for tests.
///
/// ```
/// use msgpipe::{Event, Limits, MessageServer, memory};
///
/// fn echo(server: &mut impl MessageServer) -> Result<(), msgpipe::Error> {
///     while let Some(event) = server.poll(None)? {
///         match event {
///             Event::Message(from, message) => {
///                 // A refused message comes back in the error; here it is dropped.
///                 let _ = server.send(from, message);
///             }
///             Event::Closed(..) => break,
///             _ => {}
///         }
///     }
///     Ok(())
/// }
///
/// let hub = memory::Hub::new();
/// let mut server = hub.listen("echo", Limits::default())?;
/// let client = hub.message_client("echo", Limits::default())?;
/// client.send("hello")?;
/// # let done = std::thread::spawn(move || {
/// #     assert_eq!(client.receive(None).unwrap(), "hello");
/// # });
/// echo(&mut server)?;
/// # done.join().unwrap();
/// # Ok::<_, msgpipe::Error>(())
/// ```
///
/// [`Server`]: crate::Server
/// [`LocalServer`]: crate::LocalServer
/// [`memory`]: crate::memory
pub trait MessageServer {
    /// Waits for the next event, at most for `timeout`; without one, until there is an event.
    ///
    /// Returns `Ok(None)` when the time has passed. What [`send`](MessageServer::send) queued
    /// leaves at the latest when `poll` is about to wait. With a timeout of zero it does not wait.
    ///
    /// # Errors
    /// Only what ends the whole server: the operating system's event queue has failed. Whatever
    /// happens to one connection comes as its [`Event::Closed`].
    fn poll(&mut self, timeout: Option<Duration>) -> Result<Option<Event>, Error>;

    /// Queues a message for a connection: `head` followed by `body`, which arrive as one message.
    /// `head` lets a layer above set an envelope before a body without copying it; leave it empty
    /// or call [`send`](MessageServer::send). Does not block and sends nothing by itself.
    ///
    /// # Errors
    /// [`SendError`], with `body` handed back: the connection is gone or closing, the message is
    /// over the limit, [`Limits::queued`](crate::Limits::queued) bytes wait there already, or
    /// [`Limits::memory`](crate::Limits::memory) is taken; in the last two cases [`Event::Drained`]
    /// tells when to send again.
    fn send_with_head(
        &mut self,
        to: ConnectionId,
        head: &[u8],
        body: Bytes,
    ) -> Result<(), SendError>;

    /// Queues a message for a connection; see [`send_with_head`](MessageServer::send_with_head).
    fn send(&mut self, to: ConnectionId, message: Bytes) -> Result<(), SendError> {
        self.send_with_head(to, &[], message)
    }

    /// Closes a connection once all that was queued for it has left. No further message of it
    /// arrives. Its [`Event::Closed`] follows: if the peer does not read, after
    /// [`Limits::write_stall`](crate::Limits::write_stall); if it reads too slowly, after
    /// [`Limits::closing`](crate::Limits::closing). Does nothing if the connection is gone.
    ///
    /// `why` goes to the peer in words, where the framing has a way to say it.
    fn close(&mut self, connection: ConnectionId, why: Goodbye);

    /// Ends a connection at once: what waits to be sent is thrown away, and no further message of it
    /// arrives. Its [`Event::Closed`] follows. Does nothing if the connection is gone.
    fn abort(&mut self, connection: ConnectionId);

    /// Who is at the other end, as the operating system told it when the connection was made; also of
    /// the connection whose [`Event::Closed`] was the last event. `None` once it was polled for the
    /// next.
    fn peer(&self, connection: ConnectionId) -> Option<&Peer>;

    /// Whether what is sent there can still arrive: not once the peer has closed both directions, or
    /// sending has failed. What it sent before is still handed out; a
    /// [`Server`](crate::Server) drops its requests.
    ///
    /// A server that cannot tell says yes.
    fn is_reachable(&self, connection: ConnectionId) -> bool {
        let _ = connection;
        true
    }

    /// On what the memory that is held for a connection draws, so that a layer above draws on the same.
    /// `None` if it is gone, or of a server that keeps no [`Account`](crate::Account): then the layer
    /// above keeps its own.
    fn share(&self, connection: ConnectionId) -> Option<Share> {
        let _ = connection;
        None
    }

    /// Takes no new clients from now on and gives the name free. Connections stay as they are.
    fn stop_accepting(&mut self);

    /// A handle that makes `poll` return [`Event::Woken`], from any thread.
    fn waker(&self) -> Waker;

    /// The endpoint in words, for messages to people.
    fn endpoint(&self) -> &str;
}

/// Implements the trait by calling the same of what is pointed to.
macro_rules! forward_to_inner {
    ($($pointer:ty),*) => {$(
        impl<M: MessageServer + ?Sized> MessageServer for $pointer {
            fn poll(&mut self, timeout: Option<Duration>) -> Result<Option<Event>, Error> {
                (**self).poll(timeout)
            }

            fn send_with_head(
                &mut self,
                to: ConnectionId,
                head: &[u8],
                body: Bytes,
            ) -> Result<(), SendError> {
                (**self).send_with_head(to, head, body)
            }

            fn close(&mut self, connection: ConnectionId, why: Goodbye) {
                (**self).close(connection, why);
            }

            fn abort(&mut self, connection: ConnectionId) {
                (**self).abort(connection);
            }

            fn peer(&self, connection: ConnectionId) -> Option<&Peer> {
                (**self).peer(connection)
            }

            fn is_reachable(&self, connection: ConnectionId) -> bool {
                (**self).is_reachable(connection)
            }

            fn share(&self, connection: ConnectionId) -> Option<Share> {
                (**self).share(connection)
            }

            fn stop_accepting(&mut self) {
                (**self).stop_accepting();
            }

            fn waker(&self) -> Waker {
                (**self).waker()
            }

            fn endpoint(&self) -> &str {
                (**self).endpoint()
            }
        }
    )*};
}

forward_to_inner!(&mut M, Box<M>);

/// What happened on a [`MessageServer`]; see there for an example.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A client has connected; [`MessageServer::peer`] tells who it is.
    Connected(ConnectionId),
    /// A whole message has arrived.
    ///
    /// The bytes are a part of a larger buffer where that saves a copy. To keep a small message
    /// for long, copy it (`Bytes::copy_from_slice`), so that the buffer can go.
    Message(ConnectionId, Bytes),
    /// A connection that refused a message as [`Refusal::Full`] or [`Refusal::Memory`] takes messages
    /// again: less than half of the limit waits there now, and there is memory.
    Drained(ConnectionId),
    /// Clients that wait cannot be taken in: the system refused (no descriptors, no memory). Those
    /// that are connected are served as before, and it is tried again until it works. Told once, and
    /// again only after it has worked in between.
    AcceptFailed(Error),
    /// A client has closed its sending direction, and still reads: it sends nothing more, and is sent to
    /// until it is closed. Only where [half-close](crate::ServerOptions::half_close) was asked for.
    Finished(ConnectionId),
    /// A connection has ended. Its id will not be used again.
    Closed(ConnectionId, CloseReason),
    /// [`Waker::wake`] was called since this event was last returned.
    Woken,
}

/// A connection of a [`MessageServer`]. Ids of one server are never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(u64);

impl ConnectionId {
    /// An id with this number; for implementations of [`MessageServer`].
    ///
    /// ```
    /// let id = msgpipe::ConnectionId::from_number(7);
    /// assert_eq!((id.number(), id.to_string().as_str()), (7, "connection 7"));
    /// ```
    pub const fn from_number(number: u64) -> ConnectionId {
        ConnectionId(number)
    }

    /// The id's number.
    pub fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "connection {}", self.0)
    }
}

/// A message that was not queued.
#[derive(Debug, thiserror::Error)]
#[error("{connection}: {refusal}")]
#[non_exhaustive]
pub struct SendError {
    /// Where it should have gone.
    pub connection: ConnectionId,
    /// Why it was not queued.
    pub refusal: Refusal,
    /// The message's body, handed back.
    pub body: Bytes,
}

impl SendError {
    /// An error that hands `body` back; for implementations of [`MessageServer`].
    pub fn new(connection: ConnectionId, refusal: Refusal, body: Bytes) -> SendError {
        SendError { connection, refusal, body }
    }
}

/// Why a message was not queued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The connection has ended or is being closed.
    #[error("the connection is gone or closing")]
    Gone,
    /// So much waits to be sent there already. Send again after [`Event::Drained`].
    #[error("{queued} bytes wait to be sent there, the limit is {limit}: the peer does not read")]
    Full {
        /// Bytes that wait.
        queued: usize,
        /// [`Limits::queued`](crate::Limits::queued).
        limit: usize,
    },
    /// The server has no memory for it: [`Limits::memory`](crate::Limits::memory), or the part of the
    /// peer's user, is taken. Send again after [`Event::Drained`].
    #[error(
        "{held} bytes are held for all clients, and there is no memory for more: raise Limits::memory, or send less to those who do not read"
    )]
    Memory {
        /// Bytes that are held for all clients together.
        held: usize,
    },
    /// The framing cannot carry this message.
    #[error(transparent)]
    Framing(#[from] crate::framing::FramingError),
}

/// Makes [`MessageServer::poll`] return, from any thread and at any time. Cheap to clone.
///
/// Many calls before the server gets to it give one [`Event::Woken`].
///
/// ```
/// use std::sync::atomic::{AtomicUsize, Ordering};
/// use std::sync::Arc;
///
/// let count = Arc::new(AtomicUsize::new(0));
/// let waker = msgpipe::Waker::new({
///     let count = count.clone();
///     move || drop(count.fetch_add(1, Ordering::SeqCst))
/// });
/// waker.clone().wake();
/// assert_eq!(count.load(Ordering::SeqCst), 1);
/// ```
#[derive(Clone)]
pub struct Waker(Arc<dyn Fn() + Send + Sync>);

impl Waker {
    /// A waker that calls `wake`; for implementations of [`MessageServer`]. `wake` must not block.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Waker {
        Waker(Arc::new(wake))
    }

    /// Wakes the server.
    pub fn wake(&self) {
        (self.0)();
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waker")
    }
}
