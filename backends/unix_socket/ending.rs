//! The end of a connection of which several descriptors are open.

use rustix::net::Shutdown;
use std::os::fd::OwnedFd;

/// Ends the connection when it is dropped, also where another descriptor is open: that of the watch.
pub(super) struct EndsOnDrop(OwnedFd);

impl EndsOnDrop {
    pub fn new(socket: OwnedFd) -> EndsOnDrop {
        EndsOnDrop(socket)
    }
}

impl Drop for EndsOnDrop {
    fn drop(&mut self) {
        // This fails only if the peer has already closed.
        let _ = rustix::net::shutdown(&self.0, Shutdown::Both);
    }
}
