//! Peeks, reads and writes that do not wait: beside mio, where mio does not read, or while it does not write.

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
    /// For the reads and writes of this thread, each of which completes before its call returns.
    static NOW: io::Result<Now> = Signal::new().map(|done| Now { done, overlapped: Overlapped::new() });
}

/// What a read or write needs beside its buffer. It does not move: thread-local values stay in place.
struct Now {
    done: Signal,
    overlapped: Overlapped,
}

/// What waits in a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    /// The bytes of all messages.
    pub bytes: usize,
    /// The rest of the first message.
    pub message: usize,
}

/// Peeks at what waits in a pipe (PeekNamedPipe). An empty message looks like an empty pipe.
pub(super) fn look(pipe: BorrowedHandle<'_>) -> io::Result<Waiting> {
    let (mut bytes, mut message) = (0, 0);
    // SAFETY: the handle is open; no buffer is given; the two numbers outlive the call.
    check(unsafe {
        PeekNamedPipe(pipe.as_raw_handle(), null_mut(), 0, null_mut(), &mut bytes, &mut message)
    })?;
    Ok(Waiting { bytes: bytes as usize, message: message as usize })
}

/// Reads from the first message that waits, as much of it as `room` holds, and returns the number of bytes.
/// Where none waits: `WouldBlock`. It puts no completion packet into the port.
pub(super) fn read_now(
    pipe: BorrowedHandle<'_>,
    room: &mut [MaybeUninit<u8>],
) -> io::Result<usize> {
    now(|now| now.read(pipe.as_raw_handle(), room))
}

/// Writes all of `bytes`, no more than the pipe holds when it is empty; or, where that would have to wait for
/// the reader, none of them: `WouldBlock`. It puts no completion packet into the port.
///
/// A write that has to wait is cancelled. No part of it can have been taken by then: of a write within the
/// quota the system takes nothing before everything ahead of it, and then there is room for it, and it
/// completes (CreateNamedPipe: a write waits for quota, which reading returns). So `bytes` are no more than
/// the quota; `beside_mio` tests it.
pub(super) fn write_now(pipe: BorrowedHandle<'_>, bytes: &[u8]) -> io::Result<()> {
    now(|now| now.write(pipe.as_raw_handle(), bytes))
}

fn now<T>(act: impl FnOnce(&Now) -> io::Result<T>) -> io::Result<T> {
    NOW.with(|now| match now {
        Ok(now) => act(now),
        Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
    })
}

impl Now {
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

    /// Waits for the end of a transfer that is about to complete. ERROR_MORE_DATA, more bytes of the message,
    /// is no error here.
    fn result(&self, pipe: HANDLE) -> io::Result<usize> {
        let mut moved = 0;
        // SAFETY: the structure is that of the transfer just started on this handle.
        let ended =
            check(unsafe { GetOverlappedResult(pipe, self.overlapped.as_ptr(), &mut moved, 1) });
        match ended {
            Err(error) if code(&error) != Some(ERROR_MORE_DATA) => Err(error),
            _ => Ok(moved as usize),
        }
    }
}
