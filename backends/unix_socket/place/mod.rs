//! The place of a socket in the file system: its file, and the lock file that makes one server its owner.
//!
//! Both have absolute paths that are fixed when a server binds. Only files that certainly belong to this user
//! and crate are opened for writing, changed or removed. Each removal compares the file with the one that this
//! server created or has shown to be stale. Only the process that created a file removes it (a forked child
//! has copies of its parent's values).

mod lock;
mod made;
mod stale;

pub(super) use lock::StartFile;
pub(super) use lock::path_of as lock_of;

use super::directory::insecure;
use super::socket::REFUSED_IS_STALE;
use crate::error::Error;
use lock::{Lock, NotLocked};
use made::{Made, Process};
use stale::remove_stale;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// How long a lock may be held without a socket. A starting server holds it for some microseconds before its
/// socket exists, and a busy machine may suspend it in between.
const STARTING: Duration = Duration::from_secs(1);

/// The pause between two checks.
const CHECK_PAUSE: Duration = Duration::from_millis(5);

/// The right to bind a socket at a path that is free now. Dropping it releases the name.
pub(super) struct Claim {
    path: PathBuf,
    lock: Lock,
}

impl Claim {
    /// Takes the path, and removes a crashed server's socket. `path` is absolute.
    pub fn new(path: &Path, endpoint: &Arc<str>) -> Result<Claim, Error> {
        let lock = take_lock(path, endpoint)?;
        remove_stale(path, REFUSED_IS_STALE || lock.was_there, endpoint)?;
        Ok(Claim { path: path.to_owned(), lock })
    }

    /// The place of the socket that has just been bound.
    pub fn bound(self) -> io::Result<Place> {
        let stat = rustix::fs::lstat(&self.path)?;
        let socket = Made::new(self.path, &stat);
        Ok(Place { socket, _lock: self.lock })
    }
}

/// The place of a listening socket. Dropping it removes the file, then releases the name.
pub(super) struct Place {
    socket: Made,
    _lock: Lock,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.socket.remove();
    }
}

/// A listening socket with its place, if it has one. They are together because of the order of their end. The
/// file is removed first, so that no client finds a file that refuses. Then the socket is closed. The lock is
/// released last, so that another server takes the name only when nothing of this one is left.
pub(super) struct Served<S> {
    pub socket: S,
    place: Option<Place>,
    by: Process,
}

impl<S> Served<S> {
    pub fn new(socket: S, place: Option<Place>) -> Served<S> {
        Served { socket, place, by: Process::this() }
    }

    /// Whether this process created the socket, and is not a forked child with a copy.
    pub fn is_ours(&self) -> bool {
        self.by.is_this()
    }
}

impl<S> Drop for Served<S> {
    fn drop(&mut self) {
        if let Some(place) = &self.place {
            place.socket.remove();
        }
        // Then the fields are dropped in their order.
    }
}

/// Takes the lock of a socket's path.
fn take_lock(path: &Path, endpoint: &Arc<str>) -> Result<Lock, Error> {
    let Some(lock) = lock_of(path) else {
        return Err(insecure(endpoint, "it is a directory: give the path of a file".to_owned()));
    };
    let until = Instant::now() + STARTING;
    loop {
        match Lock::take(&lock) {
            Ok(taken) => return Ok(taken),
            Err(NotLocked::Held) if rustix::fs::lstat(path).is_ok() => {
                return Err(Error::AlreadyServed { endpoint: endpoint.clone() });
            }
            Err(NotLocked::Held) if Instant::now() < until => thread::sleep(CHECK_PAUSE),
            Err(NotLocked::Held) => {
                let problem = format!(
                    "a running server holds its lock, but its socket was removed, so that no \
                     client finds it: stop that server; or, to let it go on with its connected \
                     clients, remove {} and start this server again",
                    lock.display()
                );
                return Err(insecure(endpoint, problem));
            }
            Err(NotLocked::NotOurs(problem)) => {
                let shown = lock.display();
                let problem = format!("{shown} has the name of its lock file, and {problem}");
                return Err(insecure(endpoint, problem));
            }
            Err(NotLocked::Failed(error)) => {
                return Err(Error::system(endpoint, "locking the name", error.into()));
            }
        }
    }
}
