//! The right to start the server of an endpoint: a pipe of one instance beside the server's.
//!
//! It saves starting many servers of which one stays. Which one that is decides the bind, not this lock.

use super::handle::{code, own, wide};
use super::identity::own_sid;
use super::instance::PIPE_MODE;
use super::security::{attributes, descriptor};
use crate::access::Access;
use crate::endpoint::Endpoint;
use std::io;
use std::os::windows::io::OwnedHandle;
use windows_sys::Win32::Foundation::{ERROR_ACCESS_DENIED, ERROR_PIPE_BUSY};
use windows_sys::Win32::Storage::FileSystem::{FILE_FLAG_FIRST_PIPE_INSTANCE, PIPE_ACCESS_DUPLEX};
use windows_sys::Win32::System::Pipes::CreateNamedPipeW;

/// Held as long as a process starts a server. The system releases it when that process ends, however it ends.
///
/// A pipe, not a mutex: a mutex belongs to a thread, and its name to a session, while a user has the same pipes in all
/// sessions, services too.
pub(crate) struct StartLock {
    _pipe: OwnedHandle,
}

impl StartLock {
    /// Takes the lock, without waiting. `None`: another process has it.
    ///
    /// # Errors
    /// The name cannot be made.
    pub fn take(endpoint: &Endpoint) -> io::Result<Option<StartLock>> {
        let name = endpoint.pipe_name(own_sid()?).map_err(io::Error::other)?;
        let name = format!("{name}.msgpipe-start");
        let descriptor =
            descriptor(&Access::Owner, &name.as_str().into()).map_err(io::Error::other)?;
        let attributes = attributes(&descriptor);
        let name = wide(&name)?;
        let open_mode = PIPE_ACCESS_DUPLEX | FILE_FLAG_FIRST_PIPE_INSTANCE;
        // SAFETY: the name has its terminating zero, and the attributes and the descriptor they point to outlive the
        // call. The handle returned is new and ours.
        let made = unsafe {
            own(CreateNamedPipeW(name.as_ptr(), open_mode, PIPE_MODE, 1, 0, 0, 0, &attributes))
        };
        match made {
            Ok(pipe) => Ok(Some(StartLock { _pipe: pipe })),
            Err(error) if matches!(code(&error), Some(ERROR_ACCESS_DENIED | ERROR_PIPE_BUSY)) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_at_a_time_has_the_right_to_start() {
        let endpoint = Endpoint::name(&format!("msgpipe.start.{}", std::process::id())).unwrap();
        let held = StartLock::take(&endpoint).unwrap().unwrap();
        assert!(StartLock::take(&endpoint).unwrap().is_none());
        drop(held);
        drop(StartLock::take(&endpoint).unwrap().unwrap());
    }
}
