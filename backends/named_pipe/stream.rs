//! A client's instance, on the server.

use super::PIPE_MESSAGE_MAX;
use super::handle::code;
use super::instance::Place;
use super::messages::Messages;
use super::transfer::{Signal, Transfer};
use super::waiting;
use super::watch::Watch;
use crate::backends::event_loop::Wake;
use crate::client_stream::ReadMessage;
use crate::connections::ServerStream;
use crate::framing::SendQueue;
use bytes::{BufMut, BytesMut};
use mio::Token;
use mio::windows::NamedPipe;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, OwnedHandle};
use std::sync::Arc;
use windows_sys::Win32::Foundation::{
    ERROR_NO_DATA, ERROR_OPERATION_ABORTED, ERROR_PIPE_NOT_CONNECTED,
};

/// How much mio reads at once: what its own buffers hold. It reads into buffers that it has written
/// from before, so it is never given more than this to write either.
const MIO_BUFFER: usize = 4096;

pub(crate) struct PipeStream {
    pipe: NamedPipe,
    /// A write of mio's is under way, or has ended without our knowing. It takes one at a time.
    writing: bool,
    /// A write beside mio, for what the pipe can hold at once: it makes no completion, which would
    /// cost a look at the port for each answer. Made with the first one.
    quiet: Option<Transfer>,
    /// The client has closed: mio would read again and again, and post an event each time.
    ended: bool,
    /// The way in which whole messages are read. The watch goes before what it watches.
    whole: Option<(Watch, Messages)>,
    /// Where only so many instances are there.
    _place: Option<Place>,
}

impl PipeStream {
    pub fn new(pipe: NamedPipe) -> PipeStream {
        PipeStream { pipe, writing: false, quiet: None, ended: false, whole: None, _place: None }
    }

    /// The same stream at one of a fixed number of places.
    pub(super) fn at(self, place: Option<Place>) -> PipeStream {
        PipeStream { _place: place, ..self }
    }

    /// A stream of whole messages, which are read from `pipe` through `reader` while mio, which has
    /// no right to read, writes. `wake` tells of messages of the connection `token`.
    pub fn of_messages(
        pipe: NamedPipe,
        reader: OwnedHandle,
        wake: &Arc<Wake>,
        token: Token,
    ) -> io::Result<PipeStream> {
        let rings = Arc::new(Signal::that_resets_itself()?);
        let bell = Transfer::with_signal(reader.as_handle(), rings.clone())?.without_packets();
        let watch = Watch::new(rings, wake.clone(), token)?;
        let whole = Some((watch, Messages::new(reader, bell)));
        Ok(PipeStream { whole, ..PipeStream::new(pipe) })
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
        let most = if self.whole.is_some() { len } else { len.min(MIO_BUFFER) };
        let taken = self.pipe.write(&message[..most])?;
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

impl PipeStream {
    /// Moves up to `most` bytes of what mio has read into `buffer`.
    fn take(&mut self, buffer: &mut BytesMut, most: usize) -> io::Result<usize> {
        let mut chunk = [0; MIO_BUFFER];
        let taken = self.pipe.read(&mut chunk[..most])?;
        buffer.put_slice(&chunk[..taken]);
        Ok(taken)
    }

    /// Whether mio has bytes left that were not taken, and so is not reading: it reads on when the
    /// last of them is taken. Asked with a read of no bytes, which takes none.
    fn holds_back(&mut self) -> bool {
        matches!(self.pipe.read(&mut []), Ok(0))
    }

    /// Reads what the pipe holds behind the last byte of mio's buffer, which mio has been left with,
    /// then takes that one. Each buffer of mio's costs a turn of the loop: a large message would
    /// take many.
    fn read_behind(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        let place = buffer.len();
        buffer.put_u8(0);
        let behind = self.read_waiting(buffer);
        let mut last = [0];
        let taken = self.pipe.read(&mut last);
        if !matches!(taken, Ok(1)) {
            // The client has gone, and mio had nothing left after all: then nothing lies behind it.
            self.ended = matches!(taken, Ok(0));
            buffer.truncate(place);
            return taken;
        }
        buffer[place] = last[0];
        behind.map(|read| read + 1)
    }

    /// Reads what waits in the pipe, as far as there is room.
    fn read_waiting(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        // SAFETY: the pipe, and with it the handle, outlives the borrow.
        let handle = unsafe { BorrowedHandle::borrow_raw(self.pipe.as_raw_handle()) };
        let mut waits = waiting::look(handle)?.bytes;
        let mut total = 0;
        while waits > 0 && buffer.len() < buffer.capacity() {
            let read = match waiting::read_now(handle, buffer.spare_capacity_mut()) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                read => read?,
            };
            // SAFETY: so many bytes of the spare capacity have just been written.
            unsafe { buffer.set_len(buffer.len() + read) };
            total += read;
            waits = waits.saturating_sub(read);
        }
        Ok(total)
    }
}

impl ServerStream for PipeStream {
    fn read(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        if self.ended {
            return Ok(0);
        }
        // Not the last byte of mio's buffer: as long as that is left, mio does not read.
        let room = buffer.capacity() - buffer.len();
        let most = room.min(MIO_BUFFER - 1);
        let taken = match self.take(buffer, most) {
            Err(error) if is_gone(&error) => 0,
            taken => taken?,
        };
        // A message of no bytes looks the same as the end; this framing has none.
        self.ended = taken == 0;
        if taken < MIO_BUFFER - 1 || taken == room || !self.holds_back() {
            return Ok(taken);
        }
        // With bytes before the end, the end is found by the next read: its event is under way.
        match self.read_behind(buffer) {
            Err(error) if is_gone(&error) => Ok(taken),
            read => read.map(|read| taken + read),
        }
    }

    fn read_message(&mut self, buffer: &mut BytesMut, limit: usize) -> io::Result<ReadMessage> {
        let (_, messages) = self.whole.as_mut().ok_or(ErrorKind::Unsupported)?;
        messages.read(buffer, limit)
    }

    fn write(&mut self, queue: &mut SendQueue) -> io::Result<usize> {
        let mut sent = 0;
        while !queue.is_empty() {
            let mut slices = [IoSlice::new(&[]); 16];
            let filled = queue.slices(&mut slices);
            let message = match self.whole {
                Some(_) => slices[0].to_vec(),
                None => {
                    let mut message = Vec::with_capacity(PIPE_MESSAGE_MAX.min(queue.len()));
                    next_message(&slices[..filled], &mut message);
                    message
                }
            };
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
