//! Waking a thread that polls a socket: an eventfd, or the self-pipe trick.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

/// A descriptor that is polled together with a socket. It becomes readable with [`wake`](Wakeup::wake), and
/// stays readable until [`reset`](Wakeup::reset).
#[derive(Debug)]
pub(super) struct Wakeup {
    read_end: OwnedFd,
    /// The other end of a pipe. An eventfd has only one descriptor.
    write_end: Option<OwnedFd>,
}

impl Wakeup {
    /// One descriptor (`eventfd(2)`).
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub fn new() -> io::Result<Wakeup> {
        use rustix::event::{EventfdFlags, eventfd};
        let read_end = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Wakeup { read_end, write_end: None })
    }

    /// Two descriptors: a pipe.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    pub fn new() -> io::Result<Wakeup> {
        let (read_end, write_end) = rustix::pipe::pipe()?;
        for end in [&read_end, &write_end] {
            rustix::io::fcntl_setfd(end, rustix::io::FdFlags::CLOEXEC)?;
            rustix::io::ioctl_fionbio(end, true)?;
        }
        Ok(Wakeup { read_end, write_end: Some(write_end) })
    }

    /// Makes it readable, from any thread. Several calls before a reset count once.
    pub fn wake(&self) {
        // A full pipe is readable already. An eventfd takes a number of 8 bytes that is not 0.
        let end = self.write_end.as_ref().unwrap_or(&self.read_end);
        let _: Result<usize, Errno> = rustix::io::write(end, &1u64.to_ne_bytes());
    }

    /// The descriptor that becomes readable.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.read_end.as_fd()
    }

    /// For poll(2), together with the socket.
    pub fn poll_fd(&self) -> PollFd<'_> {
        PollFd::new(&self.read_end, PollFlags::IN)
    }

    /// Makes it unreadable again.
    pub fn reset(&self) {
        let mut wakes = [0; 512];
        // One read of an eventfd resets it; a pipe rarely has more bytes than fit.
        let _: Result<usize, Errno> = rustix::io::read(&self.read_end, &mut wakes);
    }
}

/// Waits until the descriptor is readable, until `deadline` at the latest. Returns whether it is.
pub(in crate::backends) fn wait_signalled(
    descriptor: BorrowedFd<'_>,
    deadline: Option<Instant>,
) -> io::Result<bool> {
    loop {
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        let mut polled = [PollFd::from_borrowed_fd(descriptor, PollFlags::IN)];
        match poll(&mut polled, timeout.as_ref()) {
            Err(Errno::INTR) => {}
            polled => return Ok(polled? > 0),
        }
    }
}
