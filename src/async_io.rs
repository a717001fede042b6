//! What the async client needs of a runtime: a stream, and a timer. Another runtime is another implementation of this.
#![forbid(unsafe_code)]

use bytes::BytesMut;
use std::io::{self, IoSlice};
use std::task::{Context, Poll};
use std::time::Instant;

/// A stream's way to write beside its driver, from any thread and without waiting.
pub(crate) trait WriteNow: Send {
    /// Writes some bytes of `slices`, and returns how many.
    fn write_now(&self, slices: &[IoSlice<'_>]) -> io::Result<usize>;
}

/// A connected stream of bytes with a timer, both of one runtime. One task polls it: the driver of a connection.
pub(crate) trait AsyncIo: Send + Unpin + 'static {
    /// The clock of the timer, which is asked from any thread.
    fn now() -> Instant;

    /// Where a write that does not wait is one call of the system. What it fails to write, [`poll_write`](AsyncIo::poll_write)
    /// writes.
    fn writer(&self) -> Option<Box<dyn WriteNow>> {
        None
    }

    /// Reads some bytes into the spare capacity of `buffer`, and appends them. 0: the end of the stream.
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut BytesMut,
    ) -> Poll<io::Result<usize>>;

    /// Writes some bytes of `slices`, and returns how many. What it has returned is on its way, whatever becomes of this
    /// process.
    fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>>;

    /// Sees to it that what was written does not stay in the stream. Polled after writes, until it is ready.
    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// The connection ends on this side: tells the other end, if that can be done at once.
    fn end(&mut self, _: &mut Context<'_>) {}

    /// Waits until this time. Each poll may name another one, which counts from then on.
    fn poll_sleep(&mut self, context: &mut Context<'_>, until: Instant) -> Poll<()>;
}
