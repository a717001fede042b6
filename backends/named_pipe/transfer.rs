//! One overlapped read at a time, with a deadline for its wait.

use super::handle::{check, code, millis_until, own};
use std::cell::UnsafeCell;
use std::io::{self, ErrorKind};
use std::os::windows::io::{AsRawHandle, BorrowedHandle, OwnedHandle};
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::time::Instant;
use windows_sys::Win32::Foundation::{
    ERROR_IO_INCOMPLETE, ERROR_IO_PENDING, HANDLE, WAIT_FAILED, WAIT_OBJECT_0, WAIT_TIMEOUT,
};
use windows_sys::Win32::Storage::FileSystem::ReadFile;
use windows_sys::Win32::System::IO::{CancelIoEx, GetOverlappedResult, OVERLAPPED};
use windows_sys::Win32::System::Threading::{
    CreateEventW, ResetEvent, SetEvent, WaitForMultipleObjects,
};

/// A Win32 event.
pub(super) struct Signal(OwnedHandle);

impl Signal {
    /// A manual-reset event: it stays set until it is reset, as the start of a transfer does.
    pub fn manual_reset() -> io::Result<Signal> {
        Signal::with(true)
    }

    /// An auto-reset event: the wait that it ends resets it.
    pub fn auto_reset() -> io::Result<Signal> {
        Signal::with(false)
    }

    fn with(manual_reset: bool) -> io::Result<Signal> {
        // SAFETY: no pointers but null ones; the handle returned is new and ours.
        unsafe { own(CreateEventW(null(), i32::from(manual_reset), 0, null())).map(Signal) }
    }

    pub fn handle(&self) -> HANDLE {
        self.0.as_raw_handle()
    }

    /// Another handle to the same event.
    pub fn duplicate(&self) -> io::Result<OwnedHandle> {
        self.0.try_clone()
    }

    pub fn set(&self) -> io::Result<()> {
        // SAFETY: the handle is an open event's.
        check(unsafe { SetEvent(self.0.as_raw_handle()) })
    }

    pub fn reset(&self) -> io::Result<()> {
        // SAFETY: the handle is an open event's.
        check(unsafe { ResetEvent(self.0.as_raw_handle()) })
    }

    /// The event for an overlapped operation that must put no completion packet into the port that the pipe
    /// is tied to: the low bit requests that (GetQueuedCompletionStatus).
    pub fn without_packet(&self) -> HANDLE {
        self.0.as_raw_handle().map_addr(|address| address | 1)
    }
}

/// Waits until one of `signals` is set, until `deadline` at the latest; returns its index.
pub(super) fn wait_any(signals: &[&Signal], deadline: Option<Instant>) -> io::Result<usize> {
    let handles: Vec<_> = signals.iter().map(|signal| signal.0.as_raw_handle()).collect();
    let millis = millis_until(deadline);
    // SAFETY: the handles are open for as long as `signals` is borrowed, and there are a handful.
    let woken =
        unsafe { WaitForMultipleObjects(handles.len() as u32, handles.as_ptr(), 0, millis) };
    match woken {
        WAIT_TIMEOUT => Err(ErrorKind::TimedOut.into()),
        WAIT_FAILED => Err(io::Error::last_os_error()),
        woken => Ok((woken - WAIT_OBJECT_0) as usize),
    }
}

/// Waits until the event is set, until `deadline` at the latest. Returns whether it is.
pub(in crate::backends) fn wait_signalled(
    event: BorrowedHandle<'_>,
    deadline: Option<Instant>,
) -> io::Result<bool> {
    let handle = event.as_raw_handle();
    // SAFETY: the handle is open for as long as it is borrowed.
    match unsafe { WaitForMultipleObjects(1, &handle, 0, millis_until(deadline)) } {
        WAIT_TIMEOUT => Ok(false),
        WAIT_FAILED => Err(io::Error::last_os_error()),
        _ => Ok(true),
    }
}

/// The OVERLAPPED structure of one operation. The system writes to it while the operation is in flight, and
/// the compiler does not see it: so it is in a cell, which is accessed by its pointer only, and does not move
/// meanwhile, since it lies in an `Arc` or in a thread's own storage.
pub(super) struct Overlapped(UnsafeCell<OVERLAPPED>);

// SAFETY: the structure consists of numbers and a handle that any thread may use. The code that sends or
// shares one ensures that one thread at a time changes it (see `prepare`).
unsafe impl Send for Overlapped {}
// SAFETY: as above.
unsafe impl Sync for Overlapped {}

impl Overlapped {
    pub fn new() -> Overlapped {
        Overlapped(UnsafeCell::new(OVERLAPPED::default()))
    }

    /// Prepares it for an operation that sets `event` when it completes.
    ///
    /// # Safety
    /// No operation with it is in flight, and no other thread uses it now.
    pub unsafe fn prepare(&self, event: HANDLE) {
        // SAFETY: the caller guarantees that no other code reads or writes it.
        unsafe { *self.0.get() = OVERLAPPED { hEvent: event, ..OVERLAPPED::default() } };
    }

    pub fn as_ptr(&self) -> *mut OVERLAPPED {
        self.0.get()
    }
}

