//! The security descriptor of a pipe: which users may open it.

use super::handle::wide;
use super::identity::{SYSTEM, own_sid};
use crate::access::{Access, Principal};
use crate::error::Error;
use interprocess::os::windows::security_descriptor::{
    AsSecurityDescriptorExt as _, SecurityDescriptor,
};
use std::sync::Arc;
use windows_sys::Win32::Security::SECURITY_ATTRIBUTES;

/// The rights of users other than the owner: read and write data and attributes, read the DACL, wait. The
/// generic right to write is not given: on a pipe it contains the right to create instances, with which a
/// process could take clients away from the server ([Named Pipe Security and Access Rights]). The system
/// removes that right from what a *client* requests before it checks the DACL, so a client that requests
/// `GENERIC_READ | GENERIC_WRITE`, as most do, is admitted all the same.
///
/// [Named Pipe Security and Access Rights]: https://learn.microsoft.com/windows/win32/ipc/named-pipe-security-and-access-rights
pub(super) const CLIENT_RIGHTS: u32 = 0x0012_019B;

/// Everyone (`WD`). The pipe itself rejects clients of other machines.
const EVERYONE: &str = "S-1-1-0";

/// The security descriptor for a pipe of the user `sid`, in the security descriptor definition language
/// (SDDL): the owner (`O:`), and a protected DACL (`D:P`) of entries that allow (`A`). The first entry gives
/// all rights (`GA`) to the owner, the second to LocalSystem (`SY`), which counts as the owner.
///
/// The owner is named because a client identifies the server by it: without it, an elevated process would
/// make the Administrators the owner.
///
/// # Errors
/// What is wrong with the access that the caller requested.
pub(super) fn sddl(access: &Access, sid: &str) -> Result<String, String> {
    let mut sddl = format!("O:{sid}D:P(A;;GA;;;{sid})");
    if sid != SYSTEM {
        sddl.push_str("(A;;GA;;;SY)");
    }
    let mut allow = |who: &str| sddl.push_str(&format!("(A;;{CLIENT_RIGHTS:#x};;;{who})"));
    match access {
        Access::Owner => {}
        Access::Everyone => allow(EVERYONE),
        Access::Only(principals) => {
            for principal in principals {
                match principal {
                    Principal::Sid(sid) if is_sid(sid) => allow(sid),
                    Principal::Sid(text) => {
                        return Err(format!(
                            "{text:?} is no security identifier like S-1-5-32-545"
                        ));
                    }
                    // A principal of another system.
                    _ => {}
                }
            }
        }
        Access::Custom { sddl: Some(given), .. } if given.trim_start().starts_with("O:") => {
            return Ok(given.clone());
        }
        Access::Custom { sddl: Some(given), .. } => return Ok(format!("O:{sid}{given}")),
        Access::Custom { sddl: None, .. } => {
            return Err("no SDDL is given for this system: set it in Access::Custom".to_owned());
        }
    }
    Ok(sddl)
}

/// Only a SID may be put between the brackets of an entry: other text could close them.
fn is_sid(text: &str) -> bool {
    let mut parts = text.split('-');
    let number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    parts.next().is_some_and(|s| s.eq_ignore_ascii_case("S"))
        && text.matches('-').count() >= 2
        && parts.all(number)
}

/// The descriptor of [`sddl`] for the user of this process.
pub(super) fn descriptor(access: &Access, name: &Arc<str>) -> Result<SecurityDescriptor, Error> {
    let insecure = |problem| Error::Insecure { endpoint: name.clone(), problem };
    let sid = own_sid().map_err(|source| Error::system(name, "asking who we are", source))?;
    let sddl = sddl(access, sid).map_err(insecure)?;
    let parsed = wide(&sddl).and_then(|sddl| SecurityDescriptor::deserialize(&sddl));
    parsed.map_err(|error| insecure(format!("the system does not take the SDDL {sddl}: {error}")))
}

