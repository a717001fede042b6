//! The right to start the server of an endpoint: a lock beside its socket.
//!
//! It saves starting many servers of which one stays. Which one that is decides the bind, not this lock.

use super::address::{first_address, system_address};
use super::directory::make_private;
use super::place::StartFile;
use super::socket::new_socket;
use crate::endpoint::{Endpoint, SocketAddress};
use crate::framing::Carrier;
use rustix::io::Errno;
use std::io;
use std::os::fd::OwnedFd;

/// Held as long as a process starts a server. The system releases it when that process ends, however it ends.
pub(crate) struct StartLock {
    _held: Held,
}

enum Held {
    File {
        _file: StartFile,
    },
    /// An abstract name has no place for a file: another abstract name is bound, without a listener.
    Name {
        _socket: OwnedFd,
    },
}

impl StartLock {
    /// Takes the lock, without waiting. `None`: another process has it.
    ///
    /// # Errors
    /// There is no place for a lock, or other users could hold it.
    pub fn take(endpoint: &Endpoint) -> io::Result<Option<StartLock>> {
        match first_address(endpoint).map_err(io::Error::other)? {
            SocketAddress::File { path, private } => {
                if let Some(private) = private {
                    make_private(&private, &path.display().to_string().into())
                        .map_err(io::Error::other)?;
                }
                let file = StartFile::take(&path)?;
                Ok(file.map(|_file| StartLock { _held: Held::File { _file } }))
            }
            SocketAddress::Abstract(name) => {
                let socket = new_socket(Carrier::Stream)?;
                let name = SocketAddress::Abstract(format!("{name}.msgpipe-start"));
                match rustix::net::bind(&socket, &system_address(&name)?) {
                    Ok(()) => Ok(Some(StartLock { _held: Held::Name { _socket: socket } })),
                    Err(Errno::ADDRINUSE) => Ok(None),
                    Err(error) => Err(error.into()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One holder at a time, and nothing is left of it.
    fn check(endpoint: &Endpoint) {
        let held = StartLock::take(endpoint).unwrap().unwrap();
        assert!(StartLock::take(endpoint).unwrap().is_none());
        drop(held);
        drop(StartLock::take(endpoint).unwrap().unwrap());
    }

    #[test]
    fn one_process_at_a_time_has_the_right_to_start() {
        let directory = std::env::temp_dir().join(format!("msgpipe.start.{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        check(&Endpoint::path(directory.join("socket")).unwrap());
        std::fs::remove_dir(&directory).unwrap();
        // There is no place for it, and that is no reason to wait.
        assert!(StartLock::take(&Endpoint::path(directory.join("socket")).unwrap()).is_err());
        if cfg!(any(target_os = "linux", target_os = "android")) {
            let name = format!("msgpipe.start.{}", std::process::id());
            check(&Endpoint::abstract_name(&name).unwrap());
            assert!(StartLock::take(&Endpoint::abstract_name(&"x".repeat(107)).unwrap()).is_err());
        }
    }

    /// A file that is not certainly a lock of this crate is neither locked nor removed.
    #[test]
    fn a_file_of_somebody_else_is_left_alone() {
        let directory = std::env::temp_dir().join(format!("msgpipe.theirs.{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        let theirs = directory.join(".socket.msgpipe-start");
        std::fs::write(&theirs, "theirs").unwrap();
        assert!(StartLock::take(&Endpoint::path(directory.join("socket")).unwrap()).is_err());
        assert_eq!(std::fs::read(&theirs).unwrap(), b"theirs");
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
