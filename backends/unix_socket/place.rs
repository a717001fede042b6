//! The file of a socket: its directory, what may be there before, and its end.

use super::identity::effective_user;
use super::lock::NameLock;
use crate::error::Error;
use rustix::fs::{FileType, Mode, Stat};
use rustix::io::Errno;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file of a listening socket. Dropping it removes the file, then gives the name free.
pub(super) struct Place {
    path: PathBuf,
    /// Which file it is: a later one at the same path is not ours.
    file: (u64, u64),
    _lock: NameLock,
}

impl Place {
    /// The place of a socket that has just been bound to `path`.
    pub fn new(path: &Path, lock: NameLock) -> io::Result<Place> {
        let stat = rustix::fs::lstat(path)?;
        Ok(Place { path: path.to_owned(), file: file_of(&stat), _lock: lock })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if rustix::fs::lstat(&self.path).is_ok_and(|stat| file_of(&stat) == self.file) {
            // If it cannot be removed it is stale, and the next server removes it.
            let _: Result<(), Errno> = rustix::fs::unlink(&self.path);
        }
    }
}

/// What makes a file that file. The types of the fields differ between systems.
#[allow(clippy::unnecessary_cast)]
fn file_of(stat: &Stat) -> (u64, u64) {
    (stat.st_dev as u64, stat.st_ino as u64)
}

fn insecure(endpoint: &Arc<str>, problem: String) -> Error {
    Error::Insecure { endpoint: endpoint.clone(), problem }
}

/// Makes the private directory if there is one to be made, and checks that nobody else can put
/// something in the socket's place.
pub(super) fn prepare_directory(
    path: &Path,
    private: Option<&Path>,
    endpoint: &Arc<str>,
) -> Result<(), Error> {
    if let Some(private) = private {
        if let Some(parent) = private.parent() {
            // A directory like /tmp does: what is ours there nobody else can replace.
            check_parent(parent, true, endpoint)?;
        }
        let failed = |error: Errno| Error::system(endpoint, "making its directory", error.into());
        match rustix::fs::mkdir(private, Mode::RWXU) {
            // Whatever the umask took away.
            Ok(()) => rustix::fs::chmod(private, Mode::RWXU).map_err(failed)?,
            Err(Errno::EXIST) => {}
            Err(error) => return Err(failed(error)),
        }
        return check_private(private, endpoint);
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    check_parent(parent, false, endpoint)?;
    let parent = std::path::absolute(parent)
        .map_err(|error| Error::system(endpoint, "looking at its directory", error))?;
    check_way(&parent, LINKS, endpoint)
}

/// How many symbolic links may follow one another: as many as Linux follows (`path_resolution(7)`).
const LINKS: usize = 40;

/// Looks at each directory on the way to one of the caller's choice, and at the links: who can replace
/// one of them can replace all that lies behind it.
fn check_way(directory: &Path, links: usize, endpoint: &Arc<str>) -> Result<(), Error> {
    let failed = |error| Error::system(endpoint, "looking at its directory", error);
    let mut way: Vec<&Path> = directory.ancestors().collect();
    way.reverse();
    for step in way {
        let stat = rustix::fs::lstat(step).map_err(|error| failed(error.into()))?;
        let shown = step.display();
        if stat.st_uid != effective_user() && stat.st_uid != 0 {
            let problem = format!("{shown}, on the way to it, belongs to user {}", stat.st_uid);
            return Err(insecure(endpoint, problem));
        }
        if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
            let links = links.checked_sub(1).ok_or_else(|| failed(Errno::LOOP.into()))?;
            let target = std::fs::read_link(step).map_err(failed)?;
            let base = step.parent().unwrap_or(Path::new("/"));
            check_way(&base.join(target), links, endpoint)?;
            continue;
        }
        let mode = Mode::from_raw_mode(stat.st_mode);
        if mode.intersects(Mode::WGRP | Mode::WOTH) && !mode.contains(Mode::SVTX) {
            let problem = format!(
                "others can write to {shown}, on the way to it: choose a place of your own"
            );
            return Err(insecure(endpoint, problem));
        }
    }
    Ok(())
}

/// A directory of this crate's own: a real directory, ours, closed to others.
fn check_private(directory: &Path, endpoint: &Arc<str>) -> Result<(), Error> {
    let stat = rustix::fs::lstat(directory)
        .map_err(|error| Error::system(endpoint, "looking at its directory", error.into()))?;
    let shown = directory.display();
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Err(insecure(endpoint, format!("{shown} is not a directory: remove it")));
    }
    if stat.st_uid != effective_user() {
        return Err(insecure(
            endpoint,
            format!(
                "{shown} belongs to user {}: use another name or $XDG_RUNTIME_DIR",
                stat.st_uid
            ),
        ));
    }
    let open = Mode::from_raw_mode(stat.st_mode) & (Mode::RWXG | Mode::RWXO);
    if !open.is_empty() {
        return Err(insecure(endpoint, format!("{shown} is open to others: chmod 700 it")));
    }
    Ok(())
}

/// A directory of the caller's choice: nobody but its owner may be able to put something in the
/// socket's place. In a `sticky` one others cannot replace what is there, but be there first.
fn check_parent(directory: &Path, sticky: bool, endpoint: &Arc<str>) -> Result<(), Error> {
    let shown = directory.display();
    let stat = rustix::fs::stat(directory).map_err(|error| match error {
        Errno::NOENT => {
            insecure(endpoint, format!("its directory {shown} does not exist: make it"))
        }
        error => Error::system(endpoint, "looking at its directory", error.into()),
    })?;
    if stat.st_uid != effective_user() && stat.st_uid != 0 {
        return Err(insecure(
            endpoint,
            format!("its directory {shown} belongs to user {}", stat.st_uid),
        ));
    }
    let mode = Mode::from_raw_mode(stat.st_mode);
    let is_open = mode.intersects(Mode::WGRP | Mode::WOTH);
    if is_open && !(sticky && mode.contains(Mode::SVTX)) {
        return Err(insecure(
            endpoint,
            format!("others can write to its directory {shown}: choose one of your own"),
        ));
    }
    Ok(())
}

/// Removes what a crashed server left at `path`. Only under the lock, and only what is shown to be
/// that: a socket, ours, at which nobody listens. Everything else is left alone.
pub(super) fn remove_stale(path: &Path, endpoint: &Arc<str>) -> Result<(), Error> {
    let failed = |action| move |error: Errno| Error::system(endpoint, action, error.into());
    let stat = match rustix::fs::lstat(path) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(failed("looking at its path")(error)),
    };
    if FileType::from_raw_mode(stat.st_mode) != FileType::Socket {
        let problem =
            "something that is no socket is in its place: remove it or choose another path";
        return Err(insecure(endpoint, problem.to_owned()));
    }
    if stat.st_uid != effective_user() {
        let problem = format!("a socket of user {} is in its place", stat.st_uid);
        return Err(insecure(endpoint, problem));
    }
    match super::client::probe(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        // Somebody listens there who does not know of our lock.
        _ => {
            return Err(Error::AlreadyServed { endpoint: endpoint.clone() });
        }
    }
    match rustix::fs::unlink(path) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(failed("removing a stale socket")(error)),
    }
}
