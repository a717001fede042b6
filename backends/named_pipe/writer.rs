//! Writes of a client, one at a time, which outlive the thread that started them.
//!
//! The system cancels a thread's operations when the thread ends, and does not report how much of a write the
//! other end had taken by then: the rest could not be sent again. It does not cancel an operation without an
//! event whose handle is tied to a completion port. So the pipe is tied to the port of the system's thread
//! pool (CreateThreadpoolIo), and a thread of that pool reports that a write has completed. A write that
//! completes at once, as nearly all do, makes no completion packet (FILE_SKIP_COMPLETION_PORT_ON_SUCCESS).

use super::handle::{check, code};
use super::transfer::{Overlapped, Signal, wait_any};
use std::ffi::c_void;
use std::io::{self, ErrorKind};
use std::os::windows::io::{AsRawHandle, BorrowedHandle, OwnedHandle};
use std::ptr::null_mut;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use windows_sys::Win32::Foundation::ERROR_IO_PENDING;
use windows_sys::Win32::Storage::FileSystem::{SetFileCompletionNotificationModes, WriteFile};
use windows_sys::Win32::System::IO::{CancelIoEx, GetOverlappedResult};
use windows_sys::Win32::System::Threading::{
    CancelThreadpoolIo, CloseThreadpoolIo, CreateThreadpoolIo, PTP_CALLBACK_INSTANCE, PTP_IO,
    StartThreadpoolIo, WaitForThreadpoolIoCallbacks,
};

/// `winbase.h`: no completion packet for an operation that succeeds at once.
const FILE_SKIP_COMPLETION_PORT_ON_SUCCESS: u8 = 1;

/// The writing half of a client's end.
pub(super) struct Writer {
    pipe: OwnedHandle,
    io: PTP_IO,
    shared: Arc<Shared>,
    /// The bytes being written. No code accesses them while the write is in flight.
    buffer: Vec<u8>,
    in_flight: bool,
    /// A write that had to wait has set the event. Most writes do not set it, and so need not reset it.
    is_set: bool,
}

/// What the callback uses too. It does not move as long as `io` is open.
struct Shared {
    overlapped: Overlapped,
    done: Arc<Signal>,
    /// The result of the write in flight; the event is set under this lock too.
    ended: Mutex<Option<io::Result<usize>>>,
    /// An event that is set as well, for an application's own loop.
    alert: OnceLock<Arc<Signal>>,
}

impl Shared {
    fn result(&self) -> MutexGuard<'_, Option<io::Result<usize>>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// SAFETY: the object of the thread pool may be used by any thread, and `&mut` keeps it to one at a time.
unsafe impl Send for Writer {}

impl Writer {
    /// Writes through its own handle to the same pipe, which is tied to no port yet. Every other operation on
    /// the pipe must request no completion packet.
    pub fn new(pipe: BorrowedHandle<'_>) -> io::Result<Writer> {
        let pipe = pipe.try_clone_to_owned()?;
        let shared = Arc::new(Shared {
            overlapped: Overlapped::new(),
            done: Arc::new(Signal::manual_reset()?),
            ended: Mutex::new(None),
            alert: OnceLock::new(),
        });
        let context = Arc::as_ptr(&shared).cast_mut().cast();
        // SAFETY: the handle is open. The callback takes the context by a shared reference, and it
        // stays where it is until the object has been closed (drop).
        let io = unsafe {
            CreateThreadpoolIo(pipe.as_raw_handle(), Some(write_callback), context, null_mut())
        };
        if io == 0 {
            return Err(io::Error::last_os_error());
        }
        let writer =
            Writer { pipe, io, shared, buffer: Vec::new(), in_flight: false, is_set: false };
        let handle = writer.pipe.as_raw_handle();
        // SAFETY: the handle is open.
        check(unsafe {
            SetFileCompletionNotificationModes(handle, FILE_SKIP_COMPLETION_PORT_ON_SUCCESS)
        })?;
        Ok(writer)
    }

    /// The event that is set when a write has completed that could not complete at once.
    pub fn done(&self) -> Arc<Signal> {
        self.shared.done.clone()
    }

    /// Sets this event too when such a write has completed.
    pub fn set_too(&self, alert: Arc<Signal>) {
        // It is the same one each time.
        let _ = self.shared.alert.set(alert);
    }

