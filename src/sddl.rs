//! The access to a pipe as a security descriptor, in text. A pure function: the user is passed in, so that it is computed and
//! tested on every system. `backends/named_pipe/security.rs` gives it to the system.
#![forbid(unsafe_code)]

use crate::access::{Access, Principal};

/// The rights of users other than the owner: read and write data and attributes, read the DACL, wait. The
/// generic right to write is not given: on a pipe it contains the right to create instances, with which a
/// process could take clients away from the server ([Named Pipe Security and Access Rights]). The system
/// removes that right from what a *client* requests before it checks the DACL, so a client that requests
/// `GENERIC_READ | GENERIC_WRITE`, as most do, is admitted all the same.
///
/// [Named Pipe Security and Access Rights]: https://learn.microsoft.com/windows/win32/ipc/named-pipe-security-and-access-rights
const CLIENT_RIGHTS: &str = "0x12019b";

/// Everyone (`WD`). The pipe itself rejects clients of other machines.
const EVERYONE: &str = "S-1-1-0";

/// LocalSystem (`SY`).
const SYSTEM: &str = "S-1-5-18";

/// The most sub-authorities of a security identifier (winnt.h, SID_MAX_SUB_AUTHORITIES).
const SUB_AUTHORITIES_MAX: usize = 15;

/// The largest identifier authority: it has 6 bytes.
const AUTHORITY_MAX: u64 = (1 << 48) - 1;

/// Why an [`Access`] has no security descriptor; see [`Access::sddl`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SddlError {
    /// A text that should be a security identifier is none, or one of its numbers is over what fits into it. Nothing else may
    /// be put into an entry: other text could end it and begin another, and a number that is too large could be taken for
    /// another one.
    #[error("{text:?} is no security identifier like S-1-5-32-545")]
    NotASid {
        /// The text.
        text: String,
    },
    /// [`Access::Custom`] has no setting for Windows.
    #[error("no SDDL is given for this system: set it in Access::Custom")]
    Missing,
}

impl Access {
    /// The security descriptor that the pipe of a server with this access has on Windows, if the server's user has the
    /// security identifier `owner`. In the security descriptor definition language (SDDL), for logs and checks; the function
    /// is pure, and works on every system.
    ///
    /// It names the owner (`O:`), and has a protected DACL (`D:P`) of entries that allow (`A`): all rights (`GA`) for the
    /// owner and for LocalSystem (`SY`), which counts as the owner, and the rights to read and write for the others. Principals
    /// of other systems are left out. [`Access::Custom`] is taken as it is; only the owner is put before it, if it names none
    /// with `O:` at its beginning. The owner is named because a client identifies the server by it: without it, an elevated
    /// process would make the Administrators the owner.
    ///
    /// # Errors
    /// See [`SddlError`].
    ///
    /// ```
    /// use msgpipe::Access;
    /// let sddl = Access::Everyone.sddl("S-1-5-21-1-2-3-1001")?;
    /// assert_eq!(
    ///     sddl,
    ///     "O:S-1-5-21-1-2-3-1001D:P(A;;GA;;;S-1-5-21-1-2-3-1001)(A;;GA;;;SY)(A;;0x12019b;;;S-1-1-0)"
    /// );
    /// # Ok::<_, msgpipe::SddlError>(())
    /// ```
    pub fn sddl(&self, owner: &str) -> Result<String, SddlError> {
        let owner = checked(owner)?;
        let mut sddl = format!("O:{owner}D:P(A;;GA;;;{owner})");
        if owner != SYSTEM {
            sddl.push_str("(A;;GA;;;SY)");
        }
        let mut allow = |who: &str| sddl.push_str(&format!("(A;;{CLIENT_RIGHTS};;;{who})"));
        match self {
            Access::Owner => {}
            Access::Everyone => allow(EVERYONE),
            Access::Only(principals) => {
                for principal in principals {
                    match principal {
                        Principal::Sid(sid) => allow(checked(sid)?),
                        Principal::Uid(_) | Principal::Gid(_) => {}
                    }
                }
            }
            Access::Custom { sddl: Some(given), .. } if given.trim_start().starts_with("O:") => {
                return Ok(given.clone());
            }
            Access::Custom { sddl: Some(given), .. } => return Ok(format!("O:{owner}{given}")),
            Access::Custom { sddl: None, .. } => return Err(SddlError::Missing),
        }
        Ok(sddl)
    }
}

/// The text, if it is a security identifier.
fn checked(text: &str) -> Result<&str, SddlError> {
    match is_sid(text) {
        true => Ok(text),
        false => Err(SddlError::NotASid { text: text.to_owned() }),
    }
}

