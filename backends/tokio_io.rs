//! The streams of this system with tokio, or one of the application, and tokio's timer.

use super::os;
use super::tokio_bytes::{TokioBytes, TokioStream};
use crate::access::Trust;
use crate::async_io::{AsyncIo, WriteNow};
use crate::clock;
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::framing::Carrier;
use crate::limits::Limits;
use crate::peer::Peer;
use bytes::BytesMut;
use std::future::Future as _;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::time::Sleep;

/// A connected stream, and the timer of its driver.
pub(crate) struct TokioIo {
    stream: Stream,
    timer: TokioTimer,
}

enum Stream {
    Os(os::TokioStream),
    Bytes(TokioBytes),
    #[cfg(feature = "test-util")]
    Simulated(Box<dyn crate::simulation::SimulatedStream>),
}

/// A timer of the runtime.
#[derive(Default)]
pub(super) struct TokioTimer {
    /// Made when it is first waited for.
    sleep: Option<(Instant, Pin<Box<Sleep>>)>,
    #[cfg(feature = "test-util")]
    simulated: crate::simulation::Timer,
}

/// Connects to the server at `endpoint` and checks who that is, in a runtime of tokio. It does not wait: with a busy server
/// it fails, and [`retries`] says for how long it may be tried again.
///
/// # Errors
/// As connecting a blocking client.
///
/// # Panics
/// As tokio's own streams: without a runtime that drives I/O.
pub(crate) fn open_tokio(
    endpoint: &Endpoint,
    limits: &Limits,
    carrier: Carrier,
    trust: &Trust,
) -> Result<(TokioIo, Peer, Arc<str>), Error> {
    if carrier != Carrier::Stream {
        let source = io::Error::new(
            ErrorKind::Unsupported,
            "the async client has streams of bytes: choose a framing with lengths",
        );
        return Err(Error::system(&endpoint.to_string().into(), "connecting", source));
    }
    #[cfg(feature = "test-util")]
    if let Some(connected) = crate::simulation::connect(&endpoint.to_string()) {
        let (stream, peer) = connected?;
        let stream = Stream::Simulated(stream);
        let name = endpoint.to_string().into();
        return Ok((TokioIo { stream, timer: TokioTimer::default() }, peer, name));
    }
    let mut at_once = limits.clone();
    at_once.connect = Duration::ZERO;
    let (stream, peer, name) = os::open_tokio(endpoint, &at_once, trust)?;
    Ok((TokioIo { stream: Stream::Os(stream), timer: TokioTimer::default() }, peer, name))
}

/// A stream of the application. Needs no runtime yet.
pub(crate) fn tokio_over(stream: Pin<Box<dyn TokioStream>>) -> TokioIo {
    TokioIo { stream: Stream::Bytes(TokioBytes::new(stream)), timer: TokioTimer::default() }
}

/// For how long connecting is tried again after this error. `None`: it is not.
pub(crate) fn retries(error: &Error, limits: &Limits) -> Option<Duration> {
    match error {
        Error::Busy { .. } => Some(limits.connect),
        error => os::retries(error).map(|most| most.min(limits.connect)),
    }
}

impl AsyncIo for TokioIo {
    fn now() -> Instant {
        clock::own().unwrap_or_else(|| tokio::time::Instant::now().into_std())
    }

    fn writer(&self) -> Option<Box<dyn WriteNow>> {
        match &self.stream {
            Stream::Os(stream) => stream.writer(),
            Stream::Bytes(_) => None,
            #[cfg(feature = "test-util")]
            Stream::Simulated(_) => None,
        }
    }

    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Os(stream) => stream.poll_read(context, buffer),
            Stream::Bytes(stream) => stream.poll_read(context, buffer),
            #[cfg(feature = "test-util")]
            Stream::Simulated(stream) => stream.poll_read(context, buffer),
        }
    }

    fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Os(stream) => stream.poll_write(context, slices),
            Stream::Bytes(stream) => stream.poll_write(context, slices),
            #[cfg(feature = "test-util")]
            Stream::Simulated(stream) => stream.poll_write(context, slices),
        }
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            // What the system has taken is on its way.
            Stream::Os(_) => Poll::Ready(Ok(())),
            Stream::Bytes(stream) => stream.poll_flush(context),
            #[cfg(feature = "test-util")]
            Stream::Simulated(_) => Poll::Ready(Ok(())),
        }
    }

    fn end(&mut self, context: &mut Context<'_>) {
        match &mut self.stream {
            Stream::Os(_) => {}
            Stream::Bytes(stream) => stream.end(context),
            #[cfg(feature = "test-util")]
            Stream::Simulated(_) => {}
        }
    }

    fn poll_sleep(&mut self, context: &mut Context<'_>, until: Instant) -> Poll<()> {
        self.timer.poll(context, until)
    }
}

impl TokioTimer {
    /// Ready once at this time. Each poll may name another one, which counts from then on.
    pub fn poll(&mut self, context: &mut Context<'_>, until: Instant) -> Poll<()> {
        #[cfg(feature = "test-util")]
        if crate::simulation::is_here() {
            return self.simulated.poll(context, until);
        }
        let at = tokio::time::Instant::from_std(until);
        let (set, sleep) =
            self.sleep.get_or_insert_with(|| (until, Box::pin(tokio::time::sleep_until(at))));
        if *set != until {
            *set = until;
            sleep.as_mut().reset(at);
        }
        let slept = sleep.as_mut().poll(context);
        if slept.is_ready() {
            // A sleep that is over must not be polled again.
            self.sleep = None;
        }
        slept
    }
}
