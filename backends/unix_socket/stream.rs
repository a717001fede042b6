//! A client's socket on the server.

use super::ending::EndsOnDrop;
use super::interest::Registration;
use crate::client_stream::ReadMessage;
use crate::connections::{FLUSH_MOST, ServerStream};
use crate::framing::{Carrier, SendQueue};
use bytes::BytesMut;
use rustix::net::sockopt;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};
use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::{AsFd, AsRawFd};

/// The most slices of one gathering write.
const SLICES: usize = 16;

/// Suppresses SIGPIPE, on systems with a flag for it in each call. Elsewhere Rust's runtime ignores the signal.
#[cfg(not(target_vendor = "apple"))]
const SEND: SendFlags = SendFlags::NOSIGNAL;
#[cfg(target_vendor = "apple")]
const SEND: SendFlags = SendFlags::empty();

/// Suppresses SIGPIPE, on systems with an option of the socket for it. A host program in another language
/// may not ignore the signal.
pub(super) fn suppress_sigpipe(socket: impl AsFd) -> io::Result<()> {
    #[cfg(target_vendor = "apple")]
    sockopt::set_socket_nosigpipe(socket, true)?;
    let _ = socket;
    Ok(())
}

/// The result of a receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Received {
    pub bytes: usize,
    /// The read ended at ancillary data, and more bytes may follow.
    pub stopped_short: bool,
}

/// Receives into the spare capacity of `buffer`. Ancillary data is not received: without a buffer for it the
/// system closes descriptors that a peer has sent (`unix(7)`, SCM_RIGHTS), and sets MSG_CTRUNC. A read ends
/// at such data even if more bytes have arrived.
pub(super) fn receive(
    socket: impl AsFd,
    buffer: &mut BytesMut,
    flags: RecvFlags,
) -> io::Result<Received> {
    let spare = buffer.spare_capacity_mut();
    let mut slice = libc::iovec { iov_base: spare.as_mut_ptr().cast(), iov_len: spare.len() };
    // SAFETY: a header of zeros has no address, no slices and no buffer for ancillary data.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut slice;
    header.msg_iovlen = 1;
    let socket = socket.as_fd().as_raw_fd();
    // SAFETY: the socket is open for as long as it is borrowed; the header has one slice, which is the
    // buffer's spare capacity, and all of them outlive the call.
    let read = unsafe { libc::recvmsg(socket, &raw mut header, flags.bits() as libc::c_int) };
    let Ok(bytes) = usize::try_from(read) else {
        return Err(io::Error::last_os_error());
    };
    // SAFETY: the call above has initialised so many bytes of the spare capacity, which begins where
    // the buffer's length ends. (It gives no more than fit: MSG_TRUNC is not asked for here.)
    unsafe { buffer.set_len(buffer.len() + bytes) };
    Ok(Received { bytes, stopped_short: header.msg_flags & libc::MSG_CTRUNC != 0 })
}

/// Receives into the spare capacity of `buffer`, which may end at ancillary data: for a caller that
/// reads until the socket is empty.
pub(super) fn receive_bytes(
    socket: impl AsFd,
    buffer: &mut BytesMut,
    flags: RecvFlags,
) -> io::Result<usize> {
    let (read, _) = rustix::net::recv(socket, buffer.spare_capacity_mut(), flags)?;
    let read = read.0.len();
    // SAFETY: the call above has initialised `read` bytes of the spare capacity, which begins where
    // the buffer's length ends.
    unsafe { buffer.set_len(buffer.len() + read) };
    Ok(read)
}

/// Makes recv return the full size of a record. Systems without this flag have no record sockets either
/// (`socket::socket_type`).
#[cfg(not(target_vendor = "apple"))]
const FULL_SIZE: RecvFlags = RecvFlags::TRUNC;
#[cfg(target_vendor = "apple")]
const FULL_SIZE: RecvFlags = RecvFlags::empty();

