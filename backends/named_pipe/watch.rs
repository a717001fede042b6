//! Wakes the loop when a Win32 event is set, without mio.
//!
//! A wait thread of the system waits for the events of all connections (RegisterWaitForSingleObject). Its
//! callback only wakes the loop.

use super::handle::check;
use super::transfer::Signal;
use crate::backends::event_loop::Wake;
use mio::Token;
use std::ffi::c_void;
use std::io;
use std::ptr::null_mut;
use std::sync::Arc;
use windows_sys::Win32::Foundation::{HANDLE, INVALID_HANDLE_VALUE};
use windows_sys::Win32::System::Threading::{
    INFINITE, RegisterWaitForSingleObject, UnregisterWaitEx, WT_EXECUTEINWAITTHREAD,
};

/// Wakes the loop for a connection each time its event is set, until it is dropped.
pub(super) struct Watch {
    wait: HANDLE,
    /// The context of the callback. It does not move as long as the wait is registered.
    _context: Box<Context>,
    /// The event stays open as long as the wait is registered.
    _signal: Arc<Signal>,
}

// SAFETY: the handle of a wait may be used, and the wait ended, by any thread.
unsafe impl Send for Watch {}

struct Context {
    wake: Arc<Wake>,
    token: Token,
}

impl Watch {
    /// Watches `signal`, an auto-reset event.
    pub fn new(signal: Arc<Signal>, wake: Arc<Wake>, token: Token) -> io::Result<Watch> {
        let context = Box::new(Context { wake, token });
        let address: *const Context = &*context;
        let mut wait = null_mut();
        // SAFETY: the event is open, and `context` stays where it is, until the wait has been ended
        // (drop). The callback takes `context` by a shared reference, and it may be shared by threads.
        check(unsafe {
            RegisterWaitForSingleObject(
                &mut wait,
                signal.handle(),
                Some(wait_callback),
                address.cast(),
                INFINITE,
                WT_EXECUTEINWAITTHREAD,
            )
        })?;
        Ok(Watch { wait, _context: context, _signal: signal })
    }
}

/// # Safety
/// `context` is the context that was registered with the wait, which has not been ended yet.
unsafe extern "system" fn wait_callback(context: *mut c_void, _timed_out: bool) {
    // SAFETY: the context is the one that was registered, and lives as long as the wait.
    let context: &Context = unsafe { &*context.cast_const().cast() };
    context.wake.readable(context.token);
}

impl Drop for Watch {
    fn drop(&mut self) {
        // SAFETY: the wait is registered. With this handle the call returns only when no callback
        // runs any more.
        unsafe { UnregisterWaitEx(self.wait, INVALID_HANDLE_VALUE) };
    }
}
