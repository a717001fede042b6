//! The `ByteStream`: two directions of bytes that a connection runs over.
#![forbid(unsafe_code)]

use crate::peer::Peer;
use std::fmt;
use std::io::{Read, Write};
use std::sync::Arc;

/// Two directions of bytes, in order and without loss, that a connection runs over instead of a name: standard streams,
/// a TLS session, a serial line. [`Client::over_stream`](crate::Client::over_stream) and
/// [`Server::over_stream`](crate::Server::over_stream) take it.
///
/// ```
/// use msgpipe::{ByteStream, Client, Server};
/// use std::net::{Shutdown, TcpListener, TcpStream};
///
/// fn stream(socket: TcpStream) -> std::io::Result<ByteStream> {
///     let (reader, writer) = (socket.try_clone()?, socket.try_clone()?);
///     Ok(ByteStream::new(reader, writer).on_close(move || drop(socket.shutdown(Shutdown::Both))))
/// }
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let here = TcpStream::connect(listener.local_addr()?)?;
/// let server = Server::over_stream(stream(listener.accept()?.0)?)?;
/// let serving = std::thread::spawn(move || server.serve(|request| request.body()));
///
/// let client = Client::over_stream(stream(here)?)?;
/// assert_eq!(client.call("hello")?, "hello");
/// drop(client);
/// serving.join().unwrap()?; // the end of the only connection is the end of the server
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
///
/// # What it costs
///
/// The reader and the writer may block. So each connection has two threads, one that reads and one that writes, and
/// queues of 64 KiB in each direction. Deadlines of calls, backpressure and limits are as with any other transport: all
/// others wait for the queues, never for the stream. A call takes some ten microseconds more.
///
/// # What is left behind
///
/// A blocking read cannot be ended from outside. When the connection has ended on this side, or a deadline has ended
/// it, what was sent before is still written, then the writer is dropped, and then the
/// [`on_close`](ByteStream::on_close) function runs. The thread that reads ends when its read returns: when the peer
/// closes, or by what that function does. Until then it holds the reader and 32 KiB. A peer that neither reads nor
/// closes keeps the writing thread too, with up to 64 KiB.
///
/// # Who the peer is
///
/// A stream does not say it. [`Peer`] is empty, so [`Peer::same_user`] is false, and the limits for other users apply,
/// unless the application knows better and says so by [`with_peer`](ByteStream::with_peer). Whoever holds the other ends
/// is trusted: [`Access`](crate::Access) and [`Trust`](crate::Trust) have no effect.
pub struct ByteStream {
    pub(crate) reader: Box<dyn Read + Send>,
    pub(crate) writer: Box<dyn Write + Send>,
    pub(crate) close: Option<Box<dyn FnOnce() + Send>>,
    pub(crate) name: Arc<str>,
    pub(crate) peer: Peer,
}

impl ByteStream {
    /// A stream. Both directions must block, and have no time-out of their own: an error `WouldBlock` or `TimedOut`
    /// ends the connection. The writer is flushed after each write, and dropped when the connection ends.
    pub fn new(
        reader: impl Read + Send + 'static,
        writer: impl Write + Send + 'static,
    ) -> ByteStream {
        ByteStream {
            reader: Box::new(reader),
            writer: Box::new(writer),
            close: None,
            name: "a stream".into(),
            peer: Peer::default(),
        }
    }

    /// Sets the name of the endpoint in errors. Default: `a stream`.
    #[must_use]
    pub fn named(self, name: &str) -> ByteStream {
        ByteStream { name: name.into(), ..self }
    }

    /// Sets what is known of the peer. Default: nothing.
    #[must_use]
    pub fn with_peer(self, peer: Peer) -> ByteStream {
        ByteStream { peer, ..self }
    }

    /// Sets a function that ends both directions, from any thread: a socket's `shutdown`. It runs once, when the
    /// connection has ended on this side and what was sent before is written; at once if the rest is given up. Without
    /// it, dropping the writer has to let the peer know.
    ///
    /// ```no_run
    /// use msgpipe::{ByteStream, Client};
    /// use std::net::{Shutdown, TcpStream};
    ///
    /// let socket = TcpStream::connect("192.0.2.1:7000")?;
    /// let (reader, writer) = (socket.try_clone()?, socket.try_clone()?);
    /// let stream = ByteStream::new(reader, writer).on_close(move || drop(socket.shutdown(Shutdown::Both)));
    /// let client = Client::over_stream(stream)?;
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn on_close(self, close: impl FnOnce() + Send + 'static) -> ByteStream {
        ByteStream { close: Some(Box::new(close)), ..self }
    }
}

impl fmt::Debug for ByteStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByteStream").field("name", &self.name).finish_non_exhaustive()
    }
}
