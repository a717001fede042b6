//! The `ClientStream` trait: what a client needs of a transport.
#![forbid(unsafe_code)]

use crate::backends::Waitable;
use crate::peer::Peer;
use bytes::BytesMut;
use std::io::{self, ErrorKind, IoSlice};
use std::time::Instant;

/// A connected stream of bytes, used by the threads that share a client.
///
/// [`Client`](crate::Client) and [`MessageClient`](crate::MessageClient) do their framing and their
/// waiting on top of it, on the caller's thread. At most one thread reads at a time and at most
/// one writes, but a read and a write can run concurrently.
///
/// [`Client::over`](crate::Client::over) makes a client over a custom stream:
///
/// ```
/// use msgpipe::{Client, Limits, Server, memory};
///
/// let hub = memory::Hub::new();
/// let server = Server::over(hub.listen_for_calls("echo", Limits::default())?, Limits::default());
/// let stopper = server.stopper();
/// let serving = std::thread::spawn(move || server.serve(|request| request.body()));
///
/// let stream: Box<dyn msgpipe::ClientStream> = Box::new(hub.connect("echo")?);
/// let client = Client::over(stream, "echo in memory", Limits::default());
/// assert_eq!(client.call("hello")?, "hello");
/// # stopper.stop();
/// # serving.join().unwrap()?;
/// # Ok::<_, msgpipe::Error>(())
/// ```
pub trait ClientStream: Send + Sync {
    /// Waits for bytes, until `deadline` at the latest, and appends them to `buffer` within its spare
    /// capacity, which is not zero. Returns the number of bytes; 0 if the peer has closed.
    ///
    /// # Errors
    /// `TimedOut` at the deadline, `Interrupted` after [`wake`](ClientStream::wake); any other error ends
    /// the connection.
    fn read(&self, buffer: &mut BytesMut, deadline: Option<Instant>) -> io::Result<usize>;

    /// Waits for a whole message, until `deadline` at the latest, and appends it to `buffer`, which grows
    /// for it. For framings that need [`Carrier::Messages`](crate::framing::Carrier::Messages); the default
    /// fails with `Unsupported`.
    ///
    /// # Errors
    /// As [`read`](ClientStream::read).
    fn read_message(
        &self,
        buffer: &mut BytesMut,
        limit: usize,
        deadline: Option<Instant>,
    ) -> io::Result<ReadMessage> {
        let _ = (buffer, limit, deadline);
        Err(ErrorKind::Unsupported.into())
    }

    /// The largest message that the system sends as one, in bytes. For a stream of messages.
    fn largest_message(&self) -> usize {
        usize::MAX
    }

    /// Writes some bytes of `slices` without blocking and returns how many. On a stream of messages
    /// each slice is one message, and is written as a whole or not at all.
    ///
    /// # Errors
    /// `WouldBlock` if nothing can be written now; any other error ends the connection.
    fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Whether the system has all bytes that `write` took, so that they arrive even if this process crashes.
    fn is_sent(&self) -> bool;

    /// Waits until `write` can write more or [`is_sent`](ClientStream::is_sent) has become true, until
    /// `deadline` at the latest. With `or_readable` it also returns when there is something to read. May
    /// return early.
    ///
    /// # Errors
    /// `TimedOut` at the deadline; any other error ends the connection.
    fn wait_writable(&self, or_readable: bool, deadline: Option<Instant>) -> io::Result<()>;

    /// Makes a pending `read` or `read_message` return, and a pending `wait_writable`, from any thread; of the two the
    /// one that is not pending returns when it is called next. A read then fails with `Interrupted`, or returns what has
    /// arrived.
    fn wake(&self);

    /// What an application's own loop can wait for. It is signalled while a read would return something, while the alert
    /// is [set](ClientStream::set_alert), and while more can be written and that is
    /// [watched](ClientStream::watch_writable). Default: `None`, there is nothing that a loop could wait for.
    ///
    /// # Errors
    /// A system call failed.
    fn waitable(&self) -> io::Result<Option<Waitable>> {
        Ok(None)
    }

    /// Signals the [waitable](ClientStream::waitable) whatever the stream does, or ends that. From any thread. Default:
    /// does nothing.
    fn set_alert(&self, is_set: bool) {
        let _ = is_set;
    }

    /// Signals the [waitable](ClientStream::waitable) also while more can be written, or ends that. From any thread.
    /// Default: does nothing.
    fn watch_writable(&self, watched: bool) {
        let _ = watched;
    }

    /// Closes both directions, from any thread: a pending `read` or `wait_writable` returns, and each
    /// later call finds the stream closed.
    fn shutdown(&self);

    /// Why the stream has ended, if the transport knows more than that a read or write failed with this kind of error
    /// (`UnexpectedEof`: the peer has closed): a child process has an exit status. May wait for it, until `deadline` at
    /// the latest. Default: `None`.
    fn why_ended(&self, kind: ErrorKind, deadline: Option<Instant>) -> Option<io::Error> {
        let _ = (kind, deadline);
        None
    }

    /// The identity of the server.
    fn peer(&self) -> &Peer;
}

/// The outcome of reading a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadMessage {
    /// The whole message was read.
    Whole,
    /// The next message has this many bytes, which is over the limit. It was not read.
    TooLarge(u64),
    /// The end of the stream: the peer sends nothing more.
    End,
}

/// The outcome of reading bytes or a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadOutcome {
    /// Some bytes, or a whole message, were read.
    Some,
    /// As [`ReadMessage::TooLarge`].
    TooLarge(u64),
    /// The end of the stream.
    End,
}

impl ReadOutcome {
    /// The outcome of a read that returned `read` bytes.
    pub fn of_bytes(read: usize) -> ReadOutcome {
        if read == 0 { ReadOutcome::End } else { ReadOutcome::Some }
    }
}

impl From<ReadMessage> for ReadOutcome {
    fn from(read: ReadMessage) -> ReadOutcome {
        match read {
            ReadMessage::Whole => ReadOutcome::Some,
            ReadMessage::TooLarge(size) => ReadOutcome::TooLarge(size),
            ReadMessage::End => ReadOutcome::End,
        }
    }
}
