//! A stream of the application in a runtime of tokio: a TLS session, a child's standard streams.

use super::tokio_poll::gathered;
use bytes::BytesMut;
use std::future::Future as _;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};

/// Both directions of bytes.
pub(crate) trait TokioStream: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> TokioStream for T {}

pub(super) struct TokioBytes {
    stream: Pin<Box<dyn TokioStream>>,
    /// The slices of a write, in one piece: a stream may make something of each, as TLS a record.
    gathered: Vec<u8>,
    /// Something was written that the stream may keep.
    is_unflushed: bool,
}

impl TokioBytes {
    pub fn new(stream: Pin<Box<dyn TokioStream>>) -> TokioBytes {
        TokioBytes { stream, gathered: Vec::new(), is_unflushed: false }
    }

    pub fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        // It has no state of its own between two polls.
        pin!(self.stream.read_buf(buffer)).poll(context)
    }

    pub fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let stream = self.stream.as_mut();
        let written = match stream.is_write_vectored() {
            true => stream.poll_write_vectored(context, slices),
            false => stream.poll_write(context, gathered(slices, &mut self.gathered)),
        };
        self.is_unflushed |= matches!(written, Poll::Ready(Ok(_)));
        written
    }

    pub fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_unflushed {
            ready!(self.stream.as_mut().poll_flush(context))?;
            self.is_unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Tells the other end that nothing more comes, if that can be done at once.
    pub fn end(&mut self, context: &mut Context<'_>) {
        if let Poll::Ready(Ok(())) = self.poll_flush(context) {
            let _ = self.stream.as_mut().poll_shutdown(context);
        }
    }
}
