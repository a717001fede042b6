//! The lock that makes one server the owner of a socket's path.

use super::made::{FileId, Made};
use crate::backends::unix_socket::identity::{Owner, owner_of};
use rustix::fs::{FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

const OWN: Mode = Mode::RUSR.union(Mode::WUSR);

/// The lock file of the socket at `socket`: beside it, by a name that nobody else gives a file.
/// `None` if that is no path of a file.
pub(in crate::backends::unix_socket) fn path_of(socket: &Path) -> Option<PathBuf> {
    let mut name = std::ffi::OsString::from(".");
    name.push(socket.file_name()?);
    name.push(".msgpipe-lock");
    Some(socket.with_file_name(name))
}

/// A lock file beside the socket, held as long as the server listens. The system lets go of it when
/// the process ends, however it ends; so whoever has it knows that no other server does, and of two
/// that start at once exactly one has it.
#[derive(Debug)]
pub(super) struct Lock {
    file: Made,
    /// Closing it gives the lock free.
    _open: OwnedFd,
    /// It was there already: what a server left that did not end in good order.
    pub was_there: bool,
}

/// Why there is no lock.
#[derive(Debug)]
pub(super) enum NotLocked {
    /// Somebody has it.
    Held,
    /// What lies in its place is not a lock of ours; says what it is, and what to do.
    NotOurs(String),
    Failed(Errno),
}

impl From<Errno> for NotLocked {
    fn from(error: Errno) -> NotLocked {
        NotLocked::Failed(error)
    }
}

impl Lock {
    pub fn take(path: &Path) -> Result<Lock, NotLocked> {
        loop {
            let Some((open, was_there)) = open(path)? else {
                continue; // it has changed while we looked
            };
            if let Some(lock) = lock(path, open, was_there)? {
                return Ok(lock);
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Removed while it is still locked: whoever opens it meanwhile sees that it is gone.
        self.file.remove();
    }
}

/// Opens the file, and whether it was there; makes it if not. Nothing is opened that is not surely a
/// lock of ours. `None` if it has changed meanwhile.
fn open(path: &Path) -> Result<Option<(OwnedFd, bool)>, NotLocked> {
    let to_open = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    match rustix::fs::open(path, to_open | OFlags::CREATE | OFlags::EXCL, OWN) {
        Ok(file) => {
            // What the umask took away, or the next server could not open it. Others it was never
            // open to: they could hold the lock.
            let mode = Mode::from_raw_mode(rustix::fs::fstat(&file)?.st_mode);
            if !mode.contains(OWN) {
                rustix::fs::fchmod(&file, mode | OWN)?;
            }
            return Ok(Some((file, false)));
        }
        Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let there = match rustix::fs::lstat(path) {
        Ok(there) => there,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if let Some(problem) = fault_in(&there) {
        return Err(NotLocked::NotOurs(problem));
    }
    let file = match rustix::fs::open(path, to_open, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let is_it = FileId::of(&rustix::fs::fstat(&file)?) == FileId::of(&there);
    Ok(is_it.then_some((file, true)))
}

/// Why a file is no lock that a server of ours has left.
fn fault_in(stat: &Stat) -> Option<String> {
    let what = match (owner_of(stat.st_uid), FileType::from_raw_mode(stat.st_mode)) {
        (Owner::Us, FileType::Symlink) => "is a symbolic link",
        (Owner::Us, FileType::RegularFile) if stat.st_size != 0 => "is not empty",
        (Owner::Us, FileType::RegularFile) if stat.st_nlink != 1 => "has a second name",
        (Owner::Us, FileType::RegularFile) => return None,
        (Owner::Us, _) => "is no plain file",
        // Whoever owns it could hold its lock for ever.
        (owner, _) => {
            return Some(format!("belongs to {owner}: remove it, or choose another path"));
        }
    };
    Some(format!("{what}: remove it, or choose another path"))
}

/// Locks the file; `None` if it is not the one at `path` any more: the lock of a file that was
/// removed is worth nothing.
fn lock(path: &Path, file: OwnedFd, was_there: bool) -> Result<Option<Lock>, NotLocked> {
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => return Err(NotLocked::Held),
        locked => locked?,
    }
    let locked = rustix::fs::fstat(&file)?;
    if FileId::at(path)? != Some(FileId::of(&locked)) {
        return Ok(None);
    }
    Ok(Some(Lock { file: Made::new(path.to_owned(), &locked), _open: file, was_there }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Between opening and locking the holder may end, and remove the file.
    #[test]
    fn the_lock_of_a_file_that_was_removed_is_worth_nothing() {
        let name = format!("msgpipe.unit.{}.lock", std::process::id());
        let path = std::env::temp_dir().join(name);
        let holder = Lock::take(&path).unwrap();
        assert!(matches!(Lock::take(&path), Err(NotLocked::Held)));
        let opened = || open(&path).unwrap().unwrap();
        let (late, was_there) = opened();
        assert!(was_there);
        drop(holder);
        assert!(lock(&path, late, true).unwrap().is_none(), "there is no file");
        let (late, was_there) = opened();
        assert!(!was_there);
        std::fs::remove_file(&path).unwrap();
        let newer = Lock::take(&path).unwrap();
        assert!(lock(&path, late, true).unwrap().is_none(), "it is another file");
        drop(newer);
        assert!(!path.exists());
    }
}
