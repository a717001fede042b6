//! A client's socket, on the server.

use crate::connections::ServerStream;
use crate::framing::SendQueue;
use bytes::BytesMut;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};
use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::AsFd;

/// How many pieces go into one gathering write.
const SLICES: usize = 16;

/// No signal when the peer has gone, where the system asks for that per call; elsewhere Rust's
/// runtime ignores the signal.
#[cfg(not(target_vendor = "apple"))]
const SEND: SendFlags = SendFlags::NOSIGNAL;
#[cfg(target_vendor = "apple")]
const SEND: SendFlags = SendFlags::empty();

/// Receives into the spare capacity of `buffer`.
pub(super) fn receive(
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

/// Sends what the system takes of `slices`.
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

impl ServerStream for mio::net::UnixStream {
    fn read(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        match receive(&*self, buffer, RecvFlags::empty()) {
            // How Linux says that the client has closed without reading all that it was sent, once
            // everything that it had sent itself has been read: an end like any other.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(0),
            received => received,
        }
    }

    fn write(&mut self, queue: &mut SendQueue) -> io::Result<usize> {
        let mut sent = 0;
        while !queue.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let filled = queue.slices(&mut slices);
            match send(&*self, &slices[..filled], SendFlags::empty()) {
                Ok(taken) => {
                    queue.advance(taken);
                    sent += taken;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock && sent > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(sent)
    }
}