    pub fn is_in_flight(&self) -> bool {
        self.in_flight
    }

    /// Starts to write what `fill` puts into the buffer, and returns the number of bytes.
    ///
    /// # Panics
    /// If a write is in flight: the system reads the buffer.
    pub fn start(&mut self, fill: impl FnOnce(&mut Vec<u8>)) -> io::Result<usize> {
        assert!(!self.in_flight, "one write at a time");
        fill(&mut self.buffer);
        let len = u32::try_from(self.buffer.len()).map_err(|_| ErrorKind::InvalidInput)?;
        if self.is_set {
            self.shared.done.reset()?;
            self.is_set = false;
        }
        // SAFETY: no write is in flight (above), and `&mut` excludes other threads.
        unsafe { self.shared.overlapped.prepare(null_mut()) };
        // SAFETY: the object is open; what follows ends in a callback, or is revoked (CancelThreadpoolIo).
        unsafe { StartThreadpoolIo(self.io) };
        // SAFETY: the buffer has `len` bytes; it and the structure stay as and where they are until
        // the write has ended (the assert above; drop).
        let started = check(unsafe {
            WriteFile(
                self.pipe.as_raw_handle(),
                self.buffer.as_ptr(),
                len,
                null_mut(),
                self.shared.overlapped.as_ptr(),
            )
        });
        if started.as_ref().err().and_then(code) == Some(ERROR_IO_PENDING) {
            self.in_flight = true;
            return Ok(self.buffer.len());
        }
        // SAFETY: the object is open; a write that has succeeded or failed at once makes no callback.
        unsafe { CancelThreadpoolIo(self.io) };
        started?;
        let mut written = 0;
        // SAFETY: the structure is that of the write that has just ended on this handle.
        check(unsafe {
            GetOverlappedResult(
                self.pipe.as_raw_handle(),
                self.shared.overlapped.as_ptr(),
                &mut written,
                0,
            )
        })?;
        self.check_whole(written as usize)
    }

    /// The result of the write; `None` while it is in flight.
    pub fn poll(&mut self) -> Option<io::Result<usize>> {
        let ended = self.shared.result().take()?;
        self.in_flight = false;
        self.is_set = true;
        Some(ended.and_then(|written| match written {
            // Wine says so of a write that had to wait, and that the other end took as the thread that had started it
            // ended: what was to store the count is gone with the thread. The count would be that of the whole.
            0 => Ok(self.buffer.len()),
            written => self.check_whole(written),
        }))
    }

    /// A pipe in blocking mode takes all of a write (WriteFile); less of it would be a gap in the stream.
    fn check_whole(&self, written: usize) -> io::Result<usize> {
        match written == self.buffer.len() {
            true => Ok(written),
            false => Err(io::Error::other("the pipe has taken a part of a write")),
        }
    }
}

/// # Safety
/// `context` is the one that the object was made with, which has not been closed yet.
unsafe extern "system" fn write_callback(
    _instance: PTP_CALLBACK_INSTANCE,
    context: *mut c_void,
    _overlapped: *mut c_void,
    error: u32,
    written: usize,
    _io: PTP_IO,
) {
    // SAFETY: it is the context of `Writer::new`, which outlives all callbacks (drop).
    let shared: &Shared = unsafe { &*context.cast_const().cast() };
    let mut ended = shared.result();
    *ended = Some(match error {
        0 => Ok(written),
        error => Err(io::Error::from_raw_os_error(error as i32)),
    });
    // Setting an event fails only for an invalid handle.
    let _ = shared.done.set();
    if let Some(alert) = shared.alert.get() {
        let _ = alert.set();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.in_flight {
            // SAFETY: the structure is that of the write in flight. If it has just completed, there is
            // nothing to cancel, which has the same effect.
            unsafe { CancelIoEx(self.pipe.as_raw_handle(), self.shared.overlapped.as_ptr()) };
            // Whatever the result, the system does not access the buffer any more. A wait without a deadline
            // ends with the event, or fails for an invalid handle.
            let _ = wait_any(&[&self.shared.done], None);
        }
        // SAFETY: the object is open, and no further write is started.
        unsafe { WaitForThreadpoolIoCallbacks(self.io, 0) };
        // SAFETY: no callback runs or will run.
        unsafe { CloseThreadpoolIo(self.io) };
    }
}
