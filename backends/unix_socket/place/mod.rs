//! The place of a named socket: its file, and the lock that makes one server the owner of it.
//!
//! Both lie at one absolute path that is fixed when a server binds. Nothing is opened for a change,
//! changed or removed there that is not surely ours: each removal compares the file with what this
//! server made or was shown to be stale, and only the process that made a file removes it (a forked
//! child has a copy of all that its parent has).

mod lock;
mod made;
mod stale;

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

/// How long a lock may be held without a socket: a server that starts holds it for some microseconds
/// before its socket is there, and a busy machine may stop it in between.
const STARTING: Duration = Duration::from_secs(1);

/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// The right to bind a socket at a path, at which nothing is now. Dropping it gives the name free.
pub(super) struct Claim {
    path: PathBuf,
    lock: Lock,
}

impl Claim {
    /// Takes the path, and removes what a crashed server left there. `path` is absolute.
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

/// The place of a listening socket. Dropping it removes the file, then gives the name free.
pub(super) struct Place {
    socket: Made,
    _lock: Lock,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.socket.remove();
    }
}

/// A socket that listens, and its place, if it has one: together, because of how they end. The file
/// goes first, so that no client finds one that refuses, then the socket is closed, and last the lock
/// is given free, so that another server takes the name only when nothing of this one is left.
pub(super) struct Served<S> {
    pub socket: S,
    place: Option<Place>,
    by: Process,
}

impl<S> Served<S> {
    pub fn new(socket: S, place: Option<Place>) -> Served<S> {
        Served { socket, place, by: Process::this() }
    }

    /// Whether this process listens, and is no forked child with a copy.
    pub fn is_ours(&self) -> bool {
        self.by.is_this()
    }
}

impl<S> Drop for Served<S> {
    fn drop(&mut self) {
        if let Some(place) = &self.place {
            place.socket.remove();
        }
        // Then the fields, in the order in which they stand.
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
            Err(NotLocked::Held) if Instant::now() < until => thread::sleep(LOOK),
            Err(NotLocked::Held) => {
                let problem = format!(
                    "a server that runs holds its lock, but the socket was removed, so that no \
                     client finds it: stop that server; or, if it shall only go on with the \
                     clients that it has, remove {} and start this one again",
                    lock.display()
                );
                return Err(insecure(endpoint, problem));
            }
            Err(NotLocked::NotOurs(problem)) => {
                let shown = lock.display();
                let problem = format!("{shown} is in the place of its lock, and {problem}");
                return Err(insecure(endpoint, problem));
            }
            Err(NotLocked::Failed(error)) => {
                return Err(Error::system(endpoint, "locking the name", error.into()));
            }
        }
    }
}
