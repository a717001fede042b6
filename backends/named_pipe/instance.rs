//! One instance of a pipe.

use super::QUOTA;
use super::handle::own;
use super::security::attributes;
use interprocess::os::windows::security_descriptor::SecurityDescriptor;
use std::io;
#[cfg(test)]
use std::os::windows::io::AsRawHandle;
use std::os::windows::io::{BorrowedHandle, OwnedHandle};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use widestring::U16CStr;
#[cfg(test)]
use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::Storage::FileSystem::{
    FILE_FLAG_FIRST_PIPE_INSTANCE, FILE_FLAG_OVERLAPPED, PIPE_ACCESS_DUPLEX,
};
use windows_sys::Win32::System::Pipes::{
    CreateNamedPipeW, PIPE_READMODE_MESSAGE, PIPE_REJECT_REMOTE_CLIENTS, PIPE_TYPE_MESSAGE,
    PIPE_UNLIMITED_INSTANCES, PIPE_WAIT,
};

/// Whether an instance is the first of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InstanceKind {
    /// Fails if the name has an instance: another process serves it, or waits there for this server's
    /// clients.
    First,
    /// Another instance of a name that this server already serves.
    Additional,
    /// As `First`, and the system refuses every other instance of the name.
    Only,
}

/// The open mode of an instance: `dwOpenMode` of CreateNamedPipe.
pub(super) fn open_mode(kind: InstanceKind) -> u32 {
    let mode = PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED;
    match kind {
        InstanceKind::First | InstanceKind::Only => mode | FILE_FLAG_FIRST_PIPE_INSTANCE,
        InstanceKind::Additional => mode,
    }
}

/// The pipe mode of every instance: `dwPipeMode` of CreateNamedPipe.
pub(super) const PIPE_MODE: u32 =
    PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS;

/// Makes an instance. Clients can open it from this moment on.
///
/// The system takes the DACL from the first instance of a name and ignores that of later instances; all get
/// it nevertheless, so that nothing depends on which was made first.
pub(super) fn create(
    name: &U16CStr,
    kind: InstanceKind,
    descriptor: &SecurityDescriptor,
) -> io::Result<OwnedHandle> {
    let attributes = attributes(descriptor);
    let open_mode = open_mode(kind);
    let most = if kind == InstanceKind::Only { 1 } else { PIPE_UNLIMITED_INSTANCES };
    // SAFETY: the name has its terminating zero, and the attributes and the descriptor they point
    // to outlive the call. The handle returned is new and ours.
    let instance = unsafe {
        own(CreateNamedPipeW(
            name.as_ptr(),
            open_mode,
            PIPE_MODE,
            most,
            QUOTA,
            QUOTA,
            0,
            &attributes,
        ))
    }?;
    #[cfg(test)]
    MADE.with_borrow_mut(|made| made.push((instance.as_raw_handle(), open_mode)));
    Ok(instance)
}

#[cfg(test)]
thread_local! {
    /// The instances that this thread has made, with their open modes: the system does not report later
    /// whether an instance was made to be the first.
    pub(super) static MADE: std::cell::RefCell<Vec<(HANDLE, u32)>> = std::cell::RefCell::default();
}

/// Instances whose clients have closed, or never connected. If their number is fixed, one of them may be the
/// last to close: until another is made, clients would not find the name, and other processes could take it.
/// So they stay open until another instance listens.
#[derive(Default)]
pub(super) struct KeptOpen(Mutex<Vec<OwnedHandle>>);

impl KeptOpen {
    /// Closes them: other instances listen in their place.
    pub fn release(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// The place of one of a fixed number of instances. The instance outlives the stream that uses it.
pub(super) struct Place {
    instance: Option<OwnedHandle>,
    /// Dropped with the listener: then no instance has to stay open.
    kept_open: Weak<KeptOpen>,
}

impl Place {
    pub fn new(instance: BorrowedHandle<'_>, kept_open: &Arc<KeptOpen>) -> io::Result<Place> {
        let instance = Some(instance.try_clone_to_owned()?);
        Ok(Place { instance, kept_open: Arc::downgrade(kept_open) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(kept_open) = self.kept_open.upgrade() {
            let mut held = kept_open.0.lock().unwrap_or_else(PoisonError::into_inner);
            held.extend(self.instance.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_instance_has_the_flag_for_the_first() {
        assert_eq!(
            open_mode(InstanceKind::First) & FILE_FLAG_FIRST_PIPE_INSTANCE,
            FILE_FLAG_FIRST_PIPE_INSTANCE
        );
        assert_eq!(open_mode(InstanceKind::Only), open_mode(InstanceKind::First));
        assert_eq!(open_mode(InstanceKind::Additional) & FILE_FLAG_FIRST_PIPE_INSTANCE, 0);
    }

    #[test]
    fn every_instance_is_message_mode_overlapped_and_local() {
        for kind in [InstanceKind::First, InstanceKind::Additional] {
            let expected = PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED;
            assert_eq!(open_mode(kind) & expected, expected);
        }
        assert_ne!(PIPE_MODE & PIPE_TYPE_MESSAGE, 0);
        assert_ne!(PIPE_MODE & PIPE_READMODE_MESSAGE, 0);
        assert_ne!(PIPE_MODE & PIPE_REJECT_REMOTE_CLIENTS, 0);
    }
}
