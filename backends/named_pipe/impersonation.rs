//! Acting as a client for as long as it takes to ask who it is, and never longer.

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

/// The user as whom the client of an instance acts, by the token that the system keeps of it: it is that
/// of who opened the pipe, or of who wrote to it last, whatever became of the process.
///
/// # Errors
/// `ERROR_CANNOT_IMPERSONATE`: it opened the pipe so that its token is that of each write (a client that
/// says nothing about it does), and has written nothing yet.
pub(super) fn client_user(pipe: BorrowedHandle<'_>) -> io::Result<String> {
    match as_client(pipe, current_user) {
        Err(error) if code(&error) == Some(ERROR_CANNOT_IMPERSONATE) => {
            see_the_first_byte(pipe)?;
            as_client(pipe, current_user)
        }
        user => user,
    }
}

/// Looks at the first byte that waits, if one does: with it the system has the token of its writer.
fn see_the_first_byte(pipe: BorrowedHandle<'_>) -> io::Result<()> {
    let mut byte = 0_u8;
    // SAFETY: the handle is open, the buffer is one byte, and the numbers are not asked for.
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

/// Does something as the client of `pipe`, then goes on as before, whatever happens.
fn as_client<T>(pipe: BorrowedHandle<'_>, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    // The application may act as somebody else itself, on this thread.
    let before = match thread_token(TOKEN_IMPERSONATE | TOKEN_QUERY) {
        Err(error) if code(&error) == Some(ERROR_NO_TOKEN) => None,
        token => Some(token?),
    };
    let revert = Revert { before };
    // SAFETY: the handle is open; one that is no instance's makes the call fail.
    check(unsafe { ImpersonateNamedPipeClient(pipe.as_raw_handle()) })?;
    let done = act();
    drop(revert);
    done
}

/// Ends an impersonation, also when there is a panic.
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
            // The process would go on with a client's rights instead of its own. Its documentation says
            // what to do (RevertToSelf): shut down.
            std::process::abort();
        }
    }
}

fn current_user() -> io::Result<String> {
    user_of_token(&thread_token(TOKEN_QUERY)?)
}

/// The token as which this thread acts, opened with the rights of the process.
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
    use crate::backends::named_pipe::instance::{self, Which};
    use std::fs::{File, OpenOptions};
    use std::io::Write;
    use std::os::windows::io::AsHandle;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use windows_sys::Win32::Security::{ImpersonateSelf, SecurityImpersonation};

    fn pair(name: &str) -> (OwnedHandle, File) {
        let pipe = format!(r"\\.\pipe\msgpipe.{name}.{}", std::process::id());
        let descriptor = descriptor(&Access::Owner, &"a test".into()).unwrap();
        let instance = instance::create(&wide(&pipe).unwrap(), Which::First, &descriptor).unwrap();
        let client = OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
        (instance, client)
    }

    fn acts_as_itself() -> bool {
        thread_token(TOKEN_QUERY).is_err_and(|error| code(&error) == Some(ERROR_NO_TOKEN))
    }

    #[test]
    fn a_client_is_known_by_its_token_and_the_thread_goes_on_as_itself() {
        let (instance, mut client) = pair("token");
        // Silent as yet: a system may not know it then.
        match client_user(instance.as_handle()) {
            Ok(user) => assert_eq!(user, own_sid().unwrap()),
            Err(error) => assert_eq!(code(&error), Some(ERROR_CANNOT_IMPERSONATE), "{error}"),
        }
        assert!(acts_as_itself());
        client.write_all(b"hello").unwrap();
        assert_eq!(client_user(instance.as_handle()).unwrap(), own_sid().unwrap());
        assert!(acts_as_itself());
        // It is still known when it has gone.
        drop(client);
        assert_eq!(client_user(instance.as_handle()).unwrap(), own_sid().unwrap());
        assert!(acts_as_itself());
    }

    #[test]
    fn a_panic_leaves_no_thread_with_the_rights_of_a_client() {
        let (instance, mut client) = pair("panic");
        client.write_all(b"hello").unwrap();
        see_the_first_byte(instance.as_handle()).unwrap();
        let acting =
            || as_client::<()>(instance.as_handle(), || panic!("while it acts as another"));
        assert!(catch_unwind(AssertUnwindSafe(acting)).is_err());
        assert!(acts_as_itself());
    }

    /// A service may poll on a thread that acts as one of its users.
    #[test]
    fn what_the_application_acts_as_is_what_it_acts_as_again() {
        let (instance, mut client) = pair("again");
        client.write_all(b"hello").unwrap();
        // SAFETY: no pointers; it ends with the thread of this test.
        check(unsafe { ImpersonateSelf(SecurityImpersonation) }).unwrap();
        assert!(!acts_as_itself());
        assert_eq!(client_user(instance.as_handle()).unwrap(), own_sid().unwrap());
        assert!(!acts_as_itself(), "the application's own impersonation is gone");
        // SAFETY: no pointers.
        check(unsafe { RevertToSelf() }).unwrap();
    }
}
