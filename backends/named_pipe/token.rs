//! The user of a token, as a SID in text.

use super::handle::check;
use std::io;
use std::os::windows::io::{AsRawHandle, OwnedHandle};
use std::ptr::null_mut;
use widestring::U16CStr;
use windows_sys::Win32::Foundation::LocalFree;
use windows_sys::Win32::Security::Authorization::ConvertSidToStringSidW;
use windows_sys::Win32::Security::{GetTokenInformation, PSID, TOKEN_USER, TokenUser};

/// The user of a token that was opened for queries (TOKEN_QUERY).
pub(super) fn user_of_token(token: &OwnedHandle) -> io::Result<String> {
    let mut len = 0;
    // SAFETY: a buffer of no bytes asks for the length only.
    unsafe { GetTokenInformation(token.as_raw_handle(), TokenUser, null_mut(), 0, &mut len) };
    // The words have 64 bits, because the returned structure begins with a pointer.
    let mut buffer = vec![0u64; (len as usize).div_ceil(8).max(1)];
    let bytes = u32::try_from(buffer.len() * 8).unwrap_or(u32::MAX);
    // SAFETY: the buffer has `bytes` writable bytes, aligned for the structure they will hold.
    check(unsafe {
        GetTokenInformation(
            token.as_raw_handle(),
            TokenUser,
            buffer.as_mut_ptr().cast(),
            bytes,
            &mut len,
        )
    })?;
    // SAFETY: the call succeeded, so the buffer begins with this structure.
    let user = unsafe { &*buffer.as_ptr().cast::<TOKEN_USER>() };
    // SAFETY: the identifier lies in the buffer, which is still there.
    unsafe { sid_to_string(user.User.Sid) }
}

/// # Safety
/// `sid` points to a valid security identifier.
pub(super) unsafe fn sid_to_string(sid: PSID) -> io::Result<String> {
    let mut text = null_mut();
    // SAFETY: the caller guarantees `sid`; `text` outlives the call.
    check(unsafe { ConvertSidToStringSidW(sid, &mut text) })?;
    // SAFETY: the call succeeded, so this is a string with a terminating zero.
    let string = unsafe { U16CStr::from_ptr_str(text) }.to_string_lossy();
    // SAFETY: it was allocated by the call for us, and is not used any more.
    unsafe { LocalFree(text.cast()) };
    Ok(string)
}