/// A transfer's buffer and its state. While a transfer is in flight the system writes to both, so they do not
/// move, and a drop waits for the end of the transfer.
///
/// No transfer puts a completion packet into a port that the pipe is tied to: no operation of that port's
/// owner would match it.
pub(super) struct Transfer {
    pipe: OwnedHandle,
    done: Arc<Signal>,
    overlapped: Arc<Overlapped>,
    buffer: Vec<u8>,
    in_flight: bool,
}

impl Transfer {
    /// Transfers through its own handle to the same pipe.
    pub fn new(pipe: BorrowedHandle<'_>) -> io::Result<Transfer> {
        Transfer::with_signal(pipe, Arc::new(Signal::manual_reset()?))
    }

    /// As [`new`](Transfer::new), with an event of the caller's.
    pub fn with_signal(pipe: BorrowedHandle<'_>, done: Arc<Signal>) -> io::Result<Transfer> {
        let overlapped = Arc::new(Overlapped::new());
        let pipe = pipe.try_clone_to_owned()?;
        Ok(Transfer { pipe, done, overlapped, buffer: Vec::new(), in_flight: false })
    }

    pub fn is_in_flight(&self) -> bool {
        self.in_flight
    }

    /// Starts a read of up to `len` bytes. `Ok(Some)`: it has completed at once.
    ///
    /// The system cancels the read when the thread that started it ends, and then it has taken nothing: a
    /// read completes with the first bytes that arrive, and until then there are none.
    ///
    /// # Panics
    /// If a transfer is in flight: the system writes to the buffer.
    pub fn start_read(&mut self, len: usize) -> io::Result<Option<usize>> {
        assert!(!self.in_flight, "one transfer at a time");
        let asked = u32::try_from(len).map_err(|_| ErrorKind::InvalidInput)?;
        self.buffer.resize(len, 0);
        // SAFETY: no transfer is in flight (above), and `&mut` excludes other threads.
        unsafe { self.overlapped.prepare(self.done.without_packet()) };
        // SAFETY: the buffer has `len` writable bytes; it and the structure stay where they are
        // until the transfer has ended (the asserts here and in `buffer`; drop).
        let started = check(unsafe {
            ReadFile(
                self.pipe.as_raw_handle(),
                self.buffer.as_mut_ptr(),
                asked,
                null_mut(),
                self.overlapped.as_ptr(),
            )
        });
        match started {
            Ok(()) => self.result(false).map(Some),
            Err(error) if code(&error) == Some(ERROR_IO_PENDING) => {
                self.in_flight = true;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The result of the transfer; `None` while it is in flight.
    pub fn poll(&mut self) -> Option<io::Result<usize>> {
        match self.result(false) {
            Err(error) if code(&error) == Some(ERROR_IO_INCOMPLETE) => None,
            result => {
                self.in_flight = false;
                Some(result)
            }
        }
    }

    /// The event that is set when the transfer has completed.
    pub fn done(&self) -> Arc<Signal> {
        self.done.clone()
    }

    /// The buffer of the last read.
    ///
    /// # Panics
    /// If a transfer is in flight: the system writes to the buffer.
    pub fn buffer(&self) -> &[u8] {
        assert!(!self.in_flight, "the system still writes to it");
        &self.buffer
    }

    fn result(&mut self, wait: bool) -> io::Result<usize> {
        let mut transferred = 0;
        // SAFETY: the structure is that of the last transfer that was started on this handle.
        check(unsafe {
            GetOverlappedResult(
                self.pipe.as_raw_handle(),
                self.overlapped.as_ptr(),
                &mut transferred,
                i32::from(wait),
            )
        })?;
        Ok(transferred as usize)
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        if self.in_flight {
            // SAFETY: the structure is that of the transfer in flight. If it has just completed, there is
            // nothing to cancel, which has the same effect.
            unsafe { CancelIoEx(self.pipe.as_raw_handle(), self.overlapped.as_ptr()) };
            // Whatever the result, the system does not access the buffer any more.
            let _ = self.result(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;
    use std::os::windows::fs::OpenOptionsExt;
    use std::os::windows::io::AsHandle;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use windows_sys::Win32::Storage::FileSystem::FILE_FLAG_OVERLAPPED;

    /// Both calls would move or expose a buffer that the system writes to.
    #[test]
    fn no_read_starts_and_the_buffer_is_not_accessed_while_a_read_is_in_flight() {
        let endpoint = crate::Endpoint::name(&format!("msgpipe.transfer.{}", std::process::id()));
        let server = crate::LocalServer::bind(endpoint.unwrap()).unwrap();
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(FILE_FLAG_OVERLAPPED);
        let pipe = options.open(crate::MessageServer::endpoint(&server)).unwrap();
        let mut transfer = Transfer::new(pipe.as_handle()).unwrap();
        assert_eq!(transfer.start_read(10).unwrap(), None);
        let (at, len) = (transfer.buffer.as_ptr(), transfer.buffer.len());
        assert!(catch_unwind(AssertUnwindSafe(|| transfer.start_read(1 << 20))).is_err());
        assert!(catch_unwind(AssertUnwindSafe(|| transfer.buffer().len())).is_err());
        assert_eq!((transfer.buffer.as_ptr(), transfer.buffer.len()), (at, len));
        assert!(transfer.is_in_flight() && transfer.poll().is_none());
    }
}
