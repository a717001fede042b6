//! mio's pipe, and everything that depends on mio's internals.
//!
//! No other file names `NamedPipe` (`tests/tidy.rs`). The list gives each assumption, and the test that fails
//! if a newer mio behaves otherwise; tests without a module are in `traps`. `scripts/newest-mio` runs them
//! with the newest mio of the 1.x series.
//!
//! 1. A pipe is tied to the completion port when it is registered, and not before; the first read starts
//!    then, or when the client has connected. `register_before_connect`
//! 2. `connect` reports at once that there is a client, or posts an event when it has ended; `take_error`
//!    gives its result. `a_connect_is_distinguished_from_other_writable_events`, `take_error_reports_a_failed_connect`,
//!    `error_no_data_is_a_client_that_has_already_closed`
//! 3. A second `connect` reports whether there is a client by now.
//!    `mio_internals::a_second_connect_reports_whether_a_client_is_connected`
//! 4. Each read that completes posts one event. Its bytes are given out in pieces without a further event,
//!    and the next read starts when the last piece has been taken.
//!    `mio_internals::bytes_keep_their_order_at_any_read_size`,
//!    `pieces_around_the_size_of_mios_buffer_keep_their_order`,
//!    `a_long_message_queued_before_the_first_read_is_whole`
//! 5. The next read is as large as the last request, at least 4 KiB and at most 64 KiB. Only speed depends on
//!    it. `mio_internals::a_read_is_as_large_as_the_last_request`
//! 6. The end is `Ok(0)`, or an error, again at each further read, with an event each time.
//!    `ok_zero_is_the_end_and_is_read_once`
//! 7. A read that was refused is not started again before its error has been taken; connects and writes go
//!    on. So a handle without the right to read keeps mio from reading.
//!    `mio_internals::without_the_right_to_read_mio_reads_nothing_and_writes`
//! 8. A write is taken whole, or not at all (`WouldBlock`) while another is in flight; its completion is an
//!    event, and a drop does not wait for it. `a_close_waits_for_the_last_write`,
//!    `mio_internals::one_write_of_mios_is_in_flight_and_its_completion_is_an_event`
//! 9. `disconnect` ends a write that is in flight. `an_evicted_client_leaks_no_handle`
//! 10. The handle is closed when the last completion packet has been taken from the port.
//!     `polling_continues_until_the_handles_are_closed`
//! 11. mio takes every completion packet of the pipe for one of its own operations: all other operations make
//!     none (`Signal::without_packet`). `mio_internals::operations_outside_mio_post_no_event`

use super::handle::is_disconnected;
use super::handle::{check, own};
use super::read_size::{Extra, ReadSize};
use bytes::BytesMut;
use mio::windows::NamedPipe;
use mio::{Events, Interest, Poll, Registry, Token};
use std::io::{self, ErrorKind, IoSliceMut, Read, Write};
use std::os::windows::io::{
    AsRawHandle, BorrowedHandle, FromRawHandle, IntoRawHandle, OwnedHandle,
};
use std::ptr::null_mut;
use std::sync::Arc;
use std::time::Duration;
use windows_sys::Win32::Foundation::DuplicateHandle;
use windows_sys::Win32::Storage::FileSystem::{
    FILE_WRITE_ATTRIBUTES, FILE_WRITE_DATA, READ_CONTROL, SYNCHRONIZE,
};
use windows_sys::Win32::System::Threading::GetCurrentProcess;

/// The rights of a handle that mio must not read with: to write, to set attributes, to read the security descriptor, to wait.
const WRITE_RIGHTS: u32 = FILE_WRITE_DATA | FILE_WRITE_ATTRIBUTES | READ_CONTROL | SYNCHRONIZE;

/// An instance of a pipe that mio drives, before and after its client has connected.
pub(super) struct MioPipe {
    pipe: NamedPipe,
    reads: bool,
    size: ReadSize,
    /// Bytes taken from mio for which the reader had no room. They are returned first; mio has started its next
    /// read since.
    left: BytesMut,
    /// A write of mio's is in flight, or its completion has not been reported. mio takes one at a time.
    writing: bool,
    /// The client has closed: mio would read again and again, and post an event each time.
    ended: bool,
}

impl MioPipe {
    /// Waits for a client on an instance. The instance is registered first: otherwise a read that mio issues
    /// for a client already there would complete outside the poll's port.
    pub fn listen(
        instance: OwnedHandle,
        registry: &Registry,
        token: Token,
        extra: &Arc<Extra>,
    ) -> io::Result<MioPipe> {
        // SAFETY: the handle is an overlapped pipe's, and its ownership is given away.
        let mut pipe = unsafe { NamedPipe::from_raw_handle(instance.into_raw_handle()) };
        registry.register(&mut pipe, token, Interest::READABLE | Interest::WRITABLE)?;
        match pipe.connect() {
            // A client has connected before. The event for it comes all the same.
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        let size = ReadSize::new(extra);
        let left = BytesMut::new();
        Ok(MioPipe { pipe, reads: true, size, left, writing: false, ended: false })
    }

    /// As [`listen`](MioPipe::listen), for an instance that mio must not read from: mio's read would take the
    /// beginning of a message without saying whether it was the whole. mio gets a second handle, without the
    /// right to read. Its first read is refused, and mio does not read again before that error has been
    /// taken.
    pub fn listen_without_reading(
        instance: &OwnedHandle,
        registry: &Registry,
        token: Token,
        extra: &Arc<Extra>,
    ) -> io::Result<MioPipe> {
        let pipe = MioPipe::listen(without_reading(instance)?, registry, token, extra)?;
        Ok(MioPipe { reads: false, ..pipe })
    }

    pub fn handle(&self) -> BorrowedHandle<'_> {
        // SAFETY: the pipe, and with it the handle, outlives the borrow.
        unsafe { BorrowedHandle::borrow_raw(self.pipe.as_raw_handle()) }
    }

