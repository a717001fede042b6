//! A client's socket in a runtime of tokio.

use super::client::{Opened, open};
use super::socket::{BACKLOG_RETRY, REFUSED_IS_STALE};
use super::stream::{receive, send};
use crate::access::Trust;
use crate::async_io::WriteNow;
use crate::backends::tokio_poll::when_ready;
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::framing::Carrier;
use crate::limits::Limits;
use crate::peer::Peer;
use bytes::BytesMut;
use rustix::net::{RecvFlags, SendFlags};
use std::io::{self, ErrorKind, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::UnixStream;

/// Whether a read that does not fill its buffer has emptied the socket, so that the next event is worth waiting for.
const SHORT_IS_EMPTY: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// A connected socket in non-blocking mode.
pub(crate) struct TokioStream(Arc<UnixStream>);

/// Writes to the same socket, beside its driver.
struct Writer(Arc<UnixStream>);

impl WriteNow for Writer {
    fn write_now(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        send(&self.0, slices, SendFlags::DONTWAIT)
    }
}

/// Connects, and checks who serves.
pub(crate) fn open_tokio(
    endpoint: &Endpoint,
    limits: &Limits,
    trust: &Trust,
) -> Result<(TokioStream, Peer, Arc<str>), Error> {
    let Opened { socket, peer, name } = open(endpoint, limits, Carrier::Stream, trust)?;
    let socket = std::os::unix::net::UnixStream::from(socket);
    let registered = socket.set_nonblocking(true).and_then(|()| UnixStream::from_std(socket));
    let stream =
        registered.map_err(|source| Error::system(&name, "setting up the socket", source))?;
    Ok((TokioStream(Arc::new(stream)), peer, name))
}

/// For how long connecting is tried again after a refusal that can mean a full backlog.
pub(crate) fn retries(error: &Error) -> Option<Duration> {
    match error {
        Error::NoServer { cause, .. } if cause.kind() == ErrorKind::ConnectionRefused => {
            (!REFUSED_IS_STALE).then_some(BACKLOG_RETRY)
        }
        _ => None,
    }
}

impl TokioStream {
    pub fn writer(&self) -> Option<Box<dyn WriteNow>> {
        Some(Box::new(Writer(self.0.clone())))
    }

    pub fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        let socket = &self.0;
        when_ready(
            || socket.poll_read_ready(context),
            || {
                let mut read = 0;
                let tried = socket.try_io(Interest::READABLE, || {
                    let room = buffer.capacity() - buffer.len();
                    let received = receive(socket, buffer, RecvFlags::DONTWAIT)?;
                    read = received.bytes;
                    // Said in here, it withdraws the readiness from before the read, and none that came since.
                    let is_empty = 0 < read && read < room && !received.stopped_short;
                    if SHORT_IS_EMPTY && is_empty {
                        return Err(ErrorKind::WouldBlock.into());
                    }
                    Ok(())
                });
                match tried {
                    Err(error) if read == 0 => Err(error),
                    _ => Ok(read),
                }
            },
        )
    }

    pub fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let socket = &self.0;
        when_ready(
            || socket.poll_write_ready(context),
            || socket.try_io(Interest::WRITABLE, || send(socket, slices, SendFlags::DONTWAIT)),
        )
    }
}
