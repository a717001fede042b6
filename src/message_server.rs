//! The `MessageServer` trait: whole messages on many connections, independent of the operating system.
#![forbid(unsafe_code)]

use crate::account::Share;
use crate::backends::Waitable;
use crate::clock;
pub use crate::connection_id::ConnectionId;
use crate::error::{CloseReason, Error};
use crate::goodbye::Goodbye;
use crate::peer::Peer;
pub use crate::send_error::{Refusal, SendError};
pub use crate::waker::Waker;
use bytes::Bytes;
use std::io;
use std::time::{Duration, Instant};

/// A server of whole messages: the lower of the two levels of this crate. [`Server`] adds requests
/// and replies on top of any implementation.
///
/// One thread calls [`poll`](MessageServer::poll) in a loop. `poll` reads, sends and accepts; nothing
/// happens between two calls.
///
/// Every implementation promises:
/// - each connection returns one [`Event::Connected`], then its messages in the order they were
///   sent, then one [`Event::Closed`], also when this side closed it;
/// - a message arrives whole, or not at all;
/// - a faulty or slow peer ends or delays only its own connection.
///
/// [`LocalServer`] is the implementation for this operating system, [`memory`] has one for tests.
///
/// ```
/// use msgpipe::{Event, Limits, MessageServer, memory};
///
/// fn echo(server: &mut impl MessageServer) -> Result<(), msgpipe::Error> {
///     while let Some(event) = server.poll(None)? {
///         match event {
///             Event::Message(from, message) => {
///                 // The error returns a refused message; here it is dropped.
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
    /// Waits for the next event, at most for `timeout`; with `None`, until there is an event. With a timeout
    /// of zero it does not wait: it takes what has arrived and returns the first event of it, if there is one. While
    /// clients always send more and no event comes of it, a poll of this crate's servers returns `None` at most about a
    /// millisecond after its timeout, and the next one goes on.
    ///
    /// Returns `Ok(None)` when the time has passed. Messages that [`send`](MessageServer::send) has queued
    /// are sent before `poll` waits.
    ///
    /// # Errors
    /// Only errors that end the whole server: the operating system's event queue has failed. An error of
    /// one connection is reported by its [`Event::Closed`].
    fn poll(&mut self, timeout: Option<Duration>) -> Result<Option<Event>, Error>;

    /// When the last event was returned. An implementation that has read the clock anyway saves its caller the second
    /// look. Default: now.
    fn event_time(&self) -> Instant {
        clock::now()
    }

    /// Queues a message for a connection: `head` followed by `body`, which arrive as one message.
    /// `head` lets a layer above put an envelope before a body without copying it; leave it empty
    /// or call [`send`](MessageServer::send). Does not block. `poll` sends the message.
    ///
    /// # Errors
    /// [`SendError`], which returns `body`: the connection is closed or closing, the message is over the
    /// limit, [`Limits::queued`](crate::Limits::queued) bytes are queued already, or
    /// [`Limits::memory`](crate::Limits::memory) is used up. In the last two cases [`Event::Writable`]
    /// reports when to send again.
    fn send_with_head(
        &mut self,
        to: ConnectionId,
        head: &[u8],
        body: Bytes,
    ) -> Result<(), SendError>;

    /// Whether the send queue of a connection is short. A layer that schedules what it sends, as calls do, hands
    /// over the next message only then: what is in the queue cannot be overtaken. After `false`
    /// [`Event::Writable`] reports when the queue is short again, and nothing is read from the peer until then.
    ///
    /// An implementation that does not know returns `true`, the default: its queue is then limited only by
    /// what `send` refuses, and a small message waits behind all that is in it.
    fn has_room(&mut self, to: ConnectionId) -> bool {
        let _ = to;
        true
    }

    /// Returns an [`Event::Writable`] for a connection when memory has become free that may be held for it. Default:
    /// does nothing, for a server without an [`Account`](crate::Account).
    fn wait_for_memory(&mut self, connection: ConnectionId) {
        let _ = connection;
    }

    /// Reads small messages of a connection, and accepts messages for it, also while there is no memory
    /// ([`Limits::memory`](crate::Limits::memory)). A layer above sets this while it holds memory that becomes free so.
    /// Default: does nothing.
    fn keep_going(&mut self, connection: ConnectionId, keeps_going: bool) {
        let _ = (connection, keeps_going);
    }

    /// Reads a connection although its peer does not read what is sent to it, and does not close it for that
    /// ([`Limits::write_stall`](crate::Limits::write_stall)). A layer above allows it while it limits itself what it
    /// sends: a client takes the parts of a reply when it likes. Default: does nothing.
    fn allow_unread(&mut self, connection: ConnectionId, allowed: bool) {
        let _ = (connection, allowed);
    }

    /// Lets the system hold less of what is sent to a connection, so that a small message does not wait long behind it. A
    /// layer above sets this while it sends small messages beside large ones. Default: does nothing.
    fn limit_in_transit(&mut self, connection: ConnectionId, limited: bool) {
        let _ = (connection, limited);
    }

    /// The largest message in bytes that can be sent to a connection, as far as is known. Default: no limit.
    fn largest_message(&self, to: ConnectionId) -> usize {
        let _ = to;
        usize::MAX
    }

    /// Queues a message for a connection; see [`send_with_head`](MessageServer::send_with_head).
    fn send(&mut self, to: ConnectionId, message: Bytes) -> Result<(), SendError> {
        self.send_with_head(to, &[], message)
    }

    /// Closes a connection after its send queue has been sent. No further message of it is returned. Its
    /// [`Event::Closed`] follows: if the peer does not read, after
    /// [`Limits::write_stall`](crate::Limits::write_stall); if it reads too slowly, after
    /// [`Limits::closing`](crate::Limits::closing). Does nothing if the connection has ended.
    ///
    /// `why` is sent to the peer, if the framing has a goodbye.
    fn close(&mut self, connection: ConnectionId, why: Goodbye);

    /// Ends a connection at once: its send queue is dropped, and no further message of it is returned. Its
    /// [`Event::Closed`] follows. Does nothing if the connection has ended.
    fn abort(&mut self, connection: ConnectionId);

    /// The identity of the other end, which the operating system gave when the connection was made.
    /// Also valid for the connection of the last [`Event::Closed`], until the next `poll`; `None` after
    /// that.
    fn peer(&self, connection: ConnectionId) -> Option<&Peer>;

    /// Whether a message can still arrive at the peer. `false` once the peer has closed both directions, or
    /// sending has failed. Messages that the peer sent before are still returned; a
    /// [`Server`](crate::Server) drops its requests.
    ///
    /// An implementation that does not know returns `true`, the default.
    fn is_reachable(&self, connection: ConnectionId) -> bool {
        let _ = connection;
        true
    }

    /// The share that the connection's memory is charged to, so that a layer above can charge the same one.
    /// `None` if the connection has ended, or if the server has no [`Account`](crate::Account): then the
    /// layer above keeps its own.
    fn share(&self, connection: ConnectionId) -> Option<Share> {
        let _ = connection;
        None
    }

    /// Stops accepting clients and releases the name. Existing connections stay open.
    fn stop_accepting(&mut self);

    /// What an application's own loop waits for, beside other things, to call [`poll`](MessageServer::poll) then, with a
    /// timeout of zero until it returns `None`. It is signalled while there may be events. Such a loop calls `poll` also at
    /// [`poll_at`](MessageServer::poll_at), which each `poll` may change.
    ///
    /// Default: `None`, there is nothing to wait for but `poll` itself. [`LocalServer`](crate::LocalServer) has one on Unix; on
    /// Windows its events come over a completion port, which cannot be waited for in this way.
    ///
    /// ```no_run
    /// use msgpipe::{LocalServer, MessageServer};
    /// use std::time::{Duration, Instant};
    ///
    /// let mut server = LocalServer::bind("com.example.shout")?;
    /// let waitable = server.waitable()?.ok_or("not on this system")?;
    /// loop {
    ///     while let Some(event) = server.poll(Some(Duration::ZERO))? {
    ///         println!("{event:?}");
    ///     }
    ///     let left = server.poll_at().map(|at| at.saturating_duration_since(Instant::now()));
    ///     waitable.wait(left)?; // in a real loop this waits for other things, too
    /// }
    /// # #[allow(unreachable_code)]
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// A system call failed.
    fn waitable(&self) -> io::Result<Option<Waitable>> {
        Ok(None)
    }

    /// When [`poll`](MessageServer::poll) is to be called next though the [waitable](MessageServer::waitable) is not
    /// signalled: a deadline of a connection, or something that was left for later. `None`: at no time.
    fn poll_at(&self) -> Option<Instant> {
        None
    }

    /// Has a task woken, once, when there may be new events; it is called again before each wait. Default: `false`, that
    /// cannot be done. Only servers that can run in a [simulation](crate::memory::Simulation): there serving ends with
    /// [`Error::System`] if it returns `false`.
    #[cfg(feature = "test-util")]
    fn watch(&self, task: &std::task::Waker) -> bool {
        let _ = task;
        false
    }

    /// Whether no connection is left and none can come: a [`Server`](crate::Server) then returns from `serve`. Default:
    /// `false`.
    fn is_over(&self) -> bool {
        false
    }

    /// A handle that makes `poll` return [`Event::Woken`], from any thread.
    fn waker(&self) -> Waker;

    /// The endpoint as text, for logs and error messages.
    fn endpoint(&self) -> &str;
}