/// The size of the next record, 0 at the end of the stream. On Linux MSG_TRUNC returns the full size, whatever
/// the buffer's size is (`recv(2)`).
pub(super) fn waiting_message(socket: impl AsFd, flags: RecvFlags) -> io::Result<usize> {
    let flags = flags | RecvFlags::PEEK | FULL_SIZE;
    let peek = || Ok(rustix::net::recv(&socket, &mut [0u8; 0], flags)?.1);
    once_more_after_a_reset(peek)
}

/// Linux returns ECONNRESET once if the peer has closed without reading everything; for records it does so
/// before the peer's own records have been read. A second receive returns them, and then the end.
fn once_more_after_a_reset<T>(mut receive: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    match receive() {
        Err(error) if error.kind() == ErrorKind::ConnectionReset => receive(),
        received => received,
    }
}

/// Receives the next record, of `size` bytes. A size of 0 is the end of the stream.
pub(super) fn receive_message(
    socket: impl AsFd,
    buffer: &mut BytesMut,
    size: usize,
    limit: usize,
) -> io::Result<ReadMessage> {
    if size == 0 {
        return Ok(ReadMessage::End);
    }
    if size > limit {
        return Ok(ReadMessage::TooLarge(size as u64));
    }
    buffer.reserve(size);
    once_more_after_a_reset(|| receive(&socket, buffer, RecvFlags::DONTWAIT))?;
    Ok(ReadMessage::Whole)
}

