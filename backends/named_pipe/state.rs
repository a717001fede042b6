//! Whether the other end of a pipe has closed, also while bytes that it sent are unread: reads and PeekNamedPipe find
//! those first.

use std::mem::size_of;
use std::os::windows::io::{AsRawHandle, BorrowedHandle};
use windows_sys::Wdk::Storage::FileSystem::{
    FILE_PIPE_CLOSING_STATE, FILE_PIPE_DISCONNECTED_STATE, FILE_PIPE_LOCAL_INFORMATION,
    FilePipeLocalInformation, NtQueryInformationFile,
};
use windows_sys::Win32::System::IO::IO_STATUS_BLOCK;

/// Whether the other end has closed. The handle needs the right to read attributes. `false` if the system does not say.
pub(super) fn has_closed(pipe: BorrowedHandle<'_>) -> bool {
    const SIZE: u32 = size_of::<FILE_PIPE_LOCAL_INFORMATION>() as u32;
    let mut status = IO_STATUS_BLOCK::default();
    let mut state = FILE_PIPE_LOCAL_INFORMATION::default();
    // SAFETY: the handle is open; both structures outlive the call, which completes before it returns, and the second has
    // so many bytes.
    let failed = unsafe {
        NtQueryInformationFile(
            pipe.as_raw_handle(),
            &mut status,
            (&raw mut state).cast(),
            SIZE,
            FilePipeLocalInformation,
        )
    };
    let ended = [FILE_PIPE_CLOSING_STATE, FILE_PIPE_DISCONNECTED_STATE];
    failed == 0 && ended.contains(&state.NamedPipeState)
}