    /// Whether the connect has failed, which is reported once. No event reports it while no client is there.
    pub fn has_failed(&self) -> bool {
        !matches!(self.pipe.take_error(), Ok(None))
    }

    /// Whether an event means that the client has connected; `None`: none ever will.
    pub fn has_client(&self) -> Option<bool> {
        if self.has_failed() {
            return None;
        }
        if self.reads {
            return Some(true);
        }
        // The read that is refused to mio makes an event before there is a client. A second connect
        // distinguishes them: it is refused as long as the first is in flight.
        match self.pipe.connect() {
            Ok(()) => Some(true),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Some(false),
            Err(_) => None,
        }
    }

    /// Appends what mio has read to `buffer`, which has room: all of it that fits, since no further event
    /// reports the rest. 0: the client has closed.
    pub fn read(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        let before = buffer.len();
        let left = self.left.len().min(buffer.capacity() - before);
        buffer.extend_from_slice(&self.left.split_to(left));
        while !self.ended && self.left.is_empty() && buffer.len() < buffer.capacity() {
            self.left = BytesMut::new();
            match self.take(buffer) {
                Ok(read) if read == self.size.get() => self.size.read_was_full(),
                // A message of no bytes looks the same as the end; this framing has none.
                Ok(read) => {
                    self.ended = read == 0;
                    break;
                }
                // The error comes again at the next read, after these bytes have been handled.
                Err(_) if buffer.len() > before => break,
                Err(error) if is_disconnected(&error) => self.ended = true,
                Err(error) => return Err(error),
            }
        }
        Ok(buffer.len() - before)
    }

    /// Takes from mio up to the current read size. mio's next read is as large, so the size is requested even
    /// where `buffer` has less room: the end of a large message would make the next read a small one.
    fn take(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        let (at, asked) = (buffer.len(), self.size.get());
        let room = asked.min(buffer.capacity() - at);
        buffer.resize(at + room, 0);
        let mut beyond = BytesMut::zeroed(asked - room);
        let mut slices = [IoSliceMut::new(&mut buffer[at..]), IoSliceMut::new(&mut beyond)];
        let read = self.pipe.read_vectored(&mut slices);
        let taken = read.as_ref().map_or(0, |read| *read);
        buffer.truncate(at + taken.min(room));
        if taken > room {
            beyond.truncate(taken - room);
            self.left = beyond;
        }
        read
    }

    /// Writes `message` as one message on the pipe; `WouldBlock` while a write is in flight. The write is
    /// in flight until [`writable`](MioPipe::writable), and no other code may write meanwhile.
    ///
    /// An accepted write can fail only with the pipe; then the next write fails too, and reading finds the
    /// end.
    pub fn write(&mut self, message: &[u8]) -> io::Result<usize> {
        if self.writing {
            return Err(ErrorKind::WouldBlock.into());
        }
        let taken = self.pipe.write(message)?;
        self.writing = true;
        Ok(taken)
    }

    /// An event has reported the pipe writable.
    pub fn writable(&mut self) {
        self.writing = false;
    }

    pub fn is_writing(&self) -> bool {
        self.writing
    }

    /// Discards what the client has not read, and with it a write that waits for the client.
    pub fn disconnect(&self) {
        // It fails only if the client has closed, and then there is no such write.
        let _ = self.pipe.disconnect();
    }

    /// The same pipe with another assumption about the size of mio's reads.
    #[cfg(test)]
    pub fn with_read_size(self, size: usize) -> MioPipe {
        MioPipe { size: self.size.with_size(size), ..self }
    }
}

/// A second handle to an instance, without the right to read.
fn without_reading(instance: &OwnedHandle) -> io::Result<OwnedHandle> {
    let mut handle = null_mut();
    // SAFETY: the instance's handle is open, the pseudo handles of this process always are, and
    // `handle` outlives the call.
    check(unsafe {
        DuplicateHandle(
            GetCurrentProcess(),
            instance.as_raw_handle(),
            GetCurrentProcess(),
            &mut handle,
            WRITE_RIGHTS,
            0,
            0,
        )
    })?;
    // SAFETY: the call has just returned it, and it is ours.
    unsafe { own(handle) }
}

/// Takes completion packets from the port until none has arrived for a while, and the pipe is not there any more. Each
/// packet keeps a handle open, and so the name in use. `is_there`: perhaps it is another server's by now, and then no
/// packet arrives for longer.
pub(super) fn wait_until_gone(poll: &mut Poll, events: &mut Events, is_there: impl Fn() -> bool) {
    const PAUSE: Duration = Duration::from_millis(5);
    const AT_MOST: usize = 100;
    const QUIET: usize = 20;
    let mut empty_polls = 0;
    for _ in 0..AT_MOST {
        let polled = poll.poll(events, Some(PAUSE));
        empty_polls = if polled.is_err() || events.is_empty() { empty_polls + 1 } else { 0 };
        if empty_polls >= QUIET || empty_polls >= 2 && !is_there() {
            return;
        }
    }
}
