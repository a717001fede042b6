//! What the connections of a server need of a transport.

use crate::client_stream::ReadMessage;
#[cfg(doc)]
use crate::framing::Carrier;
use crate::framing::SendQueue;
use bytes::BytesMut;
use std::io;

/// After so many bytes to one peer the others have their turn: a peer that reads as fast as it is sent
/// to would otherwise keep them waiting for as long as its queue lasts. About what a socket holds.
pub(crate) const FLUSH_MOST: usize = 256 * 1024;

/// A client's stream of bytes, as a backend gives it. Nothing of it blocks.
pub(crate) trait ServerStream {
    /// Appends what has arrived to `buffer`, within its spare capacity, and returns how many bytes;
    /// 0 when the peer has closed. Fewer than fitted: nothing more is there until the backend says
    /// so. `WouldBlock`: nothing is there.
    fn read(&mut self, buffer: &mut BytesMut) -> io::Result<usize>;

    /// Whether the last read came up short although there may be more: it stopped at something that
    /// came beside the bytes.
    fn stopped_short(&self) -> bool {
        false
    }

    /// Appends one whole message of the system's to `buffer`, which grows for it: for a
    /// [`Carrier::Messages`]. `WouldBlock`: none is there until the backend says so.
    fn read_message(&mut self, buffer: &mut BytesMut, limit: usize) -> io::Result<ReadMessage> {
        let _ = (buffer, limit);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Sends from the front of `queue` what can be sent now, and removes that from it. Returns how
    /// many bytes; `WouldBlock` when it is none. May stop after [`FLUSH_MOST`] bytes: then it is asked
    /// again in the next turn. For a [`Carrier::Messages`] each piece of the queue is one message.
    fn write(&mut self, queue: &mut SendQueue) -> io::Result<usize>;

    /// The largest message that the system takes as one.
    fn largest_message(&self) -> usize {
        usize::MAX
    }

    /// Whether all that was taken from the queue has left this process, so that dropping the stream
    /// loses nothing.
    fn is_sent(&mut self) -> bool {
        true
    }

    /// The backend has said that more may be sent: what was under way has ended.
    fn writable(&mut self) {}

    /// Gives up what was not sent, so that the stream can go at once.
    fn abort(&mut self) {}
}
