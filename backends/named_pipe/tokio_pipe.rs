//! A client's end of a pipe in a runtime of tokio.

use super::client::{Opened, open_trusted};
use super::handle::is_disconnected;
use super::stream::disconnected_to_broken_pipe;
use crate::access::Trust;
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::limits::Limits;
use crate::peer::Peer;
use bytes::BytesMut;
use std::io::{self, ErrorKind, IoSlice};
use std::os::windows::io::IntoRawHandle;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::net::windows::named_pipe::NamedPipeClient;

/// The bytes of one write. The pipe takes one write at a time, so that small slices go together; mio copies them anyway.
const WRITE_MAX: usize = 64 * 1024;

/// A client's open end. A write outlives it: mio sees it through before it closes the handle.
pub(crate) struct TokioStream {
    pipe: NamedPipeClient,
    /// The slices of a write, in one piece.
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
    pub fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.pipe.poll_read_ready(context))?;
            match self.pipe.try_read_buf(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if is_disconnected(&error) => return Poll::Ready(Ok(0)),
                read => return Poll::Ready(read),
            }
        }
    }

    pub fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.pipe.poll_write_ready(context))?;
            let written = match slices {
                [slice] => self.pipe.try_write(&slice[..slice.len().min(WRITE_MAX)]),
                slices => {
                    self.gathered.clear();
                    for slice in slices {
                        let room = WRITE_MAX - self.gathered.len();
                        self.gathered.extend_from_slice(&slice[..slice.len().min(room)]);
                    }
                    self.pipe.try_write(&self.gathered)
                }
            };
            match written {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written.map_err(disconnected_to_broken_pipe)),
            }
        }
    }
}
