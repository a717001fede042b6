//! The lock that makes one server the owner of a socket's path.

use super::identity::effective_user;
use crate::error::Error;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A lock file beside the socket, held as long as the server listens. The system lets go of it when
/// the process ends, however it ends; so whoever has it knows that no other server does, and of two
/// that start at once exactly one has it.
#[derive(Debug)]
pub(super) struct NameLock {
    path: PathBuf,
    /// Closing it gives the lock free.
    _file: OwnedFd,
}

impl NameLock {
    /// Takes the lock for the socket at `socket`.
    pub fn take(socket: &Path, endpoint: &Arc<str>) -> Result<NameLock, Error> {
        let mut path = socket.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        loop {
            match try_lock(&path) {
                Ok(Some(file)) => return Ok(NameLock { path, _file: file }),
                // The file was removed while we waited for its lock: that lock is worth nothing.
                Ok(None) => {}
                Err(Errno::WOULDBLOCK) => {
                    return Err(Error::AlreadyServed { endpoint: endpoint.clone() });
                }
                Err(Errno::LOOP) => {
                    let problem = format!("{} is a symbolic link: remove it", path.display());
                    return Err(Error::Insecure { endpoint: endpoint.clone(), problem });
                }
                Err(error) => {
                    return Err(match owner_but_us(&path) {
                        Some(uid) => {
                            let shown = path.display();
                            let problem = format!("{shown} belongs to user {uid}: remove it");
                            Error::Insecure { endpoint: endpoint.clone(), problem }
                        }
                        None => Error::system(endpoint, "locking the name", error.into()),
                    });
                }
            }
        }
    }
}

/// Who owns the file, if that is somebody else.
fn owner_but_us(path: &Path) -> Option<u32> {
    let stat = rustix::fs::lstat(path).ok()?;
    (stat.st_uid != effective_user()).then_some(stat.st_uid)
}

/// Opens and locks the file; `None` if it is not the one at `path` any more.
fn try_lock(path: &Path) -> Result<Option<OwnedFd>, Errno> {
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?;
    // Whoever owns it could hold its lock for ever: it is no lock of ours.
    if rustix::fs::fstat(&file)?.st_uid != effective_user() {
        return Err(Errno::ACCESS);
    }
    // Whatever the umask took away, or the next server could not open it.
    let _: Result<(), Errno> = rustix::fs::fchmod(&file, Mode::RUSR | Mode::WUSR);
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    let locked = rustix::fs::fstat(&file)?;
    match rustix::fs::lstat(path) {
        Ok(there) if (there.st_dev, there.st_ino) == (locked.st_dev, locked.st_ino) => {
            Ok(Some(file))
        }
        Ok(_) | Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Drop for NameLock {
    fn drop(&mut self) {
        // Removed while it is still locked: whoever opens it meanwhile sees that it is gone. If it
        // cannot be removed it stays, and does no harm.
        let _: Result<(), io::Error> = rustix::fs::unlink(&self.path).map_err(Into::into);
    }
}
