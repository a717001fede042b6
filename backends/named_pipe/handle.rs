//! Helpers for Win32: results, wide strings, time-outs.

use std::io;
use std::os::windows::io::{FromRawHandle, OwnedHandle};
use std::time::{Duration, Instant};
use widestring::U16CString;
use windows_sys::Win32::Foundation::{
    ERROR_NO_DATA, ERROR_PIPE_NOT_CONNECTED, HANDLE, INVALID_HANDLE_VALUE,
};
use windows_sys::Win32::System::Threading::INFINITE;

/// The result of a call that returns zero on failure.
pub(super) fn check(result: i32) -> io::Result<()> {
    if result == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The Win32 code of an error.
pub(super) fn code(error: &io::Error) -> Option<u32> {
    error.raw_os_error().and_then(|code| u32::try_from(code).ok())
}

/// Whether an error means that the other end has closed. The system has several codes for it.
pub(super) fn is_disconnected(error: &io::Error) -> bool {
    let codes = [ERROR_NO_DATA, ERROR_PIPE_NOT_CONNECTED];
    error.kind() == io::ErrorKind::BrokenPipe
        || code(error).is_some_and(|code| codes.contains(&code))
}

/// Takes ownership of a handle that a call has just returned, or returns the call's error.
///
/// # Safety
/// `handle` is either null, or `INVALID_HANDLE_VALUE`, or open and without another owner.
pub(super) unsafe fn own(handle: HANDLE) -> io::Result<OwnedHandle> {
    if handle.is_null() || handle == INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the caller guarantees it.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}

/// A string for the wide functions.
pub(super) fn wide(text: &str) -> io::Result<U16CString> {
    U16CString::from_str(text).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

/// The milliseconds until `deadline`, rounded up so that a wait does not end just before it.
pub(super) fn millis_until(deadline: Option<Instant>) -> u32 {
    let Some(at) = deadline else { return INFINITE };
    let left = at.saturating_duration_since(Instant::now());
    let millis = left.as_nanos().div_ceil(Duration::from_millis(1).as_nanos());
    u32::try_from(millis).map_or(INFINITE - 1, |millis| millis.min(INFINITE - 1))
}

/// The same error again.
pub(super) fn clone_error(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}
