//! The security descriptor of a pipe: which users may open it.

use super::handle::wide;
use super::identity::own_sid;
use crate::access::Access;
use crate::error::Error;
use interprocess::os::windows::security_descriptor::{
    AsSecurityDescriptorExt as _, SecurityDescriptor,
};
use std::sync::Arc;
use windows_sys::Win32::Security::SECURITY_ATTRIBUTES;

/// The rights that a client requests: those that [`Access::sddl`] gives to other users than the owner.
pub(super) const CLIENT_RIGHTS: u32 = 0x0012_019B;

/// The descriptor of [`Access::sddl`] for the user of this process.
pub(super) fn descriptor(access: &Access, name: &Arc<str>) -> Result<SecurityDescriptor, Error> {
    let insecure = |problem| Error::Insecure { endpoint: name.clone(), problem };
    let sid = own_sid().map_err(|source| Error::system(name, "asking who we are", source))?;
    let sddl = access.sddl(sid).map_err(|error| insecure(error.to_string()))?;
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
    use crate::access::Principal;
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
        let name = wide(&format!(r"\\.\pipe\msgpipe.others.{}", std::process::id())).unwrap();
        let users = Principal::Sid("S-1-5-32-545".into());
        for (access, who) in
            [(Access::Only(vec![Principal::Uid(7), users]), "BU"), (Access::Everyone, "WD")]
        {
            let descriptor = descriptor(&access, &"a test".into()).unwrap();
            let sddl = sddl_of(&instance::create(&name, InstanceKind::First, &descriptor).unwrap());
            assert_eq!(sddl.matches('(').count(), 3, "{sddl}");
            assert!(sddl.contains(&format!("(A;;{CLIENT_RIGHTS:#x};;;{who})")), "{sddl}");
        }
    }

    #[test]
    fn sddl_that_the_system_does_not_take_is_an_error_that_names_it() {
        let custom = Access::Custom { sddl: Some("D:(A;;nonsense".to_owned()), mode: None };
        let error = descriptor(&custom, &"the notes".into()).unwrap_err();
        assert!(error.to_string().contains("the notes"), "{error}");
        assert!(error.to_string().contains("nonsense"), "{error}");
    }
}
