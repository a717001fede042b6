//! Opens a pipe as a client: at the impersonation level of identification, with a wait while it is busy.

use super::handle::{check, code, millis_until, own, wide};
use super::security::CLIENT_RIGHTS;
use std::io;
use std::os::windows::io::OwnedHandle;
use std::ptr::{null, null_mut};
use std::time::{Duration, Instant};
use widestring::U16CStr;
use windows_sys::Win32::Foundation::{ERROR_PIPE_BUSY, ERROR_SEM_TIMEOUT};
use windows_sys::Win32::Storage::FileSystem::{
    CreateFileW, FILE_FLAG_OVERLAPPED, OPEN_EXISTING, SECURITY_IDENTIFICATION,
    SECURITY_SQOS_PRESENT,
};
use windows_sys::Win32::System::Pipes::WaitNamedPipeW;

/// The flags of a client's open: overlapped; the server may identify the client, but not act as it.
const FLAGS: u32 = FILE_FLAG_OVERLAPPED | SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION;

/// The longest single wait for a busy pipe. The deadline is checked between two waits.
const WAIT: Duration = Duration::from_millis(500);

/// Opens the pipe; waits for a free instance up to `timeout`.
pub(super) fn open(name: &str, timeout: Duration) -> io::Result<OwnedHandle> {
    let name = wide(name)?;
    let deadline = Instant::now().checked_add(timeout);
    open_with(deadline, || open_once(&name), || wait_for_instance(&name, deadline))
}

/// Opens until it succeeds, the deadline has passed, or an error other than ERROR_PIPE_BUSY occurs. It waits
/// between two tries; a wait that fails with another error than ERROR_SEM_TIMEOUT ends it, so that no busy
/// loop results.
fn open_with<T>(
    deadline: Option<Instant>,
    mut open: impl FnMut() -> io::Result<T>,
    mut wait: impl FnMut() -> io::Result<()>,
) -> io::Result<T> {
    loop {
        match open() {
            Err(error) if code(&error) == Some(ERROR_PIPE_BUSY) => {
                if deadline.is_some_and(|at| at <= Instant::now()) {
                    return Err(error);
                }
                match wait() {
                    Err(error) if code(&error) == Some(ERROR_SEM_TIMEOUT) => {}
                    waited => waited?,
                }
            }
            opened => return opened,
        }
    }
}

/// Whether the pipe has an instance, free or not. Does not connect to it.
pub(super) fn is_there(name: &str) -> bool {
    let Ok(name) = wide(name) else {
        return false;
    };
    // SAFETY: the name has its terminating zero.
    match check(unsafe { WaitNamedPipeW(name.as_ptr(), 1) }) {
        Ok(_) => true,
        Err(error) => code(&error) == Some(ERROR_SEM_TIMEOUT),
    }
}

fn open_once(name: &U16CStr) -> io::Result<OwnedHandle> {
    // SAFETY: the name has its terminating zero, the other pointers are null. The handle returned is
    // new and ours.
    unsafe {
        own(CreateFileW(name.as_ptr(), CLIENT_RIGHTS, 0, null(), OPEN_EXISTING, FLAGS, null_mut()))
    }
}

/// Waits until an instance may be free. The next open decides: another client may be faster, or the server
/// may have closed.
///
/// # Errors
/// `ERROR_SEM_TIMEOUT`: none was free during the wait; `ERROR_FILE_NOT_FOUND`: the server has closed.
fn wait_for_instance(name: &U16CStr, deadline: Option<Instant>) -> io::Result<()> {
    let at_most = WAIT.as_millis() as u32;
    // Zero would mean the time-out that the server has set (NMPWAIT_USE_DEFAULT_WAIT).
    let millis = millis_until(deadline).clamp(1, at_most);
    // SAFETY: the name has its terminating zero.
    check(unsafe { WaitNamedPipeW(name.as_ptr(), millis) })?;
    // If another client was faster, an immediate retry could repeat for long.
    std::thread::yield_now();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use windows_sys::Win32::Foundation::{ERROR_ACCESS_DENIED, ERROR_FILE_NOT_FOUND};

    #[test]
    fn a_client_opens_at_the_level_of_identification() {
        /// The two bits of the impersonation level (CreateFile): anonymous, identification, impersonation,
        /// delegation.
        const LEVEL: u32 = 3 << 16;
        assert_eq!(FLAGS & LEVEL, SECURITY_IDENTIFICATION);
        assert_eq!(FLAGS & SECURITY_SQOS_PRESENT, SECURITY_SQOS_PRESENT);
    }

    /// A wait that is refused returns at once: repeating it would keep a CPU busy until the deadline, which
    /// may be never.
    #[test]
    fn a_failed_wait_ends_the_open_and_a_wait_that_timed_out_does_not() {
        let failed = |code: u32| io::Error::from_raw_os_error(code as i32);
        let ended_by = |waits: &[Option<u32>], deadline| {
            let mut waits = waits.iter();
            let opened = open_with::<()>(
                deadline,
                || Err(failed(ERROR_PIPE_BUSY)),
                || waits.next().unwrap().map_or(Ok(()), |code| Err(failed(code))),
            );
            (code(&opened.unwrap_err()).unwrap(), waits.len())
        };
        let passing = [None, Some(ERROR_SEM_TIMEOUT), None];
        for refused in [ERROR_ACCESS_DENIED, ERROR_FILE_NOT_FOUND] {
            let waits = [&passing[..], &[Some(refused), None]].concat();
            assert_eq!(ended_by(&waits, None), (refused, 1));
        }
        // At the deadline the pipe is busy, and no wait was made.
        assert_eq!(ended_by(&passing, Some(Instant::now())), (ERROR_PIPE_BUSY, 3));
        let (mut tries, mut waits) = (0, 0);
        let opened = open_with(
            None,
            || {
                tries += 1;
                if tries < 3 { Err(failed(ERROR_PIPE_BUSY)) } else { Ok(tries) }
            },
            || {
                waits += 1;
                Ok(())
            },
        );
        assert_eq!((opened.unwrap(), waits), (3, 2));
    }
}
