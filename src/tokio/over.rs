//! Clients over streams, which have no name.

use super::driver::Driver;
use super::runtime;
use crate::backends::{TokioStream, tokio_over};
use crate::client::ClientOptions;
use crate::client::driven::Client;
use crate::error::Error;
use crate::exchange::carries_calls;
use crate::framing::{Carrier, Native};
use crate::peer::Peer;
use std::fmt;
use std::io::ErrorKind;
use std::pin::Pin;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};

/// Two directions of bytes, in order and without loss, that a connection runs over instead of a name: a TLS session, a
/// child's standard streams. [`Client::over_stream`] takes it. It is the async form of
/// [`msgpipe::ByteStream`](crate::ByteStream), and needs no threads.
///
/// ```no_run
/// # async fn f() -> Result<(), Box<dyn std::error::Error>> {
/// use msgpipe::tokio::{ByteStream, Client};
///
/// let socket = tokio::net::TcpStream::connect("127.0.0.1:7000").await?;
/// let client = Client::over_stream(ByteStream::new(socket).named("the service on port 7000"))?;
/// println!("{:?}", client.call("hello").await?);
/// # Ok(())
/// # }
/// ```
///
/// # What is left behind
///
/// When the connection ends on this side, the stream is flushed and shut down, if it takes that at once, and dropped. So a
/// stream that lets the other end know by being dropped, as all sockets and pipes do, leaves nothing.
///
/// # Who the peer is
///
/// A stream does not say it. [`Peer`] is empty, so [`Peer::same_user`] is false, unless the application knows better and says
/// so by [`with_peer`](ByteStream::with_peer). Whoever holds the other end is trusted: [`Trust`](crate::Trust) has no effect.
pub struct ByteStream {
    stream: Pin<Box<dyn TokioStream>>,
    name: Arc<str>,
    peer: Peer,
}

impl ByteStream {
    /// A stream. It is flushed when nothing more is to be written. Of two halves, `tokio::io::join` makes one:
    ///
    /// ```
    /// use msgpipe::tokio::ByteStream;
    /// let (reader, writer) = (tokio::io::empty(), tokio::io::sink());
    /// let stream = ByteStream::new(tokio::io::join(reader, writer));
    /// ```
    pub fn new(stream: impl AsyncRead + AsyncWrite + Send + 'static) -> ByteStream {
        ByteStream { stream: Box::pin(stream), name: "a stream".into(), peer: Peer::default() }
    }

    /// Sets the name of the endpoint in errors. Default: `a stream`.
    #[must_use]
    pub fn named(self, name: &str) -> ByteStream {
        ByteStream { name: name.into(), ..self }
    }

    /// Sets what is known of the peer, as [`Client::server`] returns it. Default: nothing.
    #[must_use]
    pub fn with_peer(self, peer: Peer) -> ByteStream {
        ByteStream { peer, ..self }
    }
}

impl fmt::Debug for ByteStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByteStream").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Client {
    /// A client over a stream, with the default [`Limits`](crate::Limits); spawns the driver in the present runtime.
    /// [`ByteStream`] has an example. Does not wait for the other end.
    ///
    /// # Errors
    /// As [`over_stream_with`](Client::over_stream_with).
    pub fn over_stream(stream: ByteStream) -> Result<Client, Error> {
        Client::over_stream_with(stream, &ClientOptions::new())
    }

    /// A client over a stream, with options. [`trust`](ClientOptions::trust) and [`start_with`](ClientOptions::start_with)
    /// have no effect.
    ///
    /// # Errors
    /// [`Error::Misuse`] outside of a runtime of tokio, and for a framing that does not carry any bytes; [`Error::System`] for a
    /// framing that needs whole messages of the system.
    pub fn over_stream_with(stream: ByteStream, options: &ClientOptions) -> Result<Client, Error> {
        if !runtime::is_here() {
            let problem = "the driver needs a runtime of tokio: call this in one".to_owned();
            return Err(Error::Misuse { endpoint: stream.name, problem });
        }
        let (client, driver) = Client::over_stream_with_driver(stream, options)?;
        runtime::spawn(driver);
        Ok(client)
    }

    /// As [`over_stream_with`](Client::over_stream_with), and returns the driver instead of spawning it. It is to be polled
    /// in a runtime of tokio.
    ///
    /// # Errors
    /// As [`over_stream_with`](Client::over_stream_with).
    pub fn over_stream_with_driver(
        stream: ByteStream,
        options: &ClientOptions,
    ) -> Result<(Client, Driver), Error> {
        let ByteStream { stream, name, peer } = stream;
        let limits = options.limits_of_calls();
        let framing = options.framing_or(Native::for_calls(limits.message));
        carries_calls(Some(&*framing), &name)?;
        if framing.carrier() != Carrier::Stream {
            let action = "carrying whole messages over a stream of bytes";
            return Err(Error::system(&name, action, ErrorKind::Unsupported.into()));
        }
        let io = tokio_over(stream);
        let (client, driver) = Client::over_io(io, &*framing, name, peer, &limits);
        Ok((client, Driver::new(driver)))
    }
}
