//! What an application's own loop waits for.

#[cfg(unix)]
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

/// What an application's own event loop waits for, to call [`Incoming::dispatch`](crate::Incoming::dispatch) then;
/// [`Client::waitable`](crate::Client::waitable) returns it. Cheap to clone.
///
/// On Unix it is one descriptor ([`AsFd`](std::os::fd::AsFd)). It is readable while there is something to do, also if
/// that is to send: a loop never waits for it to become writable. It is for waiting only (poll, epoll, kqueue, a
/// toolkit's own notifier), level-triggered; nothing may be read from it or written to it.
///
/// On Windows there is none yet.
#[derive(Clone, Debug)]
pub struct Waitable {
    #[cfg(unix)]
    descriptor: Arc<OwnedFd>,
    #[cfg(not(unix))]
    _none: Arc<std::convert::Infallible>,
}

#[cfg(unix)]
impl From<OwnedFd> for Waitable {
    /// For a [`ClientStream`](crate::ClientStream) of the application's own.
    fn from(descriptor: OwnedFd) -> Waitable {
        Waitable { descriptor: Arc::new(descriptor) }
    }
}

#[cfg(unix)]
impl AsFd for Waitable {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

#[cfg(unix)]
impl AsRawFd for Waitable {
    fn as_raw_fd(&self) -> RawFd {
        self.descriptor.as_raw_fd()
    }
}
