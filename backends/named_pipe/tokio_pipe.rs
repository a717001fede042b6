//! A client's end of a pipe in a runtime of tokio.

use super::client::{Opened, open_trusted};
use super::handle::is_disconnected;
use super::stream::disconnected_to_broken_pipe;
use crate::access::Trust;
use crate::async_io::WriteNow;
use crate::backends::tokio_poll::{gathered, when_ready};
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::limits::Limits;
use crate::peer::Peer;
use bytes::BytesMut;
use std::io::{self, IoSlice};
use std::os::windows::io::IntoRawHandle;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::windows::named_pipe::NamedPipeClient;

/// A client's open end. A write outlives it: mio sees it through before it closes the handle.
pub(crate) struct TokioStream {
    pipe: NamedPipeClient,
    /// The slices of a write, in one piece: the pipe takes one at a time, and mio copies them anyway.
    gathered: Vec<u8>,
}

/// Opens the pipe, and checks who serves.
pub(crate) fn open_tokio(
    endpoint: &Endpoint,
    limits: &Limits,
    trust: &Trust,
) -> Result<(TokioStream, Peer, Arc<str>), Error> {
    let Opened { pipe, peer, name } = open_trusted(endpoint, limits, trust)?;
    // SAFETY: the handle was opened for overlapped operations, is that of a pipe, and is given away here.
    let registered = unsafe { NamedPipeClient::from_raw_handle(pipe.into_raw_handle()) };
    let pipe = registered.map_err(|source| Error::system(&name, "setting up the pipe", source))?;
    Ok((TokioStream { pipe, gathered: Vec::new() }, peer, name))
}

/// A pipe says by itself that it is busy.
pub(crate) fn retries(_: &Error) -> Option<Duration> {
    None
}

impl TokioStream {
    /// A pipe's write has to be seen through by mio, and costs an event.
    pub fn writer(&self) -> Option<Box<dyn WriteNow>> {
        None
    }

    pub fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        let pipe = &self.pipe;
        when_ready(
            || pipe.poll_read_ready(context),
            || match pipe.try_read_buf(buffer) {
                Err(error) if is_disconnected(&error) => Ok(0),
                read => read,
            },
        )
    }

    pub fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let bytes = gathered(slices, &mut self.gathered);
        when_ready(|| self.pipe.poll_write_ready(context), || self.pipe.try_write(bytes))
            .map_err(disconnected_to_broken_pipe)
    }
}
