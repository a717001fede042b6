//! Servers with one connection, which is there from the beginning and has no name.

use super::{Server, ServerOptions};
use crate::backends::{LocalServer, StreamServer};
use crate::byte_stream::ByteStream;
use crate::error::Error;
use crate::exchange::carries_calls;
use crate::framing::{Layer, Native};
#[cfg(doc)]
use crate::limits::Limits;
use std::sync::Arc;

impl ServerOptions {
    /// A server for calls over a stream, with one client. [`ByteStream`] has an example. `access`, `instances` and
    /// `keep_name` have no effect.
    ///
    /// # Errors
    /// [`Error::System`] if the stream's threads could not be started, or for a framing that needs whole messages of the
    /// system; [`Error::Misuse`] for a framing that does not carry any bytes.
    pub fn over_stream(&self, stream: ByteStream) -> Result<Server<StreamServer>, Error> {
        carries_calls(self.framing.as_deref(), &stream.name)?;
        let native = Native::for_calls(self.limits.clamped().message);
        let messages = self.serve_stream(stream, native)?;
        Ok(Server::over(messages, self.limits.clone()))
    }

    /// A server for messages over a stream, with one client; otherwise as [`over_stream`](ServerOptions::over_stream).
    ///
    /// # Errors
    /// As [`over_stream`](ServerOptions::over_stream).
    pub fn over_stream_messages(&self, stream: ByteStream) -> Result<StreamServer, Error> {
        let native = Native::new(Layer::Messages, self.limits.clamped().message);
        self.serve_stream(stream, native)
    }

    /// As [`Server::inherited`], with these options. `access`, `instances` and `keep_name` have no effect.
    ///
    /// # Errors
    /// As [`Server::inherited`]; [`Error::Misuse`] also for a framing that does not carry any bytes.
    pub fn inherited(&self) -> Result<Server, Error> {
        carries_calls(self.framing.as_deref(), &"standard input")?;
        let native = || Arc::new(Native::for_calls(self.limits.clamped().message)) as Arc<_>;
        let framing = self.framing.clone().unwrap_or_else(native);
        let messages = LocalServer::inherited(framing, self)?;
        Ok(Server::over(messages, self.limits.clone()))
    }

    fn serve_stream(&self, stream: ByteStream, native: Native) -> Result<StreamServer, Error> {
        let framing = self.framing.clone().unwrap_or_else(|| Arc::new(native));
        StreamServer::start(stream, framing, self)
    }
}

impl Server<LocalServer> {
    /// The server of a child process, on the connection that its parent has given to it ([`Client::spawn`]). `serve`
    /// returns when the parent has closed it or has ended, however it ended; a normal `main` ends then. For handlers that
    /// may hang there is [`ServerOptions::exit_after_parent`].
    ///
    /// The connection is the standard input: it is taken, once, and reading from standard input finds the end. Output is
    /// free. The peer is the parent, as the system knows it.
    ///
    /// ```no_run
    /// fn main() -> Result<(), msgpipe::Error> {
    ///     msgpipe::Server::inherited()?.serve(|request| request.body())
    /// }
    /// ```
    ///
    /// # Errors
    /// [`Error::Misuse`] if this process was not started in this way, or has taken its standard input before: the text says
    /// what it is instead (a terminal, a file, an ordinary pipe). [`Error::System`] if a system call failed.
    ///
    /// [`Client::spawn`]: crate::Client::spawn
    pub fn inherited() -> Result<Server, Error> {
        ServerOptions::new().inherited()
    }
}

impl Server<StreamServer> {
    /// A server over a stream, with one client and the default [`Limits`]. [`ByteStream`] has an example.
    ///
    /// `serve` returns when the connection has ended: handlers that still run are told
    /// ([`Interrupt::Closed`](crate::Interrupt::Closed)). If the client only closes its sending direction, and
    /// [`half_close`](ServerOptions::half_close) is set, that is after the last reply.
    ///
    /// # Errors
    /// As [`ServerOptions::over_stream`].
    pub fn over_stream(stream: ByteStream) -> Result<Server<StreamServer>, Error> {
        ServerOptions::new().over_stream(stream)
    }

    /// A server on this process's standard input and output, for a program that is started to serve one client: by
    /// [`Client::spawn_stdio`](crate::Client::spawn_stdio), by `ssh host program`, by a container runtime. `serve` returns
    /// when the client has gone, and a normal `main` ends then.
    ///
    /// Call it first in `main`: what was printed before, or read, is missing in the protocol. From now on standard input
    /// is empty, and standard output leads to the standard error: `println!` and child processes cannot break the
    /// protocol. (On Windows C code of this process that prints still can: its runtime has opened the output before.)
    ///
    /// Only Rust's way of ending a process waits for the last replies, as `serve` does; `std::process::exit` in a handler
    /// loses them.
    ///
    /// ```no_run
    /// fn main() -> Result<(), msgpipe::Error> {
    ///     let server = msgpipe::Server::over_stdio()?;
    ///     println!("this goes to the standard error");
    ///     server.serve(|request| request.body())
    /// }
    /// ```
    ///
    /// # Errors
    /// As [`ByteStream::stdio`] and [`over_stream`](Server::over_stream).
    pub fn over_stdio() -> Result<Server<StreamServer>, Error> {
        Server::over_stream(ByteStream::stdio()?)
    }
}
