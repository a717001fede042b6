//! Non-blocking peeks, reads and writes on a pipe. They put no completion packet into a port, so mio does not see
//! them. They are for pipes that mio does not read, and for writes while no write of mio's is in flight.

use super::handle::{check, code};
use super::transfer::{Overlapped, Signal};
use std::io;
use std::mem::MaybeUninit;
use std::os::windows::io::{AsRawHandle, BorrowedHandle};
use std::ptr::null_mut;
use windows_sys::Win32::Foundation::{
    ERROR_IO_PENDING, ERROR_MORE_DATA, ERROR_OPERATION_ABORTED, HANDLE,
};
use windows_sys::Win32::Storage::FileSystem::{ReadFile, WriteFile};
use windows_sys::Win32::System::IO::{CancelIoEx, GetOverlappedResult};
use windows_sys::Win32::System::Pipes::PeekNamedPipe;

thread_local! {
    /// For the reads and writes of this thread. Each completes before its call returns.
    static OPERATION: io::Result<Operation> = Signal::manual_reset().map(|done| Operation { done, overlapped: Overlapped::new() });
}

/// An overlapped operation without its buffer. It does not move: thread-local values stay in place.
struct Operation {
    done: Signal,
    overlapped: Overlapped,
}

/// The bytes that are available in a pipe (PeekNamedPipe).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peeked {
    /// The bytes of all messages (`lpTotalBytesAvail`).
    pub bytes: usize,
    /// The rest of the first message (`lpBytesLeftThisMessage`).
    pub message: usize,
}

/// Returns the number of available bytes. An empty message looks like an empty pipe.
pub(super) fn peek(pipe: BorrowedHandle<'_>) -> io::Result<Peeked> {
    let (mut bytes, mut message) = (0, 0);
    // SAFETY: the handle is open; no buffer is given; the two numbers outlive the call.
    check(unsafe {
        PeekNamedPipe(pipe.as_raw_handle(), null_mut(), 0, null_mut(), &mut bytes, &mut message)
    })?;
    Ok(Peeked { bytes: bytes as usize, message: message as usize })
}

/// Reads from the first available message as much as `room` holds, and returns the number of bytes.
/// `WouldBlock`: none is available.
pub(super) fn try_read(
    pipe: BorrowedHandle<'_>,
    room: &mut [MaybeUninit<u8>],
) -> io::Result<usize> {
    with_operation(|operation| operation.read(pipe.as_raw_handle(), room))
}

/// Writes all of `bytes`, at most the quota. `WouldBlock`: the write would have to wait for the reader, and no
/// byte has been written.
///
/// A write that has to wait is cancelled. By then the system has taken no part of it: it takes a write within
/// the quota as a whole, once enough of what was written before has been read (CreateNamedPipe: a write waits
/// for quota, which reading returns). `mio_internals::a_pending_write_is_cancelled_as_a_whole` tests it.
pub(super) fn try_write(pipe: BorrowedHandle<'_>, bytes: &[u8]) -> io::Result<()> {
    with_operation(|operation| operation.write(pipe.as_raw_handle(), bytes))
}

fn with_operation<T>(act: impl FnOnce(&Operation) -> io::Result<T>) -> io::Result<T> {
    OPERATION.with(|operation| match operation {
        Ok(operation) => act(operation),
        Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
    })
}

impl Operation {
    fn read(&self, pipe: HANDLE, room: &mut [MaybeUninit<u8>]) -> io::Result<usize> {
        let len = u32::try_from(room.len()).unwrap_or(u32::MAX);
        // SAFETY: it is this thread's own, and the last transfer with it completed before that call returned.
        unsafe { self.overlapped.prepare(self.done.without_packet()) };
        // SAFETY: `room` has `len` writable bytes; it and the structure outlast the transfer, which
        // has ended when this function returns.
        let started = check(unsafe {
            ReadFile(pipe, room.as_mut_ptr().cast(), len, null_mut(), self.overlapped.as_ptr())
        });
        self.end(pipe, started)
    }

    fn write(&self, pipe: HANDLE, bytes: &[u8]) -> io::Result<()> {
        let len = u32::try_from(bytes.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: as for reading.
        unsafe { self.overlapped.prepare(self.done.without_packet()) };
        // SAFETY: as for reading; no other code changes the bytes meanwhile.
        let started = check(unsafe {
            WriteFile(pipe, bytes.as_ptr(), len, null_mut(), self.overlapped.as_ptr())
        });
        match self.end(pipe, started)? {
            written if written == bytes.len() => Ok(()),
            _ => Err(io::Error::other("the pipe has taken a part of a write")),
        }
    }

    /// Completes a transfer that has just been started, or cancels it if it would have to wait: `WouldBlock`.
    /// It may still succeed before the cancellation takes effect.
    fn end(&self, pipe: HANDLE, started: io::Result<()>) -> io::Result<usize> {
        match started.as_ref().err().and_then(code) {
            None | Some(ERROR_MORE_DATA) => self.result(pipe),
            Some(ERROR_IO_PENDING) => {
                // SAFETY: the structure is that of the transfer in flight.
                unsafe { CancelIoEx(pipe, self.overlapped.as_ptr()) };
                match self.result(pipe) {
                    Err(error) if code(&error) == Some(ERROR_OPERATION_ABORTED) => {
                        Err(io::ErrorKind::WouldBlock.into())
                    }
                    ended => ended,
                }
            }
            Some(_) => started.map(|()| 0),
        }
    }

    /// Waits for the completion of a transfer that is about to complete. ERROR_MORE_DATA is no error here: the
    /// message has more bytes than were requested.
    fn result(&self, pipe: HANDLE) -> io::Result<usize> {
        let mut transferred = 0;
        // SAFETY: the structure is that of the transfer just started on this handle.
        let ended = check(unsafe {
            GetOverlappedResult(pipe, self.overlapped.as_ptr(), &mut transferred, 1)
        });
        match ended {
            Err(error) if code(&error) != Some(ERROR_MORE_DATA) => Err(error),
            _ => Ok(transferred as usize),
        }
    }
}