/// `S-1-`, the authority, and at least one sub-authority: all of them decimal numbers, each within its bytes.
fn is_sid(text: &str) -> bool {
    let number = |part: &str, most: u64| {
        let is_decimal = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        is_decimal && part.parse::<u64>().is_ok_and(|number| number <= most)
    };
    let parts: Vec<&str> = text.split('-').collect();
    let [prefix, revision, authority, rest @ ..] = &parts[..] else { return false };
    prefix.eq_ignore_ascii_case("S")
        && *revision == "1"
        && number(authority, AUTHORITY_MAX)
        && (1..=SUB_AUTHORITIES_MAX).contains(&rest.len())
        && rest.iter().all(|part| number(part, u32::MAX.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: &str = "S-1-5-21-1-2-3-1001";

    fn only(sid: &str) -> Access {
        Access::Only(vec![Principal::Uid(7), Principal::Sid(sid.to_owned()), Principal::Gid(7)])
    }

    /// A service that runs as LocalSystem is the owner already.
    #[test]
    fn local_system_has_one_entry() {
        let sddl = |owner| Access::Owner.sddl(owner).unwrap();
        assert_eq!(sddl(SYSTEM), "O:S-1-5-18D:P(A;;GA;;;S-1-5-18)");
        assert_eq!(sddl("S-1-5-19"), "O:S-1-5-19D:P(A;;GA;;;S-1-5-19)(A;;GA;;;SY)");
    }

    /// Bit 2 is FILE_CREATE_PIPE_INSTANCE, bit 30 GENERIC_WRITE, which contains it.
    #[test]
    fn others_may_read_and_write_and_create_no_instances() {
        let rights = u32::from_str_radix(&CLIENT_RIGHTS[2..], 16).unwrap();
        assert_eq!(rights & (1 << 2 | 1 << 30), 0);
        for (access, who) in [(only("S-1-5-32-545"), "S-1-5-32-545"), (Access::Everyone, EVERYONE)]
        {
            let sddl = access.sddl(USER).unwrap();
            assert_eq!(sddl.matches('(').count(), 3, "{sddl}");
            assert!(sddl.ends_with(&format!("(A;;{CLIENT_RIGHTS};;;{who})")), "{sddl}");
        }
    }

    #[test]
    fn custom_sddl_is_unchanged_except_for_the_owner() {
        let custom = |sddl: &str| Access::Custom { sddl: Some(sddl.to_owned()), mode: None };
        let with_owner = format!("O:{USER}D:(A;;GA;;;WD)");
        assert_eq!(custom("D:(A;;GA;;;WD)").sddl(USER).unwrap(), with_owner);
        assert_eq!(custom("O:BAD:(A;;GA;;;WD)").sddl(USER).unwrap(), "O:BAD:(A;;GA;;;WD)");
        let nothing = Access::Custom { sddl: None, mode: Some(0o600) };
        assert_eq!(nothing.sddl(USER), Err(SddlError::Missing));
    }

    #[test]
    fn only_a_valid_sid_becomes_an_entry() {
        for (text, fits) in [
            ("S-1-5-32-545", true),
            ("s-1-1-0", true),
            ("S-1", false),
            ("S-1-", false),
            ("S-1-5", false),
            ("S-1-5-", false),
            ("S--5", false),
            ("S-1-5-+7", false),
            ("S-2-5-7", false),
            ("WD", false),
            ("S-1-5-7)(A;;GA;;;WD", false),
            ("", false),
        ] {
            let refused = || SddlError::NotASid { text: text.to_owned() };
            assert_eq!(only(text).sddl(USER).err(), (!fits).then(refused), "{text:?}");
            assert_eq!(Access::Owner.sddl(text).err(), (!fits).then(refused), "{text:?}");
        }
    }

    /// A system that counts modulo 2^32 would take S-1-5-4294967314 for S-1-5-18.
    #[test]
    fn each_number_of_a_sid_has_its_limit() {
        let of = |count: usize| format!("S-1-5{}", "-7".repeat(count));
        for (text, fits) in [
            ("S-1-5-4294967294".to_owned(), true),
            ("S-1-5-4294967295".to_owned(), true),
            ("S-1-5-4294967296".to_owned(), false),
            ("S-1-5-4294967314".to_owned(), false),
            ("S-1-281474976710654-7".to_owned(), true),
            ("S-1-281474976710655-7".to_owned(), true),
            ("S-1-281474976710656-7".to_owned(), false),
            (format!("S-1-5-{}", "9".repeat(30)), false),
            (of(14), true),
            (of(15), true),
            (of(16), false),
        ] {
            assert_eq!(only(&text).sddl(USER).is_ok(), fits, "{text}");
        }
    }
}
