//! Impersonation of a client for as long as the query of its user takes, and never longer.

use super::handle::{check, code, own};
use super::token::user_of_token;
use std::io;
use std::os::windows::io::{AsRawHandle, BorrowedHandle, OwnedHandle};
use std::ptr::{null, null_mut};
use windows_sys::Win32::Foundation::{ERROR_CANNOT_IMPERSONATE, ERROR_NO_TOKEN};
use windows_sys::Win32::Security::{
    RevertToSelf, TOKEN_ACCESS_MASK, TOKEN_IMPERSONATE, TOKEN_QUERY,
};
use windows_sys::Win32::System::Pipes::{ImpersonateNamedPipeClient, PeekNamedPipe};
use windows_sys::Win32::System::Threading::{GetCurrentThread, OpenThreadToken, SetThreadToken};

/// The user of an instance's client, by the token that the system keeps of it: the token of the pipe's
/// opener, or of the last writer, also after that process has ended.
///
/// # Errors
/// `ERROR_CANNOT_IMPERSONATE`: the client opened the pipe so that its token is that of each write (the
/// default of an open that does not specify it), and has written nothing yet.
pub(super) fn client_user(pipe: BorrowedHandle<'_>) -> io::Result<String> {
    match as_client(pipe, current_user) {
        Err(error) if code(&error) == Some(ERROR_CANNOT_IMPERSONATE) => {
            peek_first_byte(pipe)?;
            as_client(pipe, current_user)
        }
        user => user,
    }
}

/// Peeks at the first available byte, if there is one: from then on the system has the token of its writer.
fn peek_first_byte(pipe: BorrowedHandle<'_>) -> io::Result<()> {
    let mut byte = 0_u8;
    // SAFETY: the handle is open, the buffer is one byte, and the pointers to the numbers are null.
    check(unsafe {
        PeekNamedPipe(
            pipe.as_raw_handle(),
            (&raw mut byte).cast(),
            1,
            null_mut(),
            null_mut(),
            null_mut(),
        )
    })
}

/// Runs `act` as the client of `pipe`, then restores the thread's token, also after a panic.
fn as_client<T>(pipe: BorrowedHandle<'_>, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    // The application itself may impersonate a user on this thread.
    let before = match thread_token(TOKEN_IMPERSONATE | TOKEN_QUERY) {
        Err(error) if code(&error) == Some(ERROR_NO_TOKEN) => None,
        token => Some(token?),
    };
    let revert = Revert { before };
    // SAFETY: the handle is open; one that is not an instance's makes the call fail.
    check(unsafe { ImpersonateNamedPipeClient(pipe.as_raw_handle()) })?;
    let done = act();
    drop(revert);
    done
}

/// Ends an impersonation, also after a panic.
struct Revert {
    before: Option<OwnedHandle>,
}

impl Drop for Revert {
    fn drop(&mut self) {
        let reverted = match &self.before {
            // SAFETY: no pointers.
            None => check(unsafe { RevertToSelf() }),
            // SAFETY: null means this thread, and the token is open and may be used so.
            Some(token) => check(unsafe { SetThreadToken(null(), token.as_raw_handle()) }),
        };
        if reverted.is_err() {
            // The process would go on with a client's rights instead of its own. The documentation of
            // RevertToSelf says what to do: shut down.
            std::process::abort();
        }
    }
}

fn current_user() -> io::Result<String> {
    user_of_token(&thread_token(TOKEN_QUERY)?)
}

/// The token that this thread impersonates, opened with the rights of the process.
fn thread_token(rights: TOKEN_ACCESS_MASK) -> io::Result<OwnedHandle> {
    let mut token = null_mut();
    // SAFETY: the pseudo handle is always valid, and `token` outlives the call.
    check(unsafe { OpenThreadToken(GetCurrentThread(), rights, 1, &mut token) })?;
    // SAFETY: the call has just returned it, and it is ours.
    unsafe { own(token) }
}

#[cfg(test)]
mod tests {
    use super::super::identity::own_sid;
    use super::super::security::descriptor;
    use super::*;
    use crate::Access;
    use crate::backends::named_pipe::handle::wide;
    use crate::backends::named_pipe::instance::{self, InstanceKind};
    use std::fs::{File, OpenOptions};
    use std::io::Write;
    use std::os::windows::io::AsHandle;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use windows_sys::Win32::Security::{ImpersonateSelf, SecurityImpersonation};

    fn pair(name: &str) -> (OwnedHandle, File) {
        let pipe = format!(r"\\.\pipe\msgpipe.{name}.{}", std::process::id());
        let descriptor = descriptor(&Access::Owner, &"a test".into()).unwrap();
        let instance =
            instance::create(&wide(&pipe).unwrap(), InstanceKind::First, &descriptor).unwrap();
        let client = OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
        (instance, client)
    }

    fn impersonates_nobody() -> bool {
        thread_token(TOKEN_QUERY).is_err_and(|error| code(&error) == Some(ERROR_NO_TOKEN))
    }

    #[test]
    fn a_client_is_identified_by_its_token_and_the_impersonation_is_reverted() {
        let (instance, mut client) = pair("token");
        // The client has written nothing yet: a system may not know its token then.
        match client_user(instance.as_handle()) {
            Ok(user) => assert_eq!(user, own_sid().unwrap()),
            Err(error) => assert_eq!(code(&error), Some(ERROR_CANNOT_IMPERSONATE), "{error}"),
        }
        assert!(impersonates_nobody());
        client.write_all(b"hello").unwrap();
        assert_eq!(client_user(instance.as_handle()).unwrap(), own_sid().unwrap());
        assert!(impersonates_nobody());
        // The token is still known after the client has closed.
        drop(client);
        assert_eq!(client_user(instance.as_handle()).unwrap(), own_sid().unwrap());
        assert!(impersonates_nobody());
    }

    #[test]
    fn a_panic_reverts_the_impersonation() {
        let (instance, mut client) = pair("panic");
        client.write_all(b"hello").unwrap();
        peek_first_byte(instance.as_handle()).unwrap();
        let panics = || as_client::<()>(instance.as_handle(), || panic!("while it impersonates"));
        assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
        assert!(impersonates_nobody());
    }

    /// A service may poll on a thread that impersonates one of its users.
    #[test]
    fn the_impersonation_of_the_application_is_restored() {
        let (instance, mut client) = pair("again");
        client.write_all(b"hello").unwrap();
        // SAFETY: no pointers; the impersonation ends with the thread of this test.
        check(unsafe { ImpersonateSelf(SecurityImpersonation) }).unwrap();
        assert!(!impersonates_nobody());
        assert_eq!(client_user(instance.as_handle()).unwrap(), own_sid().unwrap());
        assert!(!impersonates_nobody(), "the application's own impersonation has ended");
        // SAFETY: no pointers.
        check(unsafe { RevertToSelf() }).unwrap();
    }
}
