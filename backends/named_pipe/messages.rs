//! Reads whole messages from a pipe, exactly as they were written.
//!
//! mio cannot do this: it hides message boundaries. So mio does not read here. A zero-byte read completes
//! when a message has arrived and takes nothing of it; then the system reports the length of the message, and
//! it is read in one piece. The zero-byte read puts no completion packet into the port; see `watch`.

use super::handle::{code, is_disconnected};
use super::nonblocking::{self, Peeked};
use super::transfer::Transfer;
use crate::client_stream::ReadMessage;
use bytes::BytesMut;
use std::io::{self, ErrorKind};
use std::os::windows::io::{AsHandle, BorrowedHandle, OwnedHandle};
use windows_sys::Win32::Foundation::{ERROR_MORE_DATA, ERROR_OPERATION_ABORTED};

/// Reads the messages of one end of a pipe in message read mode.
pub(super) struct Messages {
    pipe: OwnedHandle,
    /// The zero-byte read.
    zero_read: Transfer,
    /// The state of the zero-byte read since the last message was read.
    last_zero_read: ZeroRead,
    ended: bool,
}

/// The state of a zero-byte read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ZeroRead {
    /// It has not completed.
    Pending,
    /// It has completed: bytes are available, or it has taken an empty message.
    Completed,
}

/// What a read would find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// A message of so many bytes.
    Message(usize),
    End,
}

impl Messages {
    pub fn new(pipe: OwnedHandle, zero_read: Transfer) -> Messages {
        Messages { pipe, zero_read, last_zero_read: ZeroRead::Pending, ended: false }
    }

    pub fn handle(&self) -> BorrowedHandle<'_> {
        self.pipe.as_handle()
    }

    /// Appends the next message to `buffer`. `WouldBlock`: none is there until the transfer given to
    /// [`new`](Messages::new) completes.
    pub fn read(&mut self, buffer: &mut BytesMut, limit: usize) -> io::Result<ReadMessage> {
        if self.ended {
            return Ok(ReadMessage::End);
        }
        match self.next()? {
            None => Err(ErrorKind::WouldBlock.into()),
            Some(Next::End) => {
                self.ended = true;
                Ok(ReadMessage::End)
            }
            Some(Next::Message(size)) if size > limit => Ok(ReadMessage::TooLarge(size as u64)),
            Some(Next::Message(size)) => {
                self.last_zero_read = ZeroRead::Pending;
                self.read_whole(buffer, size)
            }
        }
    }

    /// Whether a read would find a message or the end. If not, a zero-byte read is in flight and sets its
    /// event when it completes.
    pub fn is_readable(&mut self) -> io::Result<bool> {
        Ok(self.next()?.is_some())
    }

    /// What a read would find. `None`: nothing yet; a zero-byte read is in flight.
    ///
    /// A message of no bytes is the end. A peek cannot tell it from an empty pipe; but a zero-byte read
    /// completes for it, and stays in flight on an empty pipe.
    fn next(&mut self) -> io::Result<Option<Next>> {
        if self.zero_read.is_in_flight() {
            self.poll_zero_read()?;
        }
        while !self.zero_read.is_in_flight() {
            match self.peek()? {
                Some(available)
                    if available.bytes == 0 && self.last_zero_read == ZeroRead::Pending =>
                {
                    self.start_zero_read()?
                }
                // An empty message, perhaps with others behind it; or the other end has closed.
                Some(Peeked { message: 0, .. }) | None => return Ok(Some(Next::End)),
                Some(Peeked { message, .. }) => return Ok(Some(Next::Message(message))),
            }
        }
        Ok(None)
    }

    /// The available bytes; `None`: the other end has closed, and everything it had sent was read.
    fn peek(&self) -> io::Result<Option<Peeked>> {
        match nonblocking::peek(self.pipe.as_handle()) {
            Err(error) if is_disconnected(&error) => Ok(None),
            available => available.map(Some),
        }
    }

    fn read_whole(&self, buffer: &mut BytesMut, size: usize) -> io::Result<ReadMessage> {
        buffer.reserve(size);
        let room = &mut buffer.spare_capacity_mut()[..size];
        let read = nonblocking::try_read(self.pipe.as_handle(), room)?;
        // SAFETY: `read` bytes of the spare capacity have just been written.
        unsafe { buffer.set_len(buffer.len() + read) };
        Ok(ReadMessage::Whole)
    }

    /// Starts a zero-byte read. It completes at once if a message has arrived since the peek, or for an empty
    /// message, which a peek does not show.
    fn start_zero_read(&mut self) -> io::Result<()> {
        match self.zero_read.start_read(0) {
            Ok(None) => Ok(()),
            ended => self.zero_read_completed(ended.map(drop)),
        }
    }

    /// Checks whether the zero-byte read in flight has completed.
    fn poll_zero_read(&mut self) -> io::Result<()> {
        match self.zero_read.poll() {
            None => Ok(()),
            // The system cancels a thread's operations when the thread ends: the read has taken nothing.
            Some(Err(error)) if code(&error) == Some(ERROR_OPERATION_ABORTED) => {
                self.start_zero_read()
            }
            Some(ended) => self.zero_read_completed(ended.map(drop)),
        }
    }

    /// ERROR_MORE_DATA is expected of a zero-byte read. If the other end has closed, the next peek reports it.
    fn zero_read_completed(&mut self, ended: io::Result<()>) -> io::Result<()> {
        self.last_zero_read = ZeroRead::Completed;
        match ended {
            Err(error) if code(&error) == Some(ERROR_MORE_DATA) || is_disconnected(&error) => {
                Ok(())
            }
            ended => ended,
        }
    }
}
