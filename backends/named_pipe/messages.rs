//! Whole messages off a pipe, exactly as they were written.
//!
//! mio cannot do this: it hides where a message ends. So here mio's reads play no part. A read of no
//! bytes tells that a message is there and takes nothing of it; then the system says how long it is,
//! and it is read in one piece. On its own that makes no sound in the completion port; see `watch`.

use super::handle::{code, is_gone};
use super::transfer::Transfer;
use super::waiting::{self, Waiting};
use crate::client_stream::ReadMessage;
use bytes::BytesMut;
use std::io::{self, ErrorKind};
use std::os::windows::io::{AsHandle, OwnedHandle};
use windows_sys::Win32::Foundation::{ERROR_MORE_DATA, ERROR_OPERATION_ABORTED};

/// Reads the messages of one end of a pipe that is in message read mode.
pub(super) struct Messages {
    pipe: OwnedHandle,
    /// The read of no bytes.
    bell: Transfer,
    /// What it has shown since the last message was read.
    heard: Bell,
    ended: bool,
}

/// What a read of no bytes has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bell {
    /// Nothing yet.
    Silent,
    /// Something is there, or was: it takes an empty message when it comes.
    Rang,
}

impl Messages {
    pub fn new(pipe: OwnedHandle, bell: Transfer) -> Messages {
        Messages { pipe, bell, heard: Bell::Silent, ended: false }
    }

    /// Appends the next message to `buffer`. `WouldBlock`: none is there until the transfer given to
    /// [`new`](Messages::new) ends.
    ///
    /// A message of no bytes is the end. It cannot be told from nothing by looking; but a read of no
    /// bytes ends for it, while it waits as long as there is nothing.
    pub fn read(&mut self, buffer: &mut BytesMut, limit: usize) -> io::Result<ReadMessage> {
        while !self.ended {
            if !self.is_readable()? {
                return Err(ErrorKind::WouldBlock.into());
            }
            match self.look()? {
                Some(Waiting { message: 0, bytes: 0 }) if self.heard == Bell::Silent => {}
                // An empty message, perhaps with others behind it; or the other end has gone.
                Some(Waiting { message: 0, .. }) | None => self.ended = true,
                Some(Waiting { message, .. }) if message > limit => {
                    return Ok(ReadMessage::TooLarge(message as u64));
                }
                Some(Waiting { message, .. }) => {
                    self.heard = Bell::Silent;
                    return self.take(buffer, message);
                }
            }
        }
        Ok(ReadMessage::End)
    }

    /// Whether a read would find something, a message or the end. If not, the bell will ring.
    pub fn is_readable(&mut self) -> io::Result<bool> {
        if self.bell.is_under_way() {
            self.listen()?;
        } else if self.heard == Bell::Silent && self.look()?.is_some_and(|waits| waits.bytes == 0) {
            self.arm()?;
        }
        Ok(!self.bell.is_under_way())
    }

    /// What waits; `None`: the other end has gone, and all that it had sent was read.
    fn look(&self) -> io::Result<Option<Waiting>> {
        match waiting::look(self.pipe.as_handle()) {
            Err(error) if is_gone(&error) => Ok(None),
            waits => waits.map(Some),
        }
    }

    fn take(&self, buffer: &mut BytesMut, size: usize) -> io::Result<ReadMessage> {
        buffer.reserve(size);
        let room = &mut buffer.spare_capacity_mut()[..size];
        let read = waiting::read_now(self.pipe.as_handle(), room)?;
        // SAFETY: so many bytes of the spare capacity have just been written.
        unsafe { buffer.set_len(buffer.len() + read) };
        Ok(ReadMessage::Whole)
    }

    /// Starts a read of no bytes. One that ends at once found something that has come meanwhile, or an
    /// empty message, which cannot be seen.
    fn arm(&mut self) -> io::Result<()> {
        match self.bell.start_read(0) {
            Ok(None) => Ok(()),
            ended => self.rang(ended.map(drop)),
        }
    }

    /// Looks whether the read of no bytes under way has ended.
    fn listen(&mut self) -> io::Result<()> {
        match self.bell.poll() {
            None => Ok(()),
            // The system cancels what a thread has begun when that thread ends: nothing rang.
            Some(Err(error)) if code(&error) == Some(ERROR_OPERATION_ABORTED) => self.arm(),
            Some(ended) => self.rang(ended.map(drop)),
        }
    }

    /// That more is there than was asked for is what a read of no bytes is to find out; and that the
    /// other end has gone shows when looking.
    fn rang(&mut self, ended: io::Result<()>) -> io::Result<()> {
        self.heard = Bell::Rang;
        match ended {
            Err(error) if code(&error) == Some(ERROR_MORE_DATA) || is_gone(&error) => Ok(()),
            ended => ended,
        }
    }
}
