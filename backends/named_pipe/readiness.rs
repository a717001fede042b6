//! One event for an application's own loop: set while a client has something to do.
//!
//! A read and a write have an event each, and a third one tells of what another thread has read. A wait of the
//! system's thread pool sets the application's event when the read completes, and the callback of a write sets it too:
//! so one handle stands for all.

use super::transfer::Signal;
use crate::backends::Waitable;
use std::ffi::c_void;
use std::io;
use std::ptr::{null, null_mut};
use std::sync::Arc;
use windows_sys::Win32::System::Threading::{
    CloseThreadpoolWait, CreateThreadpoolWait, PTP_CALLBACK_INSTANCE, PTP_WAIT, SetThreadpoolWait,
    WaitForThreadpoolWaitCallbacks,
};

pub(super) struct Readiness {
    wait: PTP_WAIT,
    alert: Arc<Signal>,
    read_done: Arc<Signal>,
    waitable: Waitable,
}

// SAFETY: the object of the thread pool may be used by any thread.
unsafe impl Send for Readiness {}
// SAFETY: as above; its functions may be called by several threads at once.
unsafe impl Sync for Readiness {}

impl Readiness {
    /// `read_done` is set when a read has completed.
    pub fn new(read_done: Arc<Signal>) -> io::Result<Readiness> {
        let alert = Arc::new(Signal::manual_reset()?);
        let waitable = Waitable::from(alert.duplicate()?);
        let context = Arc::as_ptr(&alert).cast_mut().cast();
        // SAFETY: the callback takes the context by a shared reference, and it stays where it is until the object has
        // been closed (drop).
        let wait = unsafe { CreateThreadpoolWait(Some(read_callback), context, null()) };
        if wait == 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Readiness { wait, alert, read_done, waitable })
    }

    pub fn waitable(&self) -> Waitable {
        self.waitable.clone()
    }

    /// The event that is set for the application.
    pub fn alert(&self) -> Arc<Signal> {
        self.alert.clone()
    }

    /// Sets the application's event, or resets it.
    pub fn set_alert(&self, is_set: bool) {
        // Both fail only for an invalid handle.
        let _ = if is_set { self.alert.set() } else { self.alert.reset() };
    }

    /// A read is in flight: the application's event is set, once, when it has completed.
    pub fn watch_read(&self) {
        // SAFETY: the object is open, and the event lives as long as it.
        unsafe { SetThreadpoolWait(self.wait, self.read_done.handle(), null()) };
    }
}

/// # Safety
/// `context` is the one that the object was made with, which has not been closed yet.
unsafe extern "system" fn read_callback(
    _instance: PTP_CALLBACK_INSTANCE,
    context: *mut c_void,
    _wait: PTP_WAIT,
    _result: u32,
) {
    // SAFETY: it is the context of `Readiness::new`, which outlives all callbacks (drop).
    let alert: &Signal = unsafe { &*context.cast_const().cast() };
    // Setting an event fails only for an invalid handle.
    let _ = alert.set();
}

impl Drop for Readiness {
    fn drop(&mut self) {
        // SAFETY: the object is open; after this it waits for nothing.
        unsafe { SetThreadpoolWait(self.wait, null_mut(), null()) };
        // SAFETY: the object is open.
        unsafe { WaitForThreadpoolWaitCallbacks(self.wait, 1) };
        // SAFETY: no callback runs or will run.
        unsafe { CloseThreadpoolWait(self.wait) };
    }
}
