//! The overflow uid and gid: the numbers that stand for all unmapped users and groups
//! (`user_namespaces(7)`, "Unmapped user and group IDs").
//!
//! In a user namespace that does not map every user, the overflow uid identifies no user: all unmapped users
//! have it, and so does the user of that number, if the namespace has one. A peer with it is therefore
//! unknown. Outside of such namespaces it is an ordinary user, usually `nobody`.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::OnceLock;

/// The kernel's default, used if `/proc/sys/kernel/overflowuid` cannot be read.
const KERNEL_DEFAULT: u32 = 65_534;

/// Whether this system has user namespaces.
const HAS_NAMESPACES: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// The number of all ids: every value except the last, which means "none" (`user_namespaces(7)`).
const ALL: u32 = u32::MAX;

/// Whether `uid` stands for unmapped users.
pub(super) fn is_user(uid: u32) -> bool {
    static OVERFLOW: OnceLock<u32> = OnceLock::new();
    if !HAS_NAMESPACES {
        return false;
    }
    let overflow = *OVERFLOW.get_or_init(|| overflow_in("/proc/sys/kernel/overflowuid"));
    // Read the map each time: a process may change its namespace.
    uid == overflow && !maps_every_id_in("/proc/self/uid_map")
}

/// Whether `gid` stands for unmapped groups.
pub(super) fn is_group(gid: u32) -> bool {
    static OVERFLOW: OnceLock<u32> = OnceLock::new();
    if !HAS_NAMESPACES {
        return false;
    }
    let overflow = *OVERFLOW.get_or_init(|| overflow_in("/proc/sys/kernel/overflowgid"));
    gid == overflow && !maps_every_id_in("/proc/self/gid_map")
}

fn overflow_in(file: &str) -> u32 {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.trim().parse().unwrap_or(KERNEL_DEFAULT)
}

/// Whether the namespace maps every user. A kernel without user namespaces has no such file and maps every
/// user. A file that cannot be read counts as a namespace that does not.
fn maps_every_id_in(file: &str) -> bool {
    match fs::read_to_string(file) {
        Ok(map) => is_identity_map(&map),
        Err(error) => error.kind() == ErrorKind::NotFound && Path::new("/proc/self").exists(),
    }
}

/// Whether a map is the identity for all users.
fn is_identity_map(map: &str) -> bool {
    let numbers: Vec<Option<u32>> = map.split_whitespace().map(|n| n.parse().ok()).collect();
    numbers == [Some(0), Some(0), Some(ALL)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_identity_map_maps_every_user() {
        assert!(is_identity_map("         0          0 4294967295\n"));
        for map in [
            "",
            "0 0 65536\n",
            "0 1000 1\n",
            "0 0 4294967294\n",
            "0 100000 4294967295\n",
            "0 0 65534\n65535 65535 4294901760\n",
            "not a map",
        ] {
            assert!(!is_identity_map(map), "{map:?}");
        }
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[test]
    fn a_system_without_namespaces_maps_every_user() {
        assert!(maps_every_id_in("/proc/self/no_such_map"));
        assert!(!maps_every_id_in("/proc/self")); // which cannot be read
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[test]
    fn an_unreadable_number_is_the_kernels_default() {
        assert_eq!(overflow_in("/no/such/file"), KERNEL_DEFAULT);
        // The value depends on the machine, but no test user has it.
        assert!(overflow_in("/proc/sys/kernel/overflowuid") > 60_010);
    }
}
