//! One overlapped read or write at a time, waited for with a deadline.

use super::handle::{check, millis_until, own};
use std::io::{self, ErrorKind};
use std::os::windows::io::{AsRawHandle, BorrowedHandle, OwnedHandle};
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::time::Instant;
use windows_sys::Win32::Foundation::{
    ERROR_IO_INCOMPLETE, ERROR_IO_PENDING, HANDLE, WAIT_FAILED, WAIT_OBJECT_0, WAIT_TIMEOUT,
};
use windows_sys::Win32::Storage::FileSystem::{ReadFile, WriteFile};
use windows_sys::Win32::System::IO::{CancelIoEx, GetOverlappedResult, OVERLAPPED};
use windows_sys::Win32::System::Threading::{CreateEventW, SetEvent, WaitForMultipleObjects};

/// An event of the system.
pub(super) struct Signal(OwnedHandle);

impl Signal {
    /// One that stays set until it is reset, as the start of a transfer does.
    pub fn new() -> io::Result<Signal> {
        Signal::with(true)
    }

    /// One that is reset by whoever has waited for it.
    pub fn that_resets_itself() -> io::Result<Signal> {
        Signal::with(false)
    }

    fn with(manual_reset: bool) -> io::Result<Signal> {
        // SAFETY: no pointers but null ones; the handle returned is new and ours.
        unsafe { own(CreateEventW(null(), i32::from(manual_reset), 0, null())).map(Signal) }
    }

    pub fn handle(&self) -> HANDLE {
        self.0.as_raw_handle()
    }

    pub fn set(&self) -> io::Result<()> {
        // SAFETY: the handle is an open event's.
        check(unsafe { SetEvent(self.0.as_raw_handle()) })
    }

    /// The event for an overlapped structure whose transfer shall put no packet into the completion
    /// port that the pipe is tied to: the low bit asks for that (GetQueuedCompletionStatus).
    pub fn without_packet(&self) -> HANDLE {
        self.0.as_raw_handle().map_addr(|address| address | 1)
    }
}

/// Waits until one of `signals` is set, until `deadline` at the latest; returns which.
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

/// A transfer's buffer and its state. While a transfer is under way the system writes to both, so
/// they stay where they are, and a drop waits for its end.
pub(super) struct Transfer {
    pipe: OwnedHandle,
    done: Arc<Signal>,
    overlapped: Box<OVERLAPPED>,
    buffer: Vec<u8>,
    under_way: bool,
    packets: bool,
}

// SAFETY: the pointers in the overlapped structure are the event's handle, which any thread may use,
// and what the system keeps there; the structure itself is used by one thread at a time (`&mut`).
unsafe impl Send for Transfer {}

impl Transfer {
    /// Transfers through a handle of its own to the same pipe.
    pub fn new(pipe: BorrowedHandle<'_>) -> io::Result<Transfer> {
        Transfer::with_signal(pipe, Arc::new(Signal::new()?))
    }

    /// As [`new`](Transfer::new), with an event of the caller's.
    pub fn with_signal(pipe: BorrowedHandle<'_>, done: Arc<Signal>) -> io::Result<Transfer> {
        let overlapped = Box::new(OVERLAPPED::default());
        let pipe = pipe.try_clone_to_owned()?;
        Ok(Transfer { pipe, done, overlapped, buffer: Vec::new(), under_way: false, packets: true })
    }

    pub fn is_under_way(&self) -> bool {
        self.under_way
    }

    /// From now on no transfer that is started puts a packet into the completion port that the pipe is
    /// tied to.
    pub fn without_packets(mut self) -> Transfer {
        self.packets = false;
        self
    }

    /// Starts to read up to `len` bytes. `Ok(Some)`: they are there already.
    pub fn start_read(&mut self, len: usize) -> io::Result<Option<usize>> {
        self.buffer.resize(len, 0);
        self.prepare();
        // SAFETY: the buffer has `len` writable bytes; it and the structure stay where they are
        // until the transfer has ended (`under_way`, drop).
        let started = check(unsafe {
            ReadFile(
                self.pipe.as_raw_handle(),
                self.buffer.as_mut_ptr(),
                len as u32,
                null_mut(),
                &mut *self.overlapped,
            )
        });
        self.started(started)
    }

    /// Starts to write what `fill` puts into the buffer. `Ok(Some)`: it is written already.
    pub fn start_write(&mut self, fill: impl FnOnce(&mut Vec<u8>)) -> io::Result<Option<usize>> {
        fill(&mut self.buffer);
        self.prepare();
        // SAFETY: as for reading; nobody changes the buffer meanwhile.
        let started = check(unsafe {
            WriteFile(
                self.pipe.as_raw_handle(),
                self.buffer.as_ptr(),
                self.buffer.len() as u32,
                null_mut(),
                &mut *self.overlapped,
            )
        });
        self.started(started)
    }

    /// Whether it has ended, and how: `None` while it is under way.
    pub fn poll(&mut self) -> Option<io::Result<usize>> {
        match self.result(false) {
            Err(error) if error.raw_os_error() == Some(ERROR_IO_INCOMPLETE as i32) => None,
            result => {
                self.under_way = false;
                Some(result)
            }
        }
    }

    /// The event that is set when the transfer has ended.
    pub fn done(&self) -> Arc<Signal> {
        self.done.clone()
    }

    /// How many bytes the last transfer was to move.
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// The buffer; nothing is under way.
    pub fn buffer(&self) -> &[u8] {
        debug_assert!(!self.under_way);
        &self.buffer
    }

    fn prepare(&mut self) {
        debug_assert!(!self.under_way, "one transfer at a time");
        *self.overlapped = OVERLAPPED::default();
        self.overlapped.hEvent = match self.packets {
            true => self.done.0.as_raw_handle(),
            false => self.done.without_packet(),
        };
    }

    fn started(&mut self, started: io::Result<()>) -> io::Result<Option<usize>> {
        match started {
            Ok(()) => self.result(false).map(Some),
            Err(error) if error.raw_os_error() == Some(ERROR_IO_PENDING as i32) => {
                self.under_way = true;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn result(&mut self, wait: bool) -> io::Result<usize> {
        let mut transferred = 0;
        // SAFETY: the structure is that of the last transfer that was started on this handle.
        check(unsafe {
            GetOverlappedResult(
                self.pipe.as_raw_handle(),
                &*self.overlapped,
                &mut transferred,
                i32::from(wait),
            )
        })?;
        Ok(transferred as usize)
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        if self.under_way {
            // SAFETY: the structure is that of the transfer under way. If it has just ended there
            // is nothing to cancel, which is as good.
            unsafe { CancelIoEx(self.pipe.as_raw_handle(), &*self.overlapped) };
            // However it ended: the system does not touch the buffer any more.
            let _ = self.result(true);
        }
    }
}