/// Sends as many bytes of `slices` as the system takes.
pub(super) fn send(
    socket: impl AsFd,
    slices: &[IoSlice<'_>],
    flags: SendFlags,
) -> io::Result<usize> {
    let flags = SEND | flags;
    let sent = match slices {
        [slice] => rustix::net::send(socket, slice, flags),
        slices => rustix::net::sendmsg(socket, slices, &mut SendAncillaryBuffer::default(), flags),
    };
    Ok(sent?)
}

/// A client's socket on the server.
pub(crate) struct SocketStream {
    socket: mio::net::UnixStream,
    /// The most slices of one write: 1 if each record is a message.
    max_slices: usize,
    /// The largest message in bytes.
    max_message: usize,
    /// The last read ended at ancillary data.
    stopped_short: bool,
    /// The size of the send buffer, while it is limited.
    whole_buffer: Option<usize>,
    /// `None`: the client is refused. It is sent a goodbye, and no readiness is waited for.
    registration: Option<Registration>,
    _ends: Option<EndsOnDrop>,
}

impl SocketStream {
    pub(super) fn new(
        socket: mio::net::UnixStream,
        carrier: Carrier,
        registration: Option<Registration>,
    ) -> io::Result<SocketStream> {
        let max_slices = if carrier == Carrier::Stream { SLICES } else { 1 };
        let max_message = largest_message(&socket, carrier)?;
        let stopped_short = false;
        Ok(SocketStream {
            socket,
            max_slices,
            max_message,
            stopped_short,
            whole_buffer: None,
            registration,
            _ends: None,
        })
    }

    /// The same stream, with what ends its connection.
    pub(super) fn ending(self, ends: Option<EndsOnDrop>) -> SocketStream {
        SocketStream { _ends: ends, ..self }
    }

    /// Sends until all is sent, the system takes no more, or the turn has had its bytes.
    fn send_some(&mut self, queue: &mut SendQueue) -> io::Result<usize> {
        let mut sent = 0;
        while !queue.is_empty() && sent < FLUSH_MOST {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let filled = queue.slices(&mut slices[..self.max_slices]);
            match send(&self.socket, &slices[..filled], SendFlags::empty()) {
                Ok(taken) => {
                    queue.advance(taken);
                    sent += taken;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.set_blocked(true)?;
                    return if sent > 0 { Ok(sent) } else { Err(error) };
                }
                Err(error) => return Err(error),
            }
        }
        Ok(sent)
    }

    fn set_blocked(&mut self, blocked: bool) -> io::Result<()> {
        let registration = self.registration.as_mut();
        registration.map_or(Ok(()), |it| it.set_blocked(&mut self.socket, blocked))
    }
}

/// The largest message that the system sends through a socket of this carrier. A record has to fit into
/// the send buffer, less 32 bytes (`unix_dgram_sendmsg` in Linux). The buffer is not enlarged: the kernel
/// needs contiguous memory for a record, and may have none of that size.
pub(super) fn largest_message(socket: impl AsFd, carrier: Carrier) -> io::Result<usize> {
    const OVERHEAD: usize = 32;
    match carrier {
        Carrier::Stream => Ok(usize::MAX),
        _ => Ok(sockopt::socket_send_buffer_size(&socket)?.saturating_sub(OVERHEAD)),
    }
}

/// The bytes that the system may hold for a client that gets small replies beside a long one, as `SO_SNDBUF` returns
/// them, which count the system's own structures too (`socket(7)`). About half of the usual size, with which a small reply waits
/// twice as long; with a third a lone stream takes twice its time.
pub(super) const IN_TRANSIT: usize = 96 * 1024;

/// Whether a socket's send buffer may be smaller: not if each record has to fit into it.
fn is_limitable(max_message: usize) -> bool {
    cfg!(any(target_os = "linux", target_os = "android")) && max_message == usize::MAX
}

/// Makes the send buffer smaller. Returns its size before; `None` if it is small already.
fn limit_send_buffer(socket: impl AsFd) -> io::Result<Option<usize>> {
    let whole = sockopt::socket_send_buffer_size(&socket)?;
    if whole <= IN_TRANSIT {
        return Ok(None);
    }
    set_send_buffer(socket, IN_TRANSIT)?;
    Ok(Some(whole))
}

/// Sets the size that is returned: Linux doubles what it is given.
fn set_send_buffer(socket: impl AsFd, size: usize) -> io::Result<()> {
    Ok(sockopt::set_socket_send_buffer_size(socket, size / 2)?)
}

/// Linux returns ECONNRESET if the client has closed without reading everything; on a stream, after all of
/// the client's own bytes have been read. So it is a normal end.
fn reset_is_the_end(received: io::Result<usize>) -> io::Result<usize> {
    match received {
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(0),
        received => received,
    }
}

impl ServerStream for SocketStream {
    fn read(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        self.stopped_short = false;
        let received = receive(&self.socket, buffer, RecvFlags::empty()).map(|received| {
            self.stopped_short = received.stopped_short;
            received.bytes
        });
        if let Some(registration) = &self.registration {
            registration.read();
        }
        reset_is_the_end(received)
    }

    fn stopped_short(&self) -> bool {
        self.stopped_short
    }

    fn read_message(&mut self, buffer: &mut BytesMut, limit: usize) -> io::Result<ReadMessage> {
        let size = reset_is_the_end(waiting_message(&self.socket, RecvFlags::empty()))?;
        receive_message(&self.socket, buffer, size, limit)
    }

    fn largest_message(&self) -> usize {
        self.max_message
    }

    fn limit_in_transit(&mut self, limited: bool) {
        if limited == self.whole_buffer.is_some() || !is_limitable(self.max_message) {
            return;
        }
        // A buffer that cannot be changed only makes small replies later.
        self.whole_buffer = match self.whole_buffer {
            Some(whole) => {
                set_send_buffer(&self.socket, whole).and(Ok(None)).unwrap_or(Some(whole))
            }
            None => limit_send_buffer(&self.socket).unwrap_or(None),
        };
    }

    fn write(&mut self, queue: &mut SendQueue) -> io::Result<usize> {
        let sent = self.send_some(queue)?;
        if queue.is_empty() {
            self.set_blocked(false)?;
        }
        Ok(sent)
    }
}
