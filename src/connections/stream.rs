//! The `ServerStream` trait: what the connections of a server need of a transport.

use crate::client_stream::ReadMessage;
#[cfg(doc)]
use crate::framing::Carrier;
use crate::framing::SendQueue;
use bytes::BytesMut;
use std::io;

/// The most bytes that one peer is sent in a turn. A peer that reads as fast as the server sends would otherwise
/// delay the others until its queue is empty. About the size of a socket's buffer.
pub(crate) const FLUSH_MOST: usize = 256 * 1024;

/// A client's stream of bytes, provided by a backend. No call blocks.
pub(crate) trait ServerStream {
    /// Appends arrived bytes to `buffer`, within its spare capacity, and returns their number; 0 if the peer
    /// has closed. After fewer bytes than fit, no more have arrived until the backend reports readiness.
    /// `WouldBlock`: no bytes have arrived.
    fn read(&mut self, buffer: &mut BytesMut) -> io::Result<usize>;

    /// Whether more bytes may have arrived although the last read returned fewer than fit: it stopped at
    /// ancillary data.
    fn stopped_short(&self) -> bool {
        false
    }

    /// Appends one whole message of the system to `buffer`, which grows for it; for [`Carrier::Messages`].
    /// `WouldBlock`: no message has arrived until the backend reports readiness.
    fn read_message(&mut self, buffer: &mut BytesMut, limit: usize) -> io::Result<ReadMessage> {
        let _ = (buffer, limit);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Sends bytes from the front of `queue` and removes them. Returns their number; `WouldBlock` if none can be
    /// sent now. May stop after [`FLUSH_MOST`] bytes: then it is called again in the next turn. For
    /// [`Carrier::Messages`] each piece of the queue is one message.
    fn write(&mut self, queue: &mut SendQueue) -> io::Result<usize>;

    /// The largest message that the system sends as one, in bytes.
    fn largest_message(&self) -> usize {
        usize::MAX
    }

    /// Whether the system is to hold less of what is sent than it could. Does nothing where that cannot be changed.
    fn limit_in_transit(&mut self, limited: bool) {
        let _ = limited;
    }

    /// Whether the system has all bytes taken from the queue, so that dropping the stream loses nothing.
    fn is_sent(&mut self) -> bool {
        true
    }

    /// Whether the peer is known to have closed both directions. Asked while its bytes are not read, for a system that
    /// reports no end before all of them are.
    fn has_gone(&mut self) -> bool {
        false
    }

    /// The backend has reported writability: a pending write may have completed.
    fn writable(&mut self) {}

    /// Drops unsent bytes, so that the stream can be closed at once.
    fn abort(&mut self) {}
}
