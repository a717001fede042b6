//! Removes the socket that a crashed server left, after it has been shown to be stale.

use super::made::FileId;
use crate::backends::unix_socket::directory::insecure;
use crate::backends::unix_socket::identity::{Owner, owner_of};
use crate::backends::unix_socket::socket::probe;
use crate::error::Error;
use rustix::fs::{FileType, Mode, Stat};
use rustix::io::Errno;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;

/// Removes a stale socket at `path`. Called under the lock. It removes only a socket of this user at which
/// nobody listens, and leaves everything else alone. A socket that refuses is also left alone, unless a refusal
/// is `certain` to mean that nobody listens.
pub(super) fn remove_stale(path: &Path, certain: bool, endpoint: &Arc<str>) -> Result<(), Error> {
    let failed = |action| move |error: Errno| Error::system(endpoint, action, error.into());
    let stat = match rustix::fs::lstat(path) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(failed("checking its path")(error)),
    };
    if FileType::from_raw_mode(stat.st_mode) != FileType::Socket {
        let problem =
            "something that is not a socket is at its path: remove it or choose another path";
        return Err(insecure(endpoint, problem.to_owned()));
    }
    let owner = owner_of(stat.st_uid);
    if owner != Owner::Us {
        let problem = format!(
            "a socket of {owner} is at its path: choose another path, or let that user remove it"
        );
        return Err(insecure(endpoint, problem));
    }
    let refused = match probe_own_socket(path, &stat) {
        Ok(()) => return Err(Error::AlreadyServed { endpoint: endpoint.clone() }),
        Err(refused) => refused,
    };
    match refused.kind() {
        ErrorKind::ConnectionRefused if certain => {}
        ErrorKind::ConnectionRefused => {
            let problem = "a socket that refuses is at its path, and no server of this crate left it: \
                           its backlog may be full. Stop its server, or remove the file if no server \
                           runs";
            return Err(insecure(endpoint, problem.to_owned()));
        }
        ErrorKind::NotFound => return Ok(()),
        _ => return Err(Error::system(endpoint, "probing whether it is served", refused)),
    }
    match FileId::at(path) {
        Ok(Some(now)) if now == FileId::of(&stat) => {}
        Ok(None) => return Ok(()),
        _ => return Err(Error::AlreadyServed { endpoint: endpoint.clone() }),
    }
    match rustix::fs::unlink(path) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(failed("removing a stale socket")(error)),
    }
}

/// Checks whether a server listens at `path`, a socket of this user; an error says why not, or that it cannot be
/// probed. If its mode excludes its own user, the mode is changed for the probe (`unix(7)`: connecting needs
/// the right to write).
fn probe_own_socket(path: &Path, stat: &Stat) -> io::Result<()> {
    let mode = Mode::from_raw_mode(stat.st_mode);
    let probed = probe(path);
    let is_denied = probed.as_ref().is_err_and(|e| e.kind() == ErrorKind::PermissionDenied);
    if !is_denied || mode.contains(Mode::WUSR) {
        return probed;
    }
    rustix::fs::chmod(path, mode | Mode::WUSR)?;
    let probed = probe(path);
    let is_stale = probed.as_ref().is_err_and(|e| e.kind() == ErrorKind::ConnectionRefused);
    if !is_stale {
        rustix::fs::chmod(path, mode)?;
    }
    probed
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As on systems where a full backlog refuses too.
    #[test]
    fn a_socket_that_refuses_is_left_where_that_may_mean_that_it_is_busy() {
        let name = format!("msgpipe.unit.{}.refuses", std::process::id());
        let path = std::env::temp_dir().join(name);
        let endpoint: Arc<str> = "test".into();
        // Bound, but never listening.
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
