//! The identities of a pipe's ends and of this process: security identifiers (SIDs) as strings.

use super::handle::{check, own};
use super::impersonation::client_user;
use super::token::{sid_to_string, user_of_token};
use crate::access::{Trust, Users};
use crate::peer::Peer;
use std::io;
use std::os::windows::io::{AsRawHandle, BorrowedHandle, OwnedHandle};
use std::ptr::null_mut;
use std::sync::OnceLock;
use windows_sys::Win32::Foundation::{HANDLE, LocalFree};
use windows_sys::Win32::Security::Authorization::{GetSecurityInfo, SE_KERNEL_OBJECT};
use windows_sys::Win32::Security::{OWNER_SECURITY_INFORMATION, PSID, TOKEN_QUERY};
use windows_sys::Win32::System::Pipes::{GetNamedPipeClientProcessId, GetNamedPipeServerProcessId};
use windows_sys::Win32::System::Threading::{
    GetCurrentProcess, OpenProcess, OpenProcessToken, PROCESS_QUERY_LIMITED_INFORMATION,
};

/// The SID of LocalSystem, which can act as any user, as root can on Unix.
pub(super) const SYSTEM: &str = "S-1-5-18";

/// The user of this process. It does not change, so it is queried once.
pub(super) fn own_sid() -> io::Result<&'static str> {
    static SID: OnceLock<String> = OnceLock::new();
    if let Some(sid) = SID.get() {
        return Ok(sid);
    }
    // SAFETY: the pseudo handle needs no closing and is always valid.
    let sid = user_of(unsafe { GetCurrentProcess() })?;
    Ok(SID.get_or_init(|| sid))
}

/// The identity of the client of an instance.
///
/// The SID is that of the token that the system keeps of the client (see `impersonation`). Where it has none
/// yet, the client's process could be queried by its id; but the id may by then be that of another process,
/// and a client can arrange that. So the process counts only where all users with access are trusted equally
/// (`owner_only`): the DACL is for the owner alone. Otherwise the SID stays unknown.
pub(super) fn client_of(pipe: BorrowedHandle<'_>, owner_only: bool) -> io::Result<Peer> {
    let mut pid = 0;
    // SAFETY: the handle is open for as long as it is borrowed, and `pid` outlives the call.
    check(unsafe { GetNamedPipeClientProcessId(pipe.as_raw_handle(), &mut pid) })?;
    let by_process = |_| if owner_only { sid_of_process(pid).ok() } else { None };
    Ok(peer(pid, client_user(pipe).map_or_else(by_process, Some)))
}

fn peer(pid: u32, sid: Option<String>) -> Peer {
    let same_user = sid.is_some() && sid.as_deref() == own_sid().ok();
    Peer { pid: Some(pid), sid, same_user, ..Peer::default() }
}

/// Whether a client trusts `server`.
pub(super) fn trusts(trust: &Trust, server: &Peer) -> bool {
    let ours = server.same_user || server.sid.as_deref() == Some(SYSTEM);
    Users::from(trust).include(server, ours, Vec::new)
}

/// The identity of the server of the pipe that `client` is an end of. The SID is that of the pipe's owner: a
/// process id could have been reused for another process meanwhile, while no user can make another user the
/// owner of an object it creates.
pub(super) fn server_of(client: BorrowedHandle<'_>) -> io::Result<Peer> {
    let mut pid = 0;
    // SAFETY: the handle is open for as long as it is borrowed, and `pid` outlives the call.
    check(unsafe { GetNamedPipeServerProcessId(client.as_raw_handle(), &mut pid) })?;
    Ok(peer(pid, owner_of(client)?))
}

/// The owner of an object, if it has one. On Windows every object has one; on Wine only an object that was
/// given a security descriptor with an owner.
fn owner_of(object: BorrowedHandle<'_>) -> io::Result<Option<String>> {
    let mut owner: PSID = null_mut();
    let mut descriptor = null_mut();
    // SAFETY: the handle is open for as long as it is borrowed; `owner` will point into
    // `descriptor`, which is ours to free.
    let status = unsafe {
        GetSecurityInfo(
            object.as_raw_handle(),
            SE_KERNEL_OBJECT,
            OWNER_SECURITY_INFORMATION,
            &mut owner,
            null_mut(),
            null_mut(),
            null_mut(),
            &mut descriptor,
        )
    };
    if status != 0 {
        return Err(io::Error::from_raw_os_error(status as i32));
    }
    // SAFETY: the call succeeded, so `owner` is null or a valid identifier inside `descriptor`.
    let sid = (!owner.is_null()).then(|| unsafe { sid_to_string(owner) });
    // SAFETY: `descriptor` was allocated by the call for us, and `owner` is not used any more.
    unsafe { LocalFree(descriptor) };
    sid.transpose()
}

fn sid_of_process(pid: u32) -> io::Result<String> {
    // SAFETY: no pointers; the handle returned is new and ours.
    let process = unsafe { own(OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, 0, pid))? };
    user_of(process.as_raw_handle())
}

/// The user of a process's token.
fn user_of(process: HANDLE) -> io::Result<String> {
    let mut token = null_mut();
    // SAFETY: `process` is open (both callers hold it), and `token` outlives the call.
    check(unsafe { OpenProcessToken(process, TOKEN_QUERY, &mut token) })?;
    // SAFETY: the call has just returned it, and it is ours.
    let token: OwnedHandle = unsafe { own(token)? };
    user_of_token(&token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_sid_is_the_one_that_others_see() {
        let own = own_sid().unwrap();
        assert!(own.starts_with("S-1-5-"), "{own}");
        assert_eq!(sid_of_process(std::process::id()).unwrap(), own);
    }
}
