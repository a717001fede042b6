//! One descriptor for an application's own loop: readable while a client has something to do.
//!
//! It is a descriptor of the system's event queue (epoll or kqueue), which can itself be waited for. So one
//! descriptor stands for the socket in both directions, and for what another thread has read.

use super::wakeup::Wakeup;
use crate::backends::Waitable;
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

pub(super) struct Readiness {
    queue: OwnedFd,
    waitable: Waitable,
    alert: Wakeup,
}

impl Readiness {
    /// Readable while `socket` is.
    pub fn new(socket: BorrowedFd<'_>) -> io::Result<Readiness> {
        let (queue, alert) = (system::create()?, Wakeup::new()?);
        system::add(queue.as_fd(), socket)?;
        system::add(queue.as_fd(), alert.as_fd())?;
        let waitable = Waitable::from(queue.try_clone()?);
        Ok(Readiness { queue, waitable, alert })
    }

    pub fn waitable(&self) -> Waitable {
        self.waitable.clone()
    }

    /// Makes it readable whatever the socket is, or ends that.
    pub fn set_alert(&self, is_set: bool) {
        match is_set {
            true => self.alert.wake(),
            false => self.alert.reset(),
        }
    }

    /// Makes it readable also while `socket` is writable, or ends that.
    pub fn watch_writable(&self, socket: BorrowedFd<'_>, watched: bool) {
        // It fails only if the queue has no memory for it: then what is left is sent with the next message.
        let _: Result<(), Errno> = system::watch_writable(self.queue.as_fd(), socket, watched);
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod system {
    use rustix::event::epoll::{CreateFlags, EventData, EventFlags, add as register, modify};
    use rustix::io::Errno;
    use std::os::fd::{BorrowedFd, OwnedFd};

    pub fn create() -> Result<OwnedFd, Errno> {
        rustix::event::epoll::create(CreateFlags::CLOEXEC)
    }

    pub fn add(queue: BorrowedFd<'_>, source: BorrowedFd<'_>) -> Result<(), Errno> {
        register(queue, source, EventData::new_u64(0), EventFlags::IN)
    }

    pub fn watch_writable(
        queue: BorrowedFd<'_>,
        socket: BorrowedFd<'_>,
        watched: bool,
    ) -> Result<(), Errno> {
        let mut interest = EventFlags::IN;
        interest.set(EventFlags::OUT, watched);
        modify(queue, socket, EventData::new_u64(0), interest)
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod system {
    use rustix::event::kqueue::{Event, EventFilter, EventFlags, kevent, kqueue};
    use rustix::io::Errno;
    use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
    use std::ptr::null_mut;

    pub fn create() -> Result<OwnedFd, Errno> {
        let queue = kqueue()?;
        rustix::io::fcntl_setfd(&queue, rustix::io::FdFlags::CLOEXEC)?;
        Ok(queue)
    }

    pub fn add(queue: BorrowedFd<'_>, source: BorrowedFd<'_>) -> Result<(), Errno> {
        change(queue, EventFilter::Read(source.as_raw_fd()), EventFlags::ADD)
    }

    pub fn watch_writable(
        queue: BorrowedFd<'_>,
        socket: BorrowedFd<'_>,
        watched: bool,
    ) -> Result<(), Errno> {
        let flags = if watched { EventFlags::ADD } else { EventFlags::DELETE };
        match change(queue, EventFilter::Write(socket.as_raw_fd()), flags) {
            Err(Errno::NOENT) => Ok(()), // it was not watched
            changed => changed,
        }
    }

    fn change(queue: BorrowedFd<'_>, filter: EventFilter, flags: EventFlags) -> Result<(), Errno> {
        let change = Event::new(filter, flags, null_mut());
        let mut none: [Event; 0] = [];
        // SAFETY: the descriptor of the filter is open: the caller has borrowed it. The queue forgets it when it is
        // closed.
        unsafe { kevent(queue, &[change], &mut none, None) }.map(drop)
    }
}
