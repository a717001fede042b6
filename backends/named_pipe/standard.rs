//! The standard streams of this process.

use super::handle::check;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::windows::io::{AsHandle, IntoRawHandle, OwnedHandle};
use windows_sys::Win32::System::Console::{
    STD_HANDLE, STD_INPUT_HANDLE, STD_OUTPUT_HANDLE, SetStdHandle,
};

/// Takes standard input and output. In their places are then NUL and the standard error. After an error they are as
/// before.
///
/// The handles are duplicated and stay open: C code of this process has them in its runtime, and could otherwise write
/// to whatever gets their numbers next.
pub(crate) fn take_standard_streams() -> io::Result<(File, File)> {
    let input = io::stdin().as_handle().try_clone_to_owned()?;
    let output = io::stdout().as_handle().try_clone_to_owned()?;
    let error = io::stderr().as_handle().try_clone_to_owned()?;
    let null = null()?;
    replace(STD_OUTPUT_HANDLE, error)?;
    replace(STD_INPUT_HANDLE, null)?;
    Ok((input.into(), output.into()))
}

/// What is empty, and takes anything.
pub(super) fn null() -> io::Result<OwnedHandle> {
    Ok(OpenOptions::new().read(true).write(true).open("NUL")?.into())
}

/// Puts a handle in the place of a standard stream, for the rest of this process.
pub(super) fn replace(which: STD_HANDLE, handle: OwnedHandle) -> io::Result<()> {
    // SAFETY: the handle is open, and stays so: its ownership is given away.
    check(unsafe { SetStdHandle(which, handle.into_raw_handle()) })
}
