//! What the clients of a simulation need of a transport.

use crate::error::Error;
use crate::peer::Peer;
use bytes::BytesMut;
use std::io::{self, IoSlice};
use std::task::{Context, Poll};

/// The stream of a client in the simulation.
pub(crate) trait SimulatedStream: Send {
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut BytesMut,
    ) -> Poll<io::Result<usize>>;

    fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>>;
}

/// A connection, and who its server is.
pub(crate) type Connecting = Result<(Box<dyn SimulatedStream>, Peer), Error>;

/// Where the servers of the simulation are found.
pub(crate) trait Network {
    fn connect(&self, endpoint: &str) -> Connecting;
}

/// Why a server cannot wait in a simulation.
pub(crate) fn cannot_watch() -> io::Error {
    let why = "its MessageServer does not have a task woken, as one in a simulation must: pass `watch` on to the MemoryServer \
               that World::listen returns";
    io::Error::new(io::ErrorKind::Unsupported, why)
}
