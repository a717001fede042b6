//! Which names are valid, and the errors for the others.

use std::path::Path;

/// The longest plain name in bytes. With it a socket's path in `/run/user/UID`, or in a home whose own path
/// has up to 24 bytes, stays below 104 bytes, the smallest limit of all systems. Where it does not, as in
/// macOS's long directories, the next place is used ([`Endpoint`](crate::Endpoint)).
///
/// ```
/// let longest = "n".repeat(msgpipe::NAME_MAX);
/// assert!(msgpipe::Endpoint::name(&longest).is_ok());
/// ```
pub const NAME_MAX: usize = 64;

/// The longest pipe name in characters, `\\.\pipe\` included (`CreateNamedPipeW`).
pub(super) const PIPE_MAX: usize = 256;

/// The longest abstract name in bytes: `sun_path` less its leading zero (`unix(7)`).
pub(super) const ABSTRACT_MAX: usize = 107;

pub(super) const PIPE_PREFIX: &str = r"\\.\pipe\";

/// Why a name is not valid as an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The name is empty.
    #[error("an endpoint's name is empty: give it one, like com.example.notes")]
    Empty,
    /// The name is longer than the system or this crate allows.
    #[error("the name {name:?} has {len} bytes, the limit is {limit}: shorten it")]
    TooLong {
        /// The name.
        name: String,
        /// Its length in bytes (for a pipe in UTF-16 units).
        len: usize,
        /// The limit in the same unit.
        limit: usize,
    },
    /// The name contains a character that is not allowed on every system.
    #[error(
        "the name {name:?} contains {character:?}: use ASCII letters, digits, '.', '-' and '_'; for an exact pipe or path use Endpoint::pipe or Endpoint::path"
    )]
    Character {
        /// The name.
        name: String,
        /// The first such character.
        character: char,
    },
    /// The name begins with a dot, a hyphen or an underscore.
    #[error("the name {name:?} does not begin with an ASCII letter or a digit: put one first")]
    Beginning {
        /// The name.
        name: String,
    },
    /// The name is not a pipe of this machine.
    #[error(
        r"{name:?} is no pipe of this machine: it must be \\.\pipe\ and a name without backslashes"
    )]
    NotAPipe {
        /// The name.
        name: String,
    },
    /// The system does not support this kind of endpoint.
    #[error(
        "{endpoint} is {kind}, which this system does not support: use a name like com.example.notes"
    )]
    NotHere {
        /// The endpoint.
        endpoint: String,
        /// The kind as text.
        kind: &'static str,
    },
}

pub(super) fn check_name(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if let Some(character) = name.chars().find(|&c| !allowed(c)) {
        return Err(NameError::Character { name: name.to_owned(), character });
    }
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Err(NameError::Beginning { name: name.to_owned() });
    }
    check_length(name, name.len(), NAME_MAX)
}

pub(super) fn check_pipe(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    let (prefix, rest) = name.split_at_checked(PIPE_PREFIX.len()).unwrap_or((name, ""));
    let not_a_pipe = !prefix.eq_ignore_ascii_case(PIPE_PREFIX);
    if not_a_pipe || rest.is_empty() || rest.contains(['\\', '/', '\0']) {
        return Err(NameError::NotAPipe { name: name.to_owned() });
    }
    check_length(name, name.encode_utf16().count(), PIPE_MAX)
}

pub(super) fn check_path(path: &Path) -> Result<(), NameError> {
    let bytes = path.as_os_str().as_encoded_bytes();
    if bytes.is_empty() {
        return Err(NameError::Empty);
    }
    if bytes.contains(&0) {
        return Err(NameError::Character { name: path.display().to_string(), character: '\0' });
    }
    Ok(())
}

pub(super) fn check_abstract(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.contains('\0') {
        return Err(NameError::Character { name: name.to_owned(), character: '\0' });
    }
    check_length(name, name.len(), ABSTRACT_MAX)
}

/// Checks a length against its limit.
pub(super) fn check_length(name: &str, len: usize, limit: usize) -> Result<(), NameError> {
    if len <= limit {
        return Ok(());
    }
    Err(NameError::TooLong { name: name.to_owned(), len, limit })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_work_everywhere_are_taken() {
        for name in ["a", "0", "com.example.notes", "Notes_2-beta", &"x".repeat(NAME_MAX)] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn each_bad_name_gets_its_own_error() {
        let name = |name: &str| name.to_owned();
        assert_eq!(check_name(""), Err(NameError::Empty));
        for (bad, character) in
            [("a/b", '/'), ("a\\b", '\\'), ("ä", 'ä'), ("a b", ' '), ("a\0", '\0')]
        {
            assert_eq!(check_name(bad), Err(NameError::Character { name: name(bad), character }));
        }
        for bad in [".", "..", "-a", "_a"] {
            assert_eq!(check_name(bad), Err(NameError::Beginning { name: name(bad) }));
        }
    }

    #[test]
    fn lengths_are_exact() {
        type Check = fn(&str) -> Result<(), NameError>;
        let cases: [(Check, &str, usize); 3] = [
            (check_name, "", NAME_MAX),
            (check_pipe, PIPE_PREFIX, PIPE_MAX),
            (check_abstract, "", ABSTRACT_MAX),
        ];
        for (check, prefix, limit) in cases {
            for len in [limit - 1, limit, limit + 1] {
                let name = format!("{prefix}{}", "x".repeat(len - prefix.len()));
                let fits = if len <= limit {
                    Ok(())
                } else {
                    Err(NameError::TooLong { name: name.clone(), len, limit })
                };
                assert_eq!(check(&name), fits);
            }
        }
    }

    #[test]
    fn only_pipes_of_this_machine_are_pipes() {
        for good in [r"\\.\pipe\mynamedpipe", r"\\.\PIPE\x"] {
            assert_eq!(check_pipe(good), Ok(()));
        }
        for bad in [
            "x",
            r"\\.\pipe\",
            r"\\.\pipe\a\b",
            r"\\server\pipe\x",
            "\\\\.\\pipe\\a\0",
            r"\\.\mailslot\x",
        ] {
            assert_eq!(check_pipe(bad), Err(NameError::NotAPipe { name: bad.to_owned() }));
        }
    }

    #[test]
    fn a_path_needs_at_least_a_character_and_no_zero() {
        assert_eq!(check_path(Path::new("")), Err(NameError::Empty));
        assert!(check_path(Path::new("a\0b")).is_err());
        assert_eq!(check_path(Path::new("a")), Ok(()));
    }
}
