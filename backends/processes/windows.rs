//! Processes on Windows: no console of this process's, and no inherited handles.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::windows::fs::OpenOptionsExt as _;
use std::os::windows::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::{Mutex, MutexGuard, PoisonError};
use windows_sys::Win32::Foundation::{
    GetHandleInformation, HANDLE, HANDLE_FLAG_INHERIT, INVALID_HANDLE_VALUE, SetHandleInformation,
};
use windows_sys::Win32::Storage::FileSystem::{
    FILE_ATTRIBUTE_TEMPORARY, FILE_FLAG_DELETE_ON_CLOSE, FILE_SHARE_DELETE, FILE_SHARE_READ,
    FILE_SHARE_WRITE,
};
use windows_sys::Win32::System::Console::{
    GetStdHandle, STD_ERROR_HANDLE, STD_INPUT_HANDLE, STD_OUTPUT_HANDLE,
};
use windows_sys::Win32::System::Threading::{CREATE_NEW_PROCESS_GROUP, CREATE_NO_WINDOW};

/// Detaches the processes of a command from this one: they have a console of their own, without a window, so neither
/// Ctrl-C at this process's console nor its end reaches them. To be called once for a command.
pub(crate) fn detach(command: &mut Command) {
    command.creation_flags(CREATE_NO_WINDOW | CREATE_NEW_PROCESS_GROUP);
}

/// Starts the process of a command that is [detached](detach).
///
/// std's CreateProcess inherits all inheritable handles. std and this crate make theirs so that they are not; but this
/// process's own standard handles are, if its parent gave them. A pipe among them would stay open until the new process
/// ends, and who reads it would wait as long. So they are not inheritable for that moment. (std duplicates those that a
/// child is to have.)
pub(crate) fn spawn(command: &mut Command) -> io::Result<Child> {
    let _kept = KeptBack::new();
    command.spawn()
}

/// Standard handles of this process that were inheritable, and become so again when this is dropped.
struct KeptBack {
    handles: Vec<HANDLE>,
    /// One at a time: another thread would find them not inheritable, and the first would make them so too early.
    _alone: MutexGuard<'static, ()>,
}

impl KeptBack {
    fn new() -> KeptBack {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut handles = Vec::new();
        for which in [STD_INPUT_HANDLE, STD_OUTPUT_HANDLE, STD_ERROR_HANDLE] {
            // SAFETY: the call takes a number and returns a handle that this process owns, or none.
            let handle = unsafe { GetStdHandle(which) };
            if handle.is_null() || handle == INVALID_HANDLE_VALUE {
                continue;
            }
            let mut flags = 0;
            // SAFETY: `flags` outlives the call; a handle that is not open makes it fail.
            let known = unsafe { GetHandleInformation(handle, &mut flags) } != 0;
            if known && flags & HANDLE_FLAG_INHERIT != 0 {
                set_inheritable(handle, false);
                handles.push(handle);
            }
        }
        KeptBack { handles, _alone: alone }
    }
}

impl Drop for KeptBack {
    fn drop(&mut self) {
        self.handles.iter().for_each(|handle| set_inheritable(*handle, true));
    }
}

fn set_inheritable(handle: HANDLE, is_inheritable: bool) {
    let flags = if is_inheritable { HANDLE_FLAG_INHERIT } else { 0 };
    // SAFETY: the call changes a flag of a handle; one that is not open makes it fail.
    unsafe { SetHandleInformation(handle, HANDLE_FLAG_INHERIT, flags) };
}

/// Leaves a child to itself: nobody has to wait for it.
pub(crate) fn leave(child: Child) {
    drop(child);
}

/// Kills a child.
pub(crate) fn end(mut child: Child) {
    // This fails only if it has ended.
    let _ = child.kill();
}

/// Opens the file so that it is removed when its last handle is closed.
pub(super) fn open_nameless(mut options: OpenOptions, path: &Path) -> io::Result<File> {
    options
        .share_mode(FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE)
        .attributes(FILE_ATTRIBUTE_TEMPORARY)
        .custom_flags(FILE_FLAG_DELETE_ON_CLOSE)
        .open(path)
}
