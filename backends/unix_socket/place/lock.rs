//! The lock file that makes one server the owner of a socket's path.

use super::made::{FileId, Made};
use crate::backends::unix_socket::identity::{Owner, owner_of};
use rustix::fs::{FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

const OWN: Mode = Mode::RUSR.union(Mode::WUSR);

/// The lock file of the socket at `socket`: beside it, with a name that only this crate uses.
/// `None` if `socket` is not the path of a file.
pub(in crate::backends::unix_socket) fn path_of(socket: &Path) -> Option<PathBuf> {
    beside(socket, ".msgpipe-lock")
}

fn beside(socket: &Path, suffix: &str) -> Option<PathBuf> {
    let mut name = std::ffi::OsString::from(".");
    name.push(socket.file_name()?);
    name.push(suffix);
    Some(socket.with_file_name(name))
}

/// A lock file beside the socket, locked as long as the server listens. The system releases the lock when
/// the process ends, however it ends. So its holder knows that no other server listens, and of two servers
/// that start at once exactly one holds it.
#[derive(Debug)]
pub(super) struct Lock {
    file: Made,
    /// Closing it releases the lock.
    _open: OwnedFd,
    /// The file existed already: a server ended without removing it.
    pub was_there: bool,
}

/// Why the lock was not taken.
#[derive(Debug)]
pub(super) enum NotLocked {
    /// Another process holds it.
    Held,
    /// Another file has its name. The text says what it is, and what to do.
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
                continue; // the file changed meanwhile
            };
            if let Some(lock) = lock(path, open, was_there)? {
                return Ok(lock);
            }
        }
    }
}

/// The lock of a client that starts the server of a socket.
pub(in crate::backends::unix_socket) struct StartFile {
    _lock: Lock,
}

impl StartFile {
    /// Takes the lock of the socket at this path, without waiting. `None`: another process has it.
    pub fn take(socket: &Path) -> io::Result<Option<StartFile>> {
        let path = beside(socket, ".msgpipe-start").ok_or(io::ErrorKind::InvalidInput)?;
        match Lock::take(&path) {
            Ok(lock) => Ok(Some(StartFile { _lock: lock })),
            Err(NotLocked::Held) => Ok(None),
            Err(NotLocked::NotOurs(problem)) => Err(io::Error::other(problem)),
            Err(NotLocked::Failed(error)) => Err(error.into()),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Remove it while it is still locked: a process that opens it meanwhile notices the removal.
        self.file.remove();
    }
}

/// Opens the file, or creates it; also returns whether it existed. Opens only a file that is certainly a lock
/// of this crate and user. `None` if it changed meanwhile.
fn open(path: &Path) -> Result<Option<(OwnedFd, bool)>, NotLocked> {
    let to_open = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    match rustix::fs::open(path, to_open | OFlags::CREATE | OFlags::EXCL, OWN) {
        Ok(file) => {
            // The umask may have removed bits, and then the next server could not open it. It is never open to
            // other users, which could hold the lock.
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

/// Why a file is not a lock that a server of this user left.
fn fault_in(stat: &Stat) -> Option<String> {
    let what = match (owner_of(stat.st_uid), FileType::from_raw_mode(stat.st_mode)) {
        (Owner::Us, FileType::Symlink) => "is a symbolic link",
        (Owner::Us, FileType::RegularFile) if stat.st_size != 0 => "is not empty",
        (Owner::Us, FileType::RegularFile) if stat.st_nlink != 1 => "has a second name",
        (Owner::Us, FileType::RegularFile) => return None,
        (Owner::Us, _) => "is not a regular file",
        // Its owner could hold the lock for ever.
        (owner, _) => {
            return Some(format!("belongs to {owner}: remove it, or choose another path"));
        }
    };
    Some(format!("{what}: remove it, or choose another path"))
}

/// Locks the file. `None` if it is no longer the one at `path`: the lock of a removed file excludes no other
/// server.
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

    /// The holder may end and remove the file between open and lock.
    #[test]
    fn the_lock_of_a_removed_file_does_not_count() {
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
