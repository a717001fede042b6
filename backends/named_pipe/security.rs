//! Who may open a pipe.

use super::handle::wide;
use super::identity::own_sid;
use interprocess::os::windows::security_descriptor::{
    AsSecurityDescriptorExt as _, SecurityDescriptor,
};
use std::io;
use windows_sys::Win32::Security::SECURITY_ATTRIBUTES;

/// A descriptor that gives this user, and nobody else, everything. In the security descriptor
/// definition language: the owner (`O:`), a protected access list (`D:P`) of one entry that allows
/// (`A`) everything (`GA`).
///
/// The owner is named because it is what a client looks at to know who serves: without it, a
/// process with raised rights would make the Administrators the owner.
pub(super) fn owner_only_sddl(sid: &str) -> String {
    format!("O:{sid}D:P(A;;GA;;;{sid})")
}

/// The descriptor of [`owner_only_sddl`] for the user of this process.
pub(super) fn owner_only() -> io::Result<SecurityDescriptor> {
    SecurityDescriptor::deserialize(&wide(&owner_only_sddl(own_sid()?))?)
}

/// The attributes that give an object this descriptor, and keep its handle out of child processes.
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
mod tests {
    use super::*;
    use crate::backends::named_pipe::handle::check;
    use crate::backends::named_pipe::instance::{self, Which};
    use std::os::windows::io::{AsRawHandle, OwnedHandle};
    use std::ptr::null_mut;
    use widestring::U16CStr;
    use windows_sys::Win32::Foundation::LocalFree;
    use windows_sys::Win32::Security::Authorization::{
        ConvertSecurityDescriptorToStringSecurityDescriptorW, GetSecurityInfo, SDDL_REVISION_1,
        SE_KERNEL_OBJECT,
    };
    use windows_sys::Win32::Security::{DACL_SECURITY_INFORMATION, OWNER_SECURITY_INFORMATION};

    /// The owner and the access list of an instance, as the system has them.
    fn sddl_of(instance: &OwnedHandle) -> String {
        let what = OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION;
        let (mut descriptor, mut text) = (null_mut(), null_mut());
        let handle = instance.as_raw_handle();
        // SAFETY: the handle is open; the parts that are not asked for are null; `descriptor` is
        // ours to free.
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

    /// Wine does not enforce access lists: what can be shown is that every instance has the right
    /// one. Windows gives back "everything" as the rights of a file that it stands for.
    #[test]
    fn every_instance_belongs_to_its_user_alone() {
        let name = wide(&format!(r"\\.\pipe\msgpipe.security.{}", std::process::id())).unwrap();
        let descriptor = owner_only().unwrap();
        let sid = own_sid().unwrap();
        for which in [Which::First, Which::Further, Which::Further] {
            let sddl = sddl_of(&instance::create(&name, which, &descriptor).unwrap());
            assert!(sddl.starts_with(&format!("O:{sid}")), "{sddl}");
            let list = sddl.split("D:").nth(1).expect("an access list");
            assert!(list.starts_with('P'), "inherited entries could be added: {sddl}");
            assert_eq!(list.matches('(').count(), 1, "{sddl}");
            let everything = ["GA", "FA"].map(|rights| format!("(A;;{rights};;;{sid})"));
            assert!(everything.iter().any(|entry| list.ends_with(entry.as_str())), "{sddl}");
        }
    }
}