/// The attributes that give an object this descriptor, and keep child processes from inheriting its handle.
/// They hold a pointer to the descriptor, so they must not outlive it.
pub(super) fn attributes(descriptor: &SecurityDescriptor) -> SECURITY_ATTRIBUTES {
    let mut attributes = SECURITY_ATTRIBUTES {
        nLength: size_of::<SECURITY_ATTRIBUTES>() as u32,
        lpSecurityDescriptor: std::ptr::null_mut(),
        bInheritHandle: 0,
    };
    descriptor.write_to_security_attributes(&mut attributes);
    attributes
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::backends::named_pipe::handle::check;
    use crate::backends::named_pipe::instance::{self, InstanceKind};
    use std::os::windows::io::AsRawHandle;
    use std::ptr::null_mut;
    use widestring::U16CStr;
    use windows_sys::Win32::Foundation::LocalFree;
    use windows_sys::Win32::Security::Authorization::{
        ConvertSecurityDescriptorToStringSecurityDescriptorW, GetSecurityInfo, SDDL_REVISION_1,
        SE_KERNEL_OBJECT,
    };
    use windows_sys::Win32::Security::{DACL_SECURITY_INFORMATION, OWNER_SECURITY_INFORMATION};

    /// The owner and the DACL of a pipe, as the system reports them, by either end of it.
    pub(in crate::backends::named_pipe) fn sddl_of(instance: &impl AsRawHandle) -> String {
        let what = OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION;
        let (mut descriptor, mut text) = (null_mut(), null_mut());
        let handle = instance.as_raw_handle();
        // SAFETY: the handle is open; the parts that are not requested are null; `descriptor` is ours to
        // free.
        let status = unsafe {
            GetSecurityInfo(
                handle,
                SE_KERNEL_OBJECT,
                what,
                null_mut(),
                null_mut(),
                null_mut(),
                null_mut(),
                &mut descriptor,
            )
        };
        assert_eq!(status, 0);
        // SAFETY: the descriptor is the one that has just been returned; `text` is ours to free.
        check(unsafe {
            ConvertSecurityDescriptorToStringSecurityDescriptorW(
                descriptor,
                SDDL_REVISION_1,
                what,
                &mut text,
                null_mut(),
            )
        })
        .unwrap();
        // SAFETY: the call succeeded, so this is a string with a terminating zero.
        let string = unsafe { U16CStr::from_ptr_str(text) }.to_string_lossy();
        // SAFETY: both were allocated for us and are not used any more.
        unsafe {
            LocalFree(text.cast());
            LocalFree(descriptor);
        }
        string
    }

    /// Wine does not enforce DACLs: the test shows that every instance has the right one. Windows returns all
    /// rights as those of a file (`FA`).
    #[test]
    fn by_default_the_owner_and_local_system_have_access() {
        let name = wide(&format!(r"\\.\pipe\msgpipe.security.{}", std::process::id())).unwrap();
        let descriptor = descriptor(&Access::Owner, &"a test".into()).unwrap();
        let sid = own_sid().unwrap();
        for kind in [InstanceKind::First, InstanceKind::Additional, InstanceKind::Additional] {
            let sddl = sddl_of(&instance::create(&name, kind, &descriptor).unwrap());
            assert!(sddl.starts_with(&format!("O:{sid}")), "{sddl}");
            let list = sddl.split("D:").nth(1).expect("an access list");
            assert!(list.starts_with('P'), "inherited entries could be added: {sddl}");
            let all = ["GA", "FA"].map(|all| format!("P(A;;{all};;;{sid})(A;;{all};;;SY)"));
            assert!(all.iter().any(|entries| list == entries.as_str()), "{sddl}");
        }
    }

    #[test]
    fn others_may_read_and_write_and_create_no_instances() {
        const FILE_CREATE_PIPE_INSTANCE: u32 = 4;
        const GENERIC_WRITE: u32 = 0x4000_0000;
        assert_eq!(CLIENT_RIGHTS & (FILE_CREATE_PIPE_INSTANCE | GENERIC_WRITE), 0);
        let name = wide(&format!(r"\\.\pipe\msgpipe.others.{}", std::process::id())).unwrap();
        let users = Principal::Sid("S-1-5-32-545".into());
        for (access, who) in
            [(Access::Only(vec![Principal::Uid(7), users]), "BU"), (Access::Everyone, "WD")]
        {
            let descriptor = descriptor(&access, &"a test".into()).unwrap();
            let sddl = sddl_of(&instance::create(&name, InstanceKind::First, &descriptor).unwrap());
            assert_eq!(sddl.matches('(').count(), 3, "{sddl}");
            assert!(sddl.contains(&format!("(A;;0x12019b;;;{who})")), "{sddl}");
        }
    }

    /// A service that runs as LocalSystem is the owner already.
    #[test]
    fn local_system_has_one_entry() {
        assert_eq!(sddl(&Access::Owner, SYSTEM).unwrap(), "O:S-1-5-18D:P(A;;GA;;;S-1-5-18)");
        assert_eq!(
            sddl(&Access::Owner, "S-1-5-7").unwrap(),
            "O:S-1-5-7D:P(A;;GA;;;S-1-5-7)(A;;GA;;;SY)"
        );
    }

    #[test]
    fn custom_sddl_is_unchanged_except_for_the_owner() {
        let custom = |sddl: &str| Access::Custom { sddl: Some(sddl.to_owned()), mode: None };
        assert_eq!(sddl(&custom("D:(A;;GA;;;WD)"), "S-1-5-7").unwrap(), "O:S-1-5-7D:(A;;GA;;;WD)");
        assert_eq!(sddl(&custom("O:BAD:(A;;GA;;;WD)"), "S-1-5-7").unwrap(), "O:BAD:(A;;GA;;;WD)");
        let nothing = Access::Custom { sddl: None, mode: Some(0o600) };
        assert!(sddl(&nothing, "S-1-5-7").unwrap_err().contains("no SDDL"));
        let error = descriptor(&custom("D:(A;;nonsense"), &"the notes".into()).unwrap_err();
        assert!(error.to_string().contains("the notes"), "{error}");
        assert!(error.to_string().contains("nonsense"), "{error}");
    }

    #[test]
    fn only_a_valid_sid_becomes_an_entry() {
        for (text, fits) in [
            ("S-1-5-32-545", true),
            ("s-1-1-0", true),
            ("S-1", false),
            ("S-1-", false),
            ("S--5", false),
            ("WD", false),
            ("S-1-5-7)(A;;GA;;;WD", false),
            ("", false),
        ] {
            let access = Access::Only(vec![Principal::Sid(text.to_owned())]);
            assert_eq!(sddl(&access, "S-1-5-7").is_ok(), fits, "{text:?}");
        }
    }
}
