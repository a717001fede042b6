//! A directory for a test, and files in it.

use super::unique_name;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A directory that is removed when the test ends.
pub struct Scratch(PathBuf);

impl Scratch {
    /// A directory for this user only.
    pub fn new() -> Scratch {
        Scratch::with_mode(0o700)
    }

    pub fn with_mode(mode: u32) -> Scratch {
        let path = std::env::temp_dir().join(unique_name());
        fs::create_dir(&path).unwrap();
        set_mode(&path, mode);
        Scratch(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn directory(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Sets a mode, whatever the umask.
pub fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Creates a socket at which nobody listens, like that of a killed server. It has never listened:
/// a process that another test is starting has our sockets until its exec, and a socket
/// that had listened would go on listening there.
pub fn leave_socket(path: &Path) {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};
    let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
}
