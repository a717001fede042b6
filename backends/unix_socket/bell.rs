//! Waking a thread that waits for a socket.

use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::io::Errno;
use std::io;
use std::os::fd::OwnedFd;

/// Something that can be waited for beside a socket: it is readable once it was rung, until somebody has
/// heard it.
#[derive(Debug)]
pub(super) struct Bell {
    hears: OwnedFd,
    /// Where it is rung, if that is elsewhere.
    rings: Option<OwnedFd>,
}

impl Bell {
    /// One descriptor (`eventfd(2)`).
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub fn new() -> io::Result<Bell> {
        use rustix::event::{EventfdFlags, eventfd};
        let hears = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Bell { hears, rings: None })
    }

    /// Two descriptors: a pipe.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    pub fn new() -> io::Result<Bell> {
        let (hears, rings) = rustix::pipe::pipe()?;
        for end in [&hears, &rings] {
            rustix::io::fcntl_setfd(end, rustix::io::FdFlags::CLOEXEC)?;
            rustix::io::ioctl_fionbio(end, true)?;
        }
        Ok(Bell { hears, rings: Some(rings) })
    }

    /// Rings, from any thread. It stays rung until it is heard, however often.
    pub fn ring(&self) {
        // Full, it is rung already. An eventfd takes a number of 8 bytes that is not 0.
        let _: Result<usize, Errno> =
            rustix::io::write(self.rings.as_ref().unwrap_or(&self.hears), &1u64.to_ne_bytes());
    }

    /// Waited for like a socket.
    pub fn poll_fd(&self) -> PollFd<'_> {
        PollFd::new(&self.hears, PollFlags::IN)
    }

    /// It was heard: the next ring is a new one.
    pub fn heard(&self) {
        let mut rings = [0; 512];
        // An eventfd gives all rings at once; of a pipe there are rarely more than fit.
        let _: Result<usize, Errno> = rustix::io::read(&self.hears, &mut rings);
    }
}
