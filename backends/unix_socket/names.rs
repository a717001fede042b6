//! The names that this user's servers have.

use super::address::own_directories;
use crate::endpoint::Endpoint;
use crate::error::Error;
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::Arc;

/// The plain names of which there is a socket in a directory of this user's.
pub(crate) fn names() -> Result<Vec<String>, Error> {
    let mut names = BTreeSet::new();
    for directory in own_directories() {
        let added = add(&directory, &mut names);
        added.map_err(|error| {
            let directory: Arc<str> = directory.display().to_string().into();
            Error::system(&directory, "listing the names in it", error)
        })?;
    }
    Ok(names.into_iter().collect())
}

fn add(directory: &Path, names: &mut BTreeSet<String>) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let file = entry.file_name();
        let name = file.to_str().and_then(|file| file.strip_suffix(".sock"));
        // It may be gone by now.
        let is_socket = entry.file_type().is_ok_and(|kind| kind.is_socket());
        if let Some(name) = name.filter(|name| is_socket && is_own(name)) {
            names.insert(name.to_owned());
        }
    }
    Ok(())
}

/// Whether an endpoint of this name has a file that is called so. `UPPER.sock` is another program's: the endpoint `UPPER` is
/// `upper.sock`.
fn is_own(name: &str) -> bool {
    Endpoint::name(name).is_ok() && !name.contains(|c: char| c.is_ascii_uppercase())
}
