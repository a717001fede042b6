//! A connection over any two streams of bytes that block: standard streams, a TLS session, a serial line.
//!
//! A blocking read has no deadline and cannot be woken. So each connection has two threads, one that reads and one that
//! writes, and a bounded queue in each direction (`pump`); all others wait for the queues. `client` and `server` are
//! the two roles on the queues.

mod client;
mod pump;
mod server;
#[cfg(test)]
mod tests;

pub use server::StreamServer;

use super::Connected;
use crate::byte_stream::ByteStream;
use crate::client_stream::ClientStream;
use crate::error::Error;
use client::StreamClient;
use std::io;

/// A client's connection over a stream.
pub(crate) fn over_stream(stream: ByteStream) -> Result<Connected, Error> {
    let name = stream.name.clone();
    let failed = |source| Error::system(&name, "starting the threads of a stream", source);
    Ok((stream_client(stream).map_err(failed)?, name))
}

/// A client's end of a stream.
pub(crate) fn stream_client(stream: ByteStream) -> io::Result<Box<dyn ClientStream>> {
    Ok(Box::new(StreamClient::start(stream)?))
}