/// Implements the trait by forwarding to the inner value.
macro_rules! forward_to_inner {
    ($($pointer:ty),*) => {$(
        impl<M: MessageServer + ?Sized> MessageServer for $pointer {
            fn poll(&mut self, timeout: Option<Duration>) -> Result<Option<Event>, Error> {
                (**self).poll(timeout)
            }

            fn event_time(&self) -> Instant {
                (**self).event_time()
            }

            fn send_with_head(
                &mut self,
                to: ConnectionId,
                head: &[u8],
                body: Bytes,
            ) -> Result<(), SendError> {
                (**self).send_with_head(to, head, body)
            }

            fn send(&mut self, to: ConnectionId, message: Bytes) -> Result<(), SendError> {
                (**self).send(to, message)
            }

            fn has_room(&mut self, to: ConnectionId) -> bool {
                (**self).has_room(to)
            }

            fn wait_for_memory(&mut self, connection: ConnectionId) {
                (**self).wait_for_memory(connection);
            }

            fn keep_going(&mut self, connection: ConnectionId, keeps_going: bool) {
                (**self).keep_going(connection, keeps_going);
            }

            fn allow_unread(&mut self, connection: ConnectionId, allowed: bool) {
                (**self).allow_unread(connection, allowed);
            }

            fn limit_in_transit(&mut self, connection: ConnectionId, limited: bool) {
                (**self).limit_in_transit(connection, limited);
            }

            fn largest_message(&self, to: ConnectionId) -> usize {
                (**self).largest_message(to)
            }

            fn waitable(&self) -> io::Result<Option<Waitable>> {
                (**self).waitable()
            }

            fn poll_at(&self) -> Option<Instant> {
                (**self).poll_at()
            }

            #[cfg(feature = "test-util")]
            fn watch(&self, task: &std::task::Waker) -> bool {
                (**self).watch(task)
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

            fn is_over(&self) -> bool {
                (**self).is_over()
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

/// What happened on a [`MessageServer`], which has an example.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A client has connected; [`MessageServer::peer`] returns its identity.
    Connected(ConnectionId),
    /// A whole message has arrived.
    ///
    /// The bytes can be a slice of a larger buffer. To keep a small message for long, copy it
    /// (`Bytes::copy_from_slice`), so that the buffer can be freed.
    Message(ConnectionId, Bytes),
    /// A connection that refused a message with [`Refusal::Full`] or [`Refusal::Memory`] takes messages
    /// again: its send queue holds at most half of the limit, and there is memory.
    Writable(ConnectionId),
    /// The system refused to accept waiting clients (no descriptors, no memory). The server serves its
    /// connections and tries again. This event is returned once, and again only after an accept has
    /// succeeded in between.
    AcceptFailed(Error),
    /// A client has closed its sending direction and still reads (half-close): it sends nothing more, and
    /// can be sent to until it is closed. Only with
    /// [`ServerOptions::half_close`](crate::ServerOptions::half_close).
    HalfClosed(ConnectionId),
    /// A connection has ended. Its id is not reused.
    Closed(ConnectionId, CloseReason),
    /// [`Waker::wake`] was called since this event was last returned.
    Woken,
}
