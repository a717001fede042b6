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
