//! The directory of a socket's file: created for a plain name, and checked: no other user may be able to
//! replace the socket.

use super::identity::{Owner, owner_of};
use crate::Risk;
use crate::error::Error;
use rustix::fs::{FileType, Mode, Stat};
use rustix::io::Errno;
use std::path::Path;
use std::sync::Arc;

const OWN: Mode = Mode::RWXU;

/// The longest chain of symbolic links: as many as Linux follows (`path_resolution(7)`).
const LINKS: usize = 40;

pub(super) fn insecure(endpoint: &Arc<str>, problem: String) -> Error {
    Error::Insecure { endpoint: endpoint.clone(), problem }
}

/// Whether only this user can write to a directory: it is a directory, this user owns it, and neither group nor
/// others may write.
pub(super) fn is_safe(directory: &Path) -> bool {
    let stat = rustix::fs::stat(directory);
    stat.is_ok_and(|stat| {
        let mode = Mode::from_raw_mode(stat.st_mode);
        FileType::from_raw_mode(stat.st_mode) == FileType::Directory
            && owner_of(stat.st_uid) == Owner::Us
            && !mode.intersects(Mode::WGRP | Mode::WOTH)
    })
}

/// Creates a directory of this crate if it does not exist, and checks it: a real directory, owned by this user,
/// closed to others. Its parent [is safe](is_safe).
pub(super) fn make_private(directory: &Path, endpoint: &Arc<str>) -> Result<(), Error> {
    let failed = |error: Errno| Error::system(endpoint, "creating its directory", error.into());
    match rustix::fs::mkdir(directory, OWN) {
        Ok(()) => {
            // The umask may have removed bits. It was never open to others.
            let made = Mode::from_raw_mode(rustix::fs::stat(directory).map_err(failed)?.st_mode);
            if !made.contains(OWN) {
                rustix::fs::chmod(directory, made | OWN).map_err(failed)?;
            }
        }
        Err(Errno::EXIST) => {}
        Err(error) => return Err(failed(error)),
    }
    check_private(directory, endpoint)
}

fn check_private(directory: &Path, endpoint: &Arc<str>) -> Result<(), Error> {
    let stat = rustix::fs::lstat(directory)
        .map_err(|error| Error::system(endpoint, "looking at its directory", error.into()))?;
    let shown = directory.display();
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Err(insecure(endpoint, format!("{shown} is not a directory: remove it")));
    }
    let owner = owner_of(stat.st_uid);
    if owner != Owner::Us {
        return Err(insecure(endpoint, format!("{shown} belongs to {owner}: remove it")));
    }
    let open = Mode::from_raw_mode(stat.st_mode) & (Mode::RWXG | Mode::RWXO);
    if !open.is_empty() {
        return Err(insecure(endpoint, format!("{shown} is open to others: chmod 700 it")));
    }
    Ok(())
}

/// Checks the directory of a socket at an exact path, and each component of the path to it. `path` is
/// absolute.
pub(super) fn check(path: &Path, risks: &[Risk], endpoint: &Arc<str>) -> Result<(), Error> {
    let failed = |error: Errno| Error::system(endpoint, "looking at its directory", error.into());
    let parent = path.parent().unwrap_or(Path::new("/"));
    let what = format!("its directory {}", parent.display());
    let stat = rustix::fs::stat(parent).map_err(|error| match error {
        Errno::NOENT => insecure(endpoint, format!("{what} does not exist: create it")),
        error => failed(error),
    })?;
    let may_be_shared = risks.contains(&Risk::SharedDirectory);
    if let Some(problem) = fault_in(&stat, &what, may_be_shared, risks) {
        return Err(insecure(endpoint, problem));
    }
    check_components(parent, LINKS, risks, endpoint)
}

/// Checks each directory and link of a path: a user who can replace one of them can replace everything
/// below it.
fn check_components(
    directory: &Path,
    links: usize,
    risks: &[Risk],
    endpoint: &Arc<str>,
) -> Result<(), Error> {
    let failed = |error| Error::system(endpoint, "looking at its directory", error);
    let mut components: Vec<&Path> = directory.ancestors().collect();
    components.reverse();
    for component in components {
        let stat = rustix::fs::lstat(component).map_err(|error| failed(error.into()))?;
        let what = format!("{}, a directory of its path,", component.display());
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            // In a sticky directory other users cannot replace this user's files.
            if let Some(problem) = fault_in(&stat, &what, true, risks) {
                return Err(insecure(endpoint, problem));
            }
            continue;
        }
        if let Some(problem) = owner_fault(&stat, &what, risks) {
            return Err(insecure(endpoint, problem));
        }
        let links = links.checked_sub(1).ok_or_else(|| failed(Errno::LOOP.into()))?;
        let target = std::fs::read_link(component).map_err(failed)?;
        let base = component.parent().unwrap_or(Path::new("/"));
        check_components(&base.join(target), links, risks, endpoint)?;
    }
    Ok(())
}

/// Why other users could replace a file of this user in a directory. In a sticky directory they cannot
/// (`unlink(2)`, EPERM), but they can create the file first.
fn fault_in(stat: &Stat, what: &str, sticky_is_fine: bool, risks: &[Risk]) -> Option<String> {
    if let Some(problem) = owner_fault(stat, what, risks) {
        return Some(problem);
    }
    let mode = Mode::from_raw_mode(stat.st_mode);
    let (is_open, is_sticky) =
        (mode.intersects(Mode::WGRP | Mode::WOTH), mode.contains(Mode::SVTX));
    match (is_open, is_sticky) {
        (false, _) => None,
        (true, true) if sticky_is_fine => None,
        (true, true) => Some(format!(
            "others can write to {what}: choose one of your own, or accept \
             Risk::SharedDirectory in ServerOptions"
        )),
        (true, false) => Some(format!("others can write to {what}: choose one of your own")),
    }
}

fn owner_fault(stat: &Stat, what: &str, risks: &[Risk]) -> Option<String> {
    let owner = owner_of(stat.st_uid);
    let remedy = match owner {
        Owner::Us | Owner::Root => return None,
        Owner::Unknown if risks.contains(&Risk::UnknownOwner) => return None,
        Owner::Unknown => "choose another place, or accept Risk::UnknownOwner in ServerOptions",
        Owner::Other(_) => "choose one of your own",
    };
    Some(format!("{what} belongs to {owner}: {remedy}"))
}
