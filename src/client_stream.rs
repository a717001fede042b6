//! What a client needs of a transport: the small trait behind which a backend does its I/O.
#![forbid(unsafe_code)]

use crate::peer::Peer;
use bytes::BytesMut;
use std::io::{self, ErrorKind, IoSlice};
use std::time::Instant;

/// A connected stream of bytes, used by the threads that share a client.
///
/// [`Client`](crate::Client) and [`MessageClient`](crate::MessageClient) do their framing and their
/// waiting on top of it, on the caller's own thread. At most one thread reads at a time and at most
/// one writes, but a read and a write happen at once.
///
/// A client over a stream of one's own is made with
/// [`Client::over`](crate::Client::over):
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
    /// Waits until bytes have arrived, until `deadline` at the latest, and appends them to `buffer`
    /// within its spare capacity, which is not zero. Returns how many; 0 when the peer has closed.
    ///
    /// # Errors
    /// `TimedOut` at the deadline; anything else ends the connection.
    fn read(&self, buffer: &mut BytesMut, deadline: Option<Instant>) -> io::Result<usize>;

    /// Waits until a whole message has arrived, until `deadline` at the latest, and appends it to
    /// `buffer`, which grows for it. For framings that are carried by
    /// [messages](crate::framing::Carrier::Messages); a stream that has none leaves it as it is.
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

    /// The largest message that the system takes as one, on a stream of messages.
    fn largest_message(&self) -> usize {
        usize::MAX
    }

    /// Takes some bytes of `slices` without waiting and returns how many. On a stream of messages
    /// each slice is one, and is taken as a whole or not at all.
    ///
    /// # Errors
    /// `WouldBlock` when none can be taken now; anything else ends the connection.
    fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Whether all that `write` took is beyond the reach of a crash of this process.
    fn is_sent(&self) -> bool;

    /// Waits until `write` may take more or [`is_sent`](ClientStream::is_sent) may have become
    /// true, until `deadline` at the latest. With `or_readable` it also returns when there is
    /// something to read. May return early.
    ///
    /// # Errors
    /// `TimedOut` at the deadline; anything else ends the connection.
    fn wait_writable(&self, or_readable: bool, deadline: Option<Instant>) -> io::Result<()>;

    /// Makes a `read`, `read_message` or `wait_writable` that is under way return, from any thread; if
    /// none is, the next one. Reading then fails with `Interrupted`; it may also find what is there.
    fn wake(&self);

    /// Ends both directions, from any thread: a `read` or `wait_writable` under way returns, and
    /// each later call finds the stream closed.
    fn shutdown(&self);

    /// Who serves the other end.
    fn peer(&self) -> &Peer;
}

/// What came of reading a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadMessage {
    /// It is there, whole.
    Whole,
    /// One of so many bytes waits, which is over the limit. It was not read.
    TooLarge(u64),
    /// The peer will send nothing more.
    End,
}

/// What came of reading, be it bytes or a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadOutcome {
    /// Something is there: some bytes, or a whole message.
    Some,
    /// As [`ReadMessage::TooLarge`].
    TooLarge(u64),
    /// The peer will send nothing more.
    End,
}

impl ReadOutcome {
    /// So many bytes were read.
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
