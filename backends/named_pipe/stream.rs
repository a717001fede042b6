//! A client's instance, on the server.

use super::handle::is_gone;
use super::instance::Place;
use super::messages::Messages;
use super::transfer::{Signal, Transfer};
use super::waiting;
use super::watch::Watch;
use super::{PIPE_MESSAGE_MAX, QUOTA};
use crate::backends::event_loop::Wake;
use crate::client_stream::ReadMessage;
use crate::connections::{FLUSH_MOST, ServerStream};
use crate::framing::SendQueue;
use bytes::{BufMut, BytesMut};
use mio::Token;
use mio::windows::NamedPipe;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, OwnedHandle};
use std::sync::Arc;

/// How much is taken of what mio has read, at first: all but the last byte of what its buffer holds
/// when this is written. Only speed depends on it.
const FIRST: usize = 4095;

pub(crate) struct PipeStream {
    pipe: NamedPipe,
    /// A write of mio's is under way, or has ended without our knowing. It takes one at a time.
    writing: bool,
    /// The client has closed: mio would read again and again, and post an event each time.
    ended: bool,
    /// How much is taken at first: [`FIRST`].
    first: usize,
    /// The way in which whole messages are read. The watch goes before what it watches.
    whole: Option<(Watch, Messages)>,
    /// Where only so many instances are there.
    _place: Option<Place>,
}

impl PipeStream {
    pub fn new(pipe: NamedPipe) -> PipeStream {
        PipeStream { pipe, writing: false, ended: false, first: FIRST, whole: None, _place: None }
    }

    /// Takes so much at first, as if mio's buffers had another size.
    #[cfg(test)]
    pub(super) fn taking_first(self, first: usize) -> PipeStream {
        PipeStream { first, ..self }
    }

    #[cfg(test)]
    pub(super) fn write_now(&self, message: &[u8]) -> io::Result<()> {
        waiting::write_now(self.handle(), message)
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
        let bell = Transfer::with_signal(reader.as_handle(), rings.clone())?;
        let watch = Watch::new(rings, wake.clone(), token)?;
        let whole = Some((watch, Messages::new(reader, bell)));
        Ok(PipeStream { whole, ..PipeStream::new(pipe) })
    }
}

pub(super) fn gone_to_broken(error: io::Error) -> io::Error {
    if is_gone(&error) { ErrorKind::BrokenPipe.into() } else { error }
}

impl PipeStream {
    fn handle(&self) -> BorrowedHandle<'_> {
        // SAFETY: the pipe, and with it the handle, outlives the borrow.
        unsafe { BorrowedHandle::borrow_raw(self.pipe.as_raw_handle()) }
    }

    /// Writes one message on the pipe: beside mio if the pipe can hold it now, which makes no
    /// completion, and so costs no look at the port for each answer. What has to wait for the client is
    /// mio's, and its event says when to go on: its writes are tied to the port, and so are not
    /// cancelled when the thread ends that began them.
    ///
    /// A write of mio's can fail only with the pipe, once it was accepted; then the next one fails too,
    /// and reading finds the end.
    fn write_one(&mut self, message: &[u8]) -> io::Result<usize> {
        if self.writing {
            return Err(ErrorKind::WouldBlock.into());
        }
        if message.len() <= QUOTA as usize {
            match waiting::write_now(self.handle(), message) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                written => return written.map(|()| message.len()),
            }
        }
        let taken = self.pipe.write(message)?;
        self.writing = true;
        Ok(taken)
    }
}

/// How much is copied at once on its way from mio.
const CHUNK: usize = 4096;

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
        let mut chunk = [0; CHUNK];
        let most = most.min(CHUNK);
        let taken = self.pipe.read(&mut chunk[..most])?;
        buffer.extend_from_slice(&chunk[..taken]);
        Ok(taken)
    }

    /// Whether mio has bytes left that were not taken, and so is not reading: it reads on when the
    /// last of them is taken. Asked with a read of no bytes, which takes none.
    fn holds_back(&mut self) -> bool {
        matches!(self.pipe.read(&mut []), Ok(0))
    }

    /// Reads what the pipe holds behind what mio holds back, then takes that, which comes before it.
    /// Each buffer of mio's costs a turn of the loop: a large message would take many.
    fn read_behind(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        let place = buffer.len();
        // What mio holds back is one byte, unless its buffers have another size than was thought.
        buffer.put_u8(0);
        let behind = self.read_waiting(buffer);
        let mut first = [0];
        let taken = self.pipe.read(&mut first);
        let more = matches!(taken, Ok(1)) && self.holds_back();
        if matches!(taken, Ok(1)) && !more {
            buffer[place] = first[0];
            return behind.map(|read| read + 1);
        }
        let read_before = buffer[place + 1..].to_vec();
        buffer.truncate(place);
        let mut total = *taken.as_ref().unwrap_or(&0);
        buffer.extend_from_slice(&first[..total]);
        // The client may have gone, and mio have had nothing left after all.
        self.ended = matches!(taken, Ok(0));
        while !self.ended && taken.is_ok() && self.holds_back() {
            let rest = self.take(buffer, CHUNK)?;
            self.ended = rest == 0;
            total += rest;
        }
        buffer.extend_from_slice(&read_before);
        taken.and(behind).map(|read| total + read)
    }

    /// Reads what waits in the pipe, as far as there is room.
    fn read_waiting(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        let handle = self.handle();
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
        // Not the last byte of mio's buffer, if it is as large as was thought: as long as something is
        // left there, mio does not read.
        let before = buffer.len();
        let room = buffer.capacity() - before;
        let most = room.min(self.first);
        let taken = match self.take(buffer, most) {
            Err(error) if is_gone(&error) => 0,
            taken => taken?,
        };
        // A message of no bytes looks the same as the end; this framing has none.
        self.ended = taken == 0;
        if taken < self.first || taken == room || !self.holds_back() {
            return Ok(taken);
        }
        // With bytes before the end, the end is found by the next read: its event is under way. Some of
        // them may have been read behind before it was found that the client has gone.
        match self.read_behind(buffer) {
            Err(error) if !is_gone(&error) => Err(error),
            _ => Ok(buffer.len() - before),
        }
    }

    fn read_message(&mut self, buffer: &mut BytesMut, limit: usize) -> io::Result<ReadMessage> {
        let (_, messages) = self.whole.as_mut().ok_or(ErrorKind::Unsupported)?;
        messages.read(buffer, limit)
    }

    fn write(&mut self, queue: &mut SendQueue) -> io::Result<usize> {
        let mut sent = 0;
        while !queue.is_empty() && sent < FLUSH_MOST {
            let mut slices = [IoSlice::new(&[]); 16];
            let filled = queue.slices(&mut slices);
            let mut gathered = Vec::new();
            let message = match filled {
                _ if self.whole.is_some() => &slices[0],
                1 if slices[0].len() <= PIPE_MESSAGE_MAX => &slices[0],
                _ => {
                    gathered.reserve(PIPE_MESSAGE_MAX.min(queue.len()));
                    next_message(&slices[..filled], &mut gathered);
                    &gathered[..]
                }
            };
            let taken = match self.write_one(message) {
                Err(error) if error.kind() == ErrorKind::WouldBlock && sent > 0 => break,
                taken => taken.map_err(gone_to_broken)?,
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
        !self.writing
    }

    /// Throws away what the client has not read: a write that it keeps waiting ends so, and nothing
    /// else would end it.
    fn abort(&mut self) {
        // It fails only if the client has gone, and then there is no such write.
        let _ = self.pipe.disconnect();
    }
}
