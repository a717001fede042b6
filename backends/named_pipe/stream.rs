//! A client's instance on the server.

use super::handle::is_disconnected;
use super::instance::Place;
use super::messages::Messages;
use super::mio_pipe::MioPipe;
use super::nonblocking;
use super::state::has_closed;
use super::transfer::{Signal, Transfer};
use super::watch::Watch;
use super::{PIPE_MESSAGE_MAX, QUOTA};
use crate::backends::event_loop::Wake;
use crate::client_stream::ReadMessage;
use crate::connections::{FLUSH_MOST, ServerStream};
use crate::framing::SendQueue;
use bytes::BytesMut;
use mio::Token;
use std::io::{self, ErrorKind, IoSlice};
use std::os::windows::io::{AsHandle, OwnedHandle};
use std::sync::Arc;

pub(crate) struct PipeStream {
    mio: MioPipe,
    /// Reads whole messages. The watch is dropped before the event that it watches.
    messages: Option<(Watch, Messages)>,
    /// Only with a fixed number of instances.
    _place: Option<Place>,
}

impl PipeStream {
    pub(super) fn new(mio: MioPipe) -> PipeStream {
        PipeStream { mio, messages: None, _place: None }
    }

    /// The same stream with another assumption about the size of mio's reads.
    #[cfg(test)]
    pub(super) fn with_read_size(self, size: usize) -> PipeStream {
        PipeStream { mio: self.mio.with_read_size(size), ..self }
    }

    #[cfg(test)]
    pub(super) fn try_write(&self, message: &[u8]) -> io::Result<()> {
        nonblocking::try_write(self.mio.handle(), message)
    }

    /// The same stream with its place, one of a fixed number of instances.
    pub(super) fn with_place(self, place: Option<Place>) -> PipeStream {
        PipeStream { _place: place, ..self }
    }

    /// A stream of whole messages. `reader` reads them; mio has no right to read, and writes. `wake` reports
    /// that a message of the connection `token` has arrived.
    pub(super) fn of_messages(
        mio: MioPipe,
        reader: OwnedHandle,
        wake: &Arc<Wake>,
        token: Token,
    ) -> io::Result<PipeStream> {
        let signal = Arc::new(Signal::auto_reset()?);
        let zero_read = Transfer::with_signal(reader.as_handle(), signal.clone())?;
        let watch = Watch::new(signal, wake.clone(), token)?;
        let messages = Some((watch, Messages::new(reader, zero_read)));
        Ok(PipeStream { messages, ..PipeStream::new(mio) })
    }

    /// Writes one message on the pipe. A message that the pipe's buffer can hold is written without mio: such
    /// a write makes no completion packet, and so costs no poll of the port. mio makes a write that has to
    /// wait for the client, and its event reports the completion. Such a write is tied to the port: the system
    /// does not cancel it when the thread that started it ends.
    fn write_one(&mut self, message: &[u8]) -> io::Result<usize> {
        if message.len() <= QUOTA as usize && !self.mio.is_writing() {
            match nonblocking::try_write(self.mio.handle(), message) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                written => return written.map(|()| message.len()),
            }
        }
        self.mio.write(message)
    }
}

pub(super) fn disconnected_to_broken_pipe(error: io::Error) -> io::Error {
    if is_disconnected(&error) { ErrorKind::BrokenPipe.into() } else { error }
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
        self.mio.read(buffer)
    }

    fn read_message(&mut self, buffer: &mut BytesMut, limit: usize) -> io::Result<ReadMessage> {
        let (_, messages) = self.messages.as_mut().ok_or(ErrorKind::Unsupported)?;
        messages.read(buffer, limit)
    }

    fn write(&mut self, queue: &mut SendQueue) -> io::Result<usize> {
        let mut sent = 0;
        while !queue.is_empty() && sent < FLUSH_MOST {
            let mut slices = [IoSlice::new(&[]); 16];
            let filled = queue.slices(&mut slices);
            let mut gathered = Vec::new();
            let message = match filled {
                _ if self.messages.is_some() => &slices[0],
                1 if slices[0].len() <= PIPE_MESSAGE_MAX => &slices[0],
                _ => {
                    gathered.reserve(PIPE_MESSAGE_MAX.min(queue.len()));
                    next_message(&slices[..filled], &mut gathered);
                    &gathered[..]
                }
            };
            let taken = match self.write_one(message) {
                Err(error) if error.kind() == ErrorKind::WouldBlock && sent > 0 => break,
                taken => taken.map_err(disconnected_to_broken_pipe)?,
            };
            queue.advance(taken);
            sent += taken;
        }
        Ok(sent)
    }

    fn writable(&mut self) {
        self.mio.writable();
    }

    fn is_sent(&mut self) -> bool {
        !self.mio.is_writing()
    }

    fn has_gone(&mut self) -> bool {
        match &self.messages {
            Some((_, messages)) => has_closed(messages.handle()),
            None => has_closed(self.mio.handle()),
        }
    }

    /// Disconnects, which discards what the client has not read. Nothing else ends a write that waits for the
    /// client.
    fn abort(&mut self) {
        self.mio.disconnect();
    }
}
