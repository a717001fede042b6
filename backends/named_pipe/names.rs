//! The names that this user's servers have.

use super::identity::own_sid;
use crate::endpoint::Endpoint;
use crate::error::Error;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::sync::Arc;

/// The directory of all pipes of the machine. It can be listed by everyone
/// (<https://learn.microsoft.com/windows/win32/ipc/pipe-names>; as `Get-ChildItem \\.\pipe\` does).
const PIPES: &str = r"\\.\pipe\";

/// The plain names of which there is a pipe of this user's.
pub(crate) fn names() -> Result<Vec<String>, Error> {
    listed().map_err(|error| {
        let pipes: Arc<str> = PIPES.into();
        Error::system(&pipes, "listing the names in it", error)
    })
}

fn listed() -> io::Result<Vec<String>> {
    let sid = own_sid()?;
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(PIPES)? {
        names.extend(name_of(&entry?.file_name().to_string_lossy(), sid));
    }
    Ok(names.into_iter().collect())
}

/// The plain name of this pipe, if it is of this user.
fn name_of(pipe: &str, sid: &str) -> Option<String> {
    // The system compares names of pipes without regard to case.
    let pipe = pipe.to_ascii_lowercase();
    let name = pipe.strip_suffix(&sid.to_ascii_lowercase())?.strip_suffix('.')?;
    Endpoint::name(name).ok()?;
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pipes_of_this_user_have_plain_names() {
        let sid = "S-1-5-21-1-2-3-1001";
        let endpoint = Endpoint::name("Com.Example.Notes").unwrap().pipe_name(sid).unwrap();
        let pipe = endpoint.strip_prefix(PIPES).unwrap();
        assert_eq!(name_of(pipe, sid).as_deref(), Some("com.example.notes"));
        assert_eq!(name_of(&pipe.to_ascii_uppercase(), sid).as_deref(), Some("com.example.notes"));
        for other in [
            "lsass",
            sid,
            ".S-1-5-21-1-2-3-1001",
            "a b.S-1-5-21-1-2-3-1001",
            "xS-1-5-21-1-2-3-1001",
        ] {
            assert_eq!(name_of(other, sid), None, "{other}");
        }
        assert_eq!(name_of("notes.S-1-5-21-1-2-3-11001", sid), None);
    }
}
