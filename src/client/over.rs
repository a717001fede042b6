//! Clients over streams, which have no name.

use super::{Client, ClientOptions, MessageClient};
use crate::backends;
use crate::byte_stream::ByteStream;
use crate::error::Error;
use crate::exchange::carries_calls;
use crate::framing::{Carrier, Framing, Layer, Native};
use std::io::ErrorKind;

impl ClientOptions {
    /// A client for calls over a stream. [`trust`](ClientOptions::trust) has no effect.
    ///
    /// # Errors
    /// [`Error::System`] if the stream's threads could not be started, or for a framing that needs whole messages of the
    /// system; [`Error::Misuse`] for a framing that does not carry any bytes.
    pub fn over_stream(&self, stream: ByteStream) -> Result<Client, Error> {
        carries_calls(self.framing.as_deref(), &stream.name)?;
        let framing = self.framing_or(Native::for_calls(self.limits.clamped().message));
        let (stream, name) = open(stream, &*framing)?;
        Ok(Client::over_framing(stream, framing, &name, self.limits.clone()))
    }

    /// A client for messages over a stream; otherwise as [`over_stream`](ClientOptions::over_stream).
    ///
    /// # Errors
    /// As [`over_stream`](ClientOptions::over_stream).
    pub fn over_stream_messages(&self, stream: ByteStream) -> Result<MessageClient, Error> {
        let framing = self.framing_or(Native::new(Layer::Messages, self.limits.clamped().message));
        let (stream, name) = open(stream, &*framing)?;
        Ok(MessageClient::over_framing(stream, framing, &name, self.limits.clone()))
    }
}

fn open(stream: ByteStream, framing: &dyn Framing) -> Result<backends::Connected, Error> {
    if framing.carrier() != Carrier::Stream {
        let source = ErrorKind::Unsupported.into();
        let action = "carrying whole messages over a stream of bytes";
        return Err(Error::system(&stream.name, action, source));
    }
    backends::over_stream(stream)
}

impl Client {
    /// A client over a stream, with the default [`Limits`](crate::Limits). [`ByteStream`] has an example.
    /// [`waitable`](Client::waitable) has nothing that a loop could wait for.
    ///
    /// Dropping the last clone waits up to a second until what was sent is written.
    ///
    /// # Errors
    /// As [`ClientOptions::over_stream`].
    pub fn over_stream(stream: ByteStream) -> Result<Client, Error> {
        ClientOptions::new().over_stream(stream)
    }

    /// A client on this process's standard input and output: of a program that is started by its server. What
    /// [`Server::over_stdio`](crate::Server::over_stdio) says of them holds here too.
    ///
    /// # Errors
    /// As [`ByteStream::stdio`] and [`over_stream`](Client::over_stream).
    pub fn over_stdio() -> Result<Client, Error> {
        Client::over_stream(ByteStream::stdio()?)
    }
}
