//! The directory of a socket's file: made where it is ours to make, and checked: nobody else may be
//! able to put something in the socket's place.

use super::identity::{Owner, owner_of};
use crate::Risk;
use crate::error::Error;
use rustix::fs::{FileType, Mode, Stat};
use rustix::io::Errno;
use std::path::Path;
use std::sync::Arc;

const OWN: Mode = Mode::RWXU;

/// How many symbolic links may follow one another: as many as Linux follows (`path_resolution(7)`).
const LINKS: usize = 40;

pub(super) fn insecure(endpoint: &Arc<str>, problem: String) -> Error {
    Error::Insecure { endpoint: endpoint.clone(), problem }
}

/// Whether a directory of this user's may hold what only this user may put there: it is one, it is
/// ours, and nobody else can write to it.
pub(super) fn is_safe(directory: &Path) -> bool {
    let stat = rustix::fs::stat(directory);
    stat.is_ok_and(|stat| {
        let mode = Mode::from_raw_mode(stat.st_mode);
        FileType::from_raw_mode(stat.st_mode) == FileType::Directory
            && owner_of(stat.st_uid) == Owner::Us
            && !mode.intersects(Mode::WGRP | Mode::WOTH)
    })
}

/// Makes a directory of this crate's own, if it is not there, and checks that it is one: real, ours,
/// closed to others. What it lies in [is safe](is_safe).
pub(super) fn make_private(directory: &Path, endpoint: &Arc<str>) -> Result<(), Error> {
    let failed = |error: Errno| Error::system(endpoint, "making its directory", error.into());
    match rustix::fs::mkdir(directory, OWN) {
        Ok(()) => {
            // What the umask took away; others it has never been open to.
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

/// Checks the directory of a socket at a path of the caller's choice, and the way to it. `path` is
/// absolute.
pub(super) fn check(path: &Path, risks: &[Risk], endpoint: &Arc<str>) -> Result<(), Error> {
    let failed = |error: Errno| Error::system(endpoint, "looking at its directory", error.into());
    let parent = path.parent().unwrap_or(Path::new("/"));
    let what = format!("its directory {}", parent.display());
    let stat = rustix::fs::stat(parent).map_err(|error| match error {
        Errno::NOENT => insecure(endpoint, format!("{what} does not exist: make it")),
        error => failed(error),
    })?;
    let may_be_shared = risks.contains(&Risk::SharedDirectory);
    if let Some(problem) = fault_in(&stat, &what, may_be_shared, risks) {
        return Err(insecure(endpoint, problem));
    }
    check_way(parent, LINKS, risks, endpoint)
}

/// Looks at each directory on the way to one, and at the links: who can replace one of them can
/// replace all that lies behind it.
fn check_way(
    directory: &Path,
    links: usize,
    risks: &[Risk],
    endpoint: &Arc<str>,
) -> Result<(), Error> {
    let failed = |error| Error::system(endpoint, "looking at its directory", error);
    let mut way: Vec<&Path> = directory.ancestors().collect();
    way.reverse();
    for step in way {
        let stat = rustix::fs::lstat(step).map_err(|error| failed(error.into()))?;
        let what = format!("{}, on the way to it,", step.display());
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            // What is ours in a sticky directory nobody else can replace.
            if let Some(problem) = fault_in(&stat, &what, true, risks) {
                return Err(insecure(endpoint, problem));
            }
            continue;
        }
        if let Some(problem) = owner_fault(&stat, &what, risks) {
            return Err(insecure(endpoint, problem));
        }
        let links = links.checked_sub(1).ok_or_else(|| failed(Errno::LOOP.into()))?;
        let target = std::fs::read_link(step).map_err(failed)?;
        let base = step.parent().unwrap_or(Path::new("/"));
        check_way(&base.join(target), links, risks, endpoint)?;
    }
    Ok(())
}

/// What is wrong with a directory in which others could put something in the place of what is ours.
/// In a sticky one they cannot, but they can be there first (`unlink(2)`, EPERM).
fn fault_in(stat: &Stat, what: &str, sticky_will_do: bool, risks: &[Risk]) -> Option<String> {
    if let Some(problem) = owner_fault(stat, what, risks) {
        return Some(problem);
    }
    let mode = Mode::from_raw_mode(stat.st_mode);
    let (is_open, is_sticky) =
        (mode.intersects(Mode::WGRP | Mode::WOTH), mode.contains(Mode::SVTX));
    match (is_open, is_sticky) {
        (false, _) => None,
        (true, true) if sticky_will_do => None,
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
