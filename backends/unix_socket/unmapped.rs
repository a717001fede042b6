//! The number that stands for every user whom the kernel cannot name: the overflow uid, and the
//! same of groups (`user_namespaces(7)`, "Unmapped user and group IDs").
//!
//! In a user namespace that does not map every user it is nobody's: all strangers have it at once,
//! and so does the user of that number, if the namespace has one. Who has it is therefore taken for
//! unknown. Outside of such namespaces it is an ordinary user's, usually `nobody`, and counts as one.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::OnceLock;

/// The kernel's own value, where the system does not let it be read (`/proc/sys/kernel/overflowuid`).
const KERNEL_DEFAULT: u32 = 65_534;

/// Whether this system has namespaces of users at all.
const HAS_NAMESPACES: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// Every number but the last, which means "none" (`user_namespaces(7)`).
const ALL: u32 = u32::MAX;

/// Whether `uid` stands for users that have no number here.
pub(super) fn is_user(uid: u32) -> bool {
    static OVERFLOW: OnceLock<u32> = OnceLock::new();
    if !HAS_NAMESPACES {
        return false;
    }
    let overflow = *OVERFLOW.get_or_init(|| overflow_in("/proc/sys/kernel/overflowuid"));
    // The map is read each time: a process may change its namespace.
    uid == overflow && !has_all("/proc/self/uid_map")
}

/// Whether `gid` stands for groups that have no number here.
pub(super) fn is_group(gid: u32) -> bool {
    static OVERFLOW: OnceLock<u32> = OnceLock::new();
    if !HAS_NAMESPACES {
        return false;
    }
    let overflow = *OVERFLOW.get_or_init(|| overflow_in("/proc/sys/kernel/overflowgid"));
    gid == overflow && !has_all("/proc/self/gid_map")
}

fn overflow_in(file: &str) -> u32 {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.trim().parse().unwrap_or(KERNEL_DEFAULT)
}

/// Whether the namespace has a number for everybody, as in a system that knows no namespaces of users
/// and so has no such file. What cannot be read is taken for one that has not.
fn has_all(file: &str) -> bool {
    match fs::read_to_string(file) {
        Ok(map) => maps_all(&map),
        Err(error) => error.kind() == ErrorKind::NotFound && Path::new("/proc/self").exists(),
    }
}

/// Whether a map has one line for all users, and leaves each as it is.
fn maps_all(map: &str) -> bool {
    let numbers: Vec<Option<u32>> = map.split_whitespace().map(|n| n.parse().ok()).collect();
    numbers == [Some(0), Some(0), Some(ALL)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_map_that_changes_nothing_has_everybody() {
        assert!(maps_all("         0          0 4294967295\n"));
        for map in [
            "",
            "0 0 65536\n",
            "0 1000 1\n",
            "0 0 4294967294\n",
            "0 100000 4294967295\n",
            "0 0 65534\n65535 65535 4294901760\n",
            "not a map",
        ] {
            assert!(!maps_all(map), "{map:?}");
        }
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[test]
    fn a_system_without_namespaces_has_everybody() {
        assert!(has_all("/proc/self/no_such_map"));
        assert!(!has_all("/proc/self")); // which cannot be read
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[test]
    fn a_number_that_cannot_be_read_is_the_kernels_own() {
        assert_eq!(overflow_in("/no/such/file"), KERNEL_DEFAULT);
        // Whatever the machine says, it is one that no test user has.
        assert!(overflow_in("/proc/sys/kernel/overflowuid") > 60_010);
    }
}
