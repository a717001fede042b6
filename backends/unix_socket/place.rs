//! The place of a named socket: its file, and the lock that makes one server the owner of it.
//!
//! Both lie at one absolute path that is fixed when a server binds. Nothing is opened for a change,
//! changed or removed there that is not surely ours: each removal compares device and inode with what
//! this server made or was shown to be stale, and only the process that made a file removes it (a
//! forked child has a copy of all that its parent has).

use super::directory::insecure;
use super::identity::{Owner, owner_of};
use super::lock::{self, Lock, NotLocked};
use super::socket::REFUSED_IS_STALE;
use crate::error::Error;
use rustix::fs::{FileType, Mode, Stat};
use rustix::io::Errno;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// How long a lock may be held without a socket: a server that starts holds it for some microseconds
/// before its socket is there, and a busy machine may stop it in between.
const STARTING: Duration = Duration::from_secs(1);

/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// What makes a file that file. The types of the fields differ between systems.
#[allow(clippy::unnecessary_cast)]
pub(super) fn file_of(stat: &Stat) -> (u64, u64) {
    (stat.st_dev as u64, stat.st_ino as u64)
}

/// A file that this process has made.
#[derive(Debug)]
pub(super) struct Made {
    path: PathBuf,
    file: (u64, u64),
    by: u32,
}

impl Made {
    pub fn new(path: &Path, stat: &Stat) -> Made {
        Made { path: path.to_owned(), file: file_of(stat), by: std::process::id() }
    }

    /// Removes it, if it is still there and this is the process that made it.
    pub fn remove(&self) {
        if self.by == std::process::id()
            && rustix::fs::lstat(&self.path).is_ok_and(|stat| file_of(&stat) == self.file)
        {
            // If it cannot be removed it is stale, and the next server takes it over.
            let _: Result<(), Errno> = rustix::fs::unlink(&self.path);
        }
    }
}

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
        let socket = Made::new(&self.path, &rustix::fs::lstat(&self.path)?);
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
}

impl<S> Served<S> {
    pub fn new(socket: S, place: Option<Place>) -> Served<S> {
        Served { socket, place }
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
    let Some(lock) = lock::path_of(path) else {
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

/// Removes what a crashed server left at `path`. Only under the lock, and only what is shown to be
/// that: a socket, ours, at which nobody listens. Everything else is left alone, and so is one that
/// refuses where that is not `certain` to mean that nobody listens.
fn remove_stale(path: &Path, certain: bool, endpoint: &Arc<str>) -> Result<(), Error> {
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
    match owner_of(stat.st_uid) {
        Owner::Us => {}
        Owner::Unknown => {
            let problem = "a socket of a user who has no number in this user namespace is in its \
                           place: choose another path";
            return Err(insecure(endpoint, problem.to_owned()));
        }
        Owner::Root | Owner::Other(_) => {
            let problem = format!(
                "a socket of user {} is in its place: choose another path, or let that user \
                 remove it",
                stat.st_uid
            );
            return Err(insecure(endpoint, problem));
        }
    }
    let refused = match ask(path, &stat) {
        Ok(()) => return Err(Error::AlreadyServed { endpoint: endpoint.clone() }),
        Err(refused) => refused,
    };
    match refused.kind() {
        ErrorKind::ConnectionRefused if certain => {}
        ErrorKind::ConnectionRefused => {
            let problem = "a socket that refuses is in its place, and was not left by a server of \
                           this crate's: its backlog may be full. Stop its server, or remove the \
                           file if there is none";
            return Err(insecure(endpoint, problem.to_owned()));
        }
        ErrorKind::NotFound => return Ok(()),
        _ => return Err(Error::system(endpoint, "asking whether it is served", refused)),
    }
    match rustix::fs::lstat(path) {
        Ok(now) if file_of(&now) == file_of(&stat) => {}
        Err(Errno::NOENT) => return Ok(()),
        _ => return Err(Error::AlreadyServed { endpoint: endpoint.clone() }),
    }
    match rustix::fs::unlink(path) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(failed("removing a stale socket")(error)),
    }
}

/// Whether somebody listens at `path`, a socket of ours; an error says why not, or that it cannot be
/// asked. One whose mode keeps its own user out is opened to that user for the question (`unix(7)`:
/// connecting needs the right to write).
fn ask(path: &Path, stat: &Stat) -> io::Result<()> {
    let mode = Mode::from_raw_mode(stat.st_mode);
    let asked = super::socket::probe(path);
    let is_kept_out = asked.as_ref().is_err_and(|e| e.kind() == ErrorKind::PermissionDenied);
    if !is_kept_out || mode.contains(Mode::WUSR) {
        return asked;
    }
    rustix::fs::chmod(path, mode | Mode::WUSR)?;
    let asked = super::socket::probe(path);
    let is_stale = asked.as_ref().is_err_and(|e| e.kind() == ErrorKind::ConnectionRefused);
    if !is_stale {
        rustix::fs::chmod(path, mode)?;
    }
    asked
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As it is where a full backlog refuses too.
    #[test]
    fn a_socket_that_refuses_is_left_where_that_may_mean_that_it_is_busy() {
        let name = format!("msgpipe.unit.{}.refuses", std::process::id());
        let path = std::env::temp_dir().join(name);
        let endpoint: Arc<str> = "test".into();
        // Nobody has ever listened there.
        let socket =
            crate::backends::unix_socket::socket::new_socket(crate::framing::Carrier::Stream);
        let address = rustix::net::SocketAddrUnix::new(&path).unwrap();
        rustix::net::bind(socket.unwrap(), &address).unwrap();
        let refused = remove_stale(&path, false, &endpoint).unwrap_err().to_string();
        assert!(refused.contains("its backlog may be full"), "{refused}");
        assert!(rustix::fs::lstat(&path).is_ok());
        remove_stale(&path, true, &endpoint).unwrap();
        assert!(rustix::fs::lstat(&path).is_err());
    }
}
