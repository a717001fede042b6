//! What waits in a pipe, looked at and read without waiting: beside mio, while it does not read.

use super::handle::{check, code};
use super::transfer::Signal;
use std::io;
use std::mem::MaybeUninit;
use std::os::windows::io::{AsRawHandle, BorrowedHandle};
use std::ptr::null_mut;
use windows_sys::Win32::Foundation::{ERROR_IO_PENDING, ERROR_MORE_DATA, HANDLE};
use windows_sys::Win32::Storage::FileSystem::ReadFile;
use windows_sys::Win32::System::IO::{CancelIoEx, GetOverlappedResult, OVERLAPPED};
use windows_sys::Win32::System::Pipes::PeekNamedPipe;

thread_local! {
    /// For the reads of this thread, of which none outlasts its call.
    static DONE: io::Result<Signal> = Signal::new();
}

/// What waits in a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    /// All bytes, of every message.
    pub bytes: usize,
    /// What is left of the first message.
    pub message: usize,
}

/// Looks at what waits in a pipe (PeekNamedPipe). An empty message looks like none.
pub(super) fn look(pipe: BorrowedHandle<'_>) -> io::Result<Waiting> {
    let (mut bytes, mut message) = (0, 0);
    // SAFETY: the handle is open; no buffer is given; the two numbers outlive the call.
    check(unsafe {
        PeekNamedPipe(pipe.as_raw_handle(), null_mut(), 0, null_mut(), &mut bytes, &mut message)
    })?;
    Ok(Waiting { bytes: bytes as usize, message: message as usize })
}

/// Reads from the first message that waits, as much of it as `room` holds, and returns how many
/// bytes. Where none waits: `WouldBlock`. No packet comes of it at the completion port.
pub(super) fn read_now(
    pipe: BorrowedHandle<'_>,
    room: &mut [MaybeUninit<u8>],
) -> io::Result<usize> {
    DONE.with(|done| match done {
        Ok(done) => read_with(pipe.as_raw_handle(), room, done),
        Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
    })
}

fn read_with(pipe: HANDLE, room: &mut [MaybeUninit<u8>], done: &Signal) -> io::Result<usize> {
    let mut overlapped = OVERLAPPED { hEvent: done.without_packet(), ..OVERLAPPED::default() };
    let len = u32::try_from(room.len()).unwrap_or(u32::MAX);
    // SAFETY: `room` has `len` writable bytes; it and the structure outlast the transfer, which has
    // ended when this function returns.
    let started = check(unsafe {
        ReadFile(pipe, room.as_mut_ptr().cast(), len, null_mut(), &mut overlapped)
    });
    match started.as_ref().err().and_then(code) {
        None | Some(ERROR_MORE_DATA) => result(pipe, &overlapped),
        Some(ERROR_IO_PENDING) => {
            // Nothing waited after all. A message may still come before this.
            // SAFETY: the structure is that of the transfer under way.
            unsafe { CancelIoEx(pipe, &overlapped) };
            result(pipe, &overlapped).map_err(|_| io::ErrorKind::WouldBlock.into())
        }
        Some(_) => started.map(|()| 0),
    }
}

/// Waits for the end of a transfer that is about to end. That there is more of the message is none
/// of the errors.
fn result(pipe: HANDLE, overlapped: &OVERLAPPED) -> io::Result<usize> {
    let mut read = 0;
    // SAFETY: the structure is that of the transfer just started on this handle.
    match check(unsafe { GetOverlappedResult(pipe, overlapped, &mut read, 1) }) {
        Err(error) if code(&error) != Some(ERROR_MORE_DATA) => Err(error),
        _ => Ok(read as usize),
    }
}
