//! A client's instance, on the server.

use super::PIPE_MESSAGE_MAX;
use super::handle::code;
use super::transfer::Transfer;
use crate::connections::ServerStream;
use crate::framing::SendQueue;
use bytes::{BufMut, BytesMut};
use mio::windows::NamedPipe;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::os::windows::io::{AsRawHandle, BorrowedHandle};
use windows_sys::Win32::Foundation::{
    ERROR_NO_DATA, ERROR_OPERATION_ABORTED, ERROR_PIPE_NOT_CONNECTED,
};

/// How much is read from mio at once: as much as its own buffer holds.
const READ: usize = 4096;

// mio reads into buffers that it has written from before: one longer than a read here could keep bytes
// that no event tells of.
const _: () = assert!(PIPE_MESSAGE_MAX <= READ);

pub(crate) struct PipeStream {
    pipe: NamedPipe,
    /// A write of mio's is under way, or has ended without our knowing. It takes one at a time.
    writing: bool,
    /// A write beside mio, for what the pipe can hold at once: it makes no completion, which would
    /// cost a look at the port for each answer. Made with the first one.
    quiet: Option<Transfer>,
    /// The client has closed: mio would read again and again, and post an event each time.
    ended: bool,
}

impl PipeStream {
    pub fn new(pipe: NamedPipe) -> PipeStream {
        PipeStream { pipe, writing: false, quiet: None, ended: false }
    }
}

impl PipeStream {
    /// Whether no quiet write is under way. How one ended is of no use here: if it failed, reading
    /// finds the end.
    fn is_quiet(&mut self) -> bool {
        self.quiet.as_mut().is_none_or(|quiet| !quiet.is_under_way() || quiet.poll().is_some())
    }

    /// Writes one message on the pipe: quietly, if nothing is under way. Behind a quiet one that waits
    /// for the client mio writes, and its event says when to go on.
    fn write_one(&mut self, message: Vec<u8>) -> io::Result<usize> {
        let len = message.len();
        if !self.writing && self.is_quiet() {
            let written = self.write_quietly(message);
            return written.map(|()| len).map_err(gone_to_broken);
        }
        // It is copied and goes out as a whole.
        let taken = self.pipe.write(&message)?;
        self.writing = true;
        Ok(taken)
    }

    fn write_quietly(&mut self, message: Vec<u8>) -> io::Result<()> {
        let quiet = match &mut self.quiet {
            Some(quiet) => quiet,
            none => {
                // SAFETY: the pipe, and with it the handle, outlives the borrow.
                let handle = unsafe { BorrowedHandle::borrow_raw(self.pipe.as_raw_handle()) };
                none.insert(Transfer::new(handle)?.without_packets())
            }
        };
        quiet.start_write(|buffer| *buffer = message).map(drop)
    }
}

fn gone_to_broken(error: io::Error) -> io::Error {
    if is_gone(&error) { ErrorKind::BrokenPipe.into() } else { error }
}

/// The ways in which the system says that the other end has gone.
pub(super) fn is_gone(error: &io::Error) -> bool {
    let gone = [ERROR_NO_DATA, ERROR_PIPE_NOT_CONNECTED, ERROR_OPERATION_ABORTED];
    error.kind() == ErrorKind::BrokenPipe || code(error).is_some_and(|code| gone.contains(&code))
}

/// The front of a queue, as one message on the pipe.
pub(super) fn next_message(slices: &[IoSlice<'_>], message: &mut Vec<u8>) {
    message.clear();
    for slice in slices {
        let room = PIPE_MESSAGE_MAX - message.len();
        message.extend_from_slice(&slice[..slice.len().min(room)]);
    }
}

impl ServerStream for PipeStream {
    fn read(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        let mut total = 0;
        while !self.ended {
            let mut chunk = [0; READ];
            let room = (buffer.capacity() - buffer.len()).min(READ);
            match self.pipe.read(&mut chunk[..room]) {
                // A message of no bytes looks the same; this protocol has none.
                Ok(0) => self.ended = true,
                Ok(read) => {
                    buffer.put_slice(&chunk[..read]);
                    total += read;
                    // Once mio's buffer is used up the next read tells of itself by an event. As
                    // long as it is not, nothing would.
                    if read < READ || buffer.capacity() - buffer.len() < READ {
                        return Ok(total);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock && total > 0 => {
                    return Ok(total);
                }
                Err(error) if is_gone(&error) => self.ended = true,
                Err(error) => return Err(error),
            }
        }
        // With bytes before the end, the end is found by the next read: its event is under way.
        Ok(total)
    }

    fn write(&mut self, queue: &mut SendQueue) -> io::Result<usize> {
        let mut sent = 0;
        while !queue.is_empty() {
            let mut slices = [IoSlice::new(&[]); 16];
            let filled = queue.slices(&mut slices);
            let mut message = Vec::with_capacity(PIPE_MESSAGE_MAX.min(queue.len()));
            next_message(&slices[..filled], &mut message);
            let taken = match self.write_one(message) {
                Err(error) if error.kind() == ErrorKind::WouldBlock && sent > 0 => break,
                taken => taken?,
            };
            queue.advance(taken);
            sent += taken;
        }
        Ok(sent)
    }

    fn writable(&mut self) {
        self.writing = false;
    }

    fn is_sent(&mut self) -> bool {
        !self.writing && self.is_quiet()
    }

    /// Throws away what the client has not read: a write that it keeps waiting ends so, and nothing
    /// else would end it.
    fn abort(&mut self) {
        // It fails only if the client has gone, and then there is no such write.
        let _ = self.pipe.disconnect();
    }
}
