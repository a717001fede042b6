//! What an application's own loop waits for.

use super::os::wait_signalled;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[cfg(unix)]
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd as Owned, RawFd};

#[cfg(windows)]
use std::os::windows::io::{
    AsHandle, AsRawHandle, BorrowedHandle, OwnedHandle as Owned, RawHandle,
};

/// What an application's own event loop waits for, to call [`Incoming::dispatch`](crate::Incoming::dispatch) then;
/// [`Client::waitable`](crate::Client::waitable) returns it. Cheap to clone.
///
/// It is signalled while there is something to do, also if that is to send: a loop waits for one thing. It may be
/// signalled without need.
///
/// - On Unix it is a descriptor (`AsFd`), which is readable then. It is for waiting only (poll, epoll, kqueue, a toolkit's
///   own notifier), level-triggered.
/// - On Windows it is a handle of a manual-reset event (`AsHandle`), which is set then: for `WaitForMultipleObjects`,
///   `MsgWaitForMultipleObjects` and the like.
///
/// Nothing else may be done with them: not read, written, set or reset.
///
/// In the loop of a window, with the crate windows-sys:
///
/// ```no_run
/// # #[cfg(windows)]
/// # fn show(client: &msgpipe::Client, tend_window: impl Fn()) -> Result<(), Box<dyn std::error::Error>> {
/// use std::os::windows::io::AsRawHandle;
/// use windows_sys::Win32::UI::WindowsAndMessaging::{
///     MWMO_INPUTAVAILABLE, MsgWaitForMultipleObjectsEx, QS_ALLINPUT,
/// };
///
/// let waitable = client.waitable()?;
/// let mut incoming = client.incoming()?;
/// let handles = [waitable.as_raw_handle()];
/// loop {
///     // SAFETY: the waitable's handle is open while it lives.
///     unsafe {
///         let (handles, forever) = (handles.as_ptr().cast(), u32::MAX);
///         MsgWaitForMultipleObjectsEx(1, handles, forever, QS_ALLINPUT, MWMO_INPUTAVAILABLE);
///     }
///     tend_window(); // PeekMessageW and DispatchMessageW until there is no message
///     incoming.dispatch(|message| println!("{message:?}"))?; // and Call::try_wait for open calls
/// }
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Waitable {
    inner: Arc<Owned>,
}

impl Waitable {
    /// Waits until it is signalled, at most for `timeout`; with `None`, until it is. Returns whether it is. For a loop
    /// that waits for nothing else.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// let client = msgpipe::Client::connect("com.example.notes")?;
    /// let mut incoming = client.incoming()?;
    /// let waitable = client.waitable()?;
    /// loop {
    ///     if waitable.wait(Some(Duration::from_secs(1)))? {
    ///         incoming.dispatch(|message| println!("{message:?}"))?;
    ///     }
    /// }
    /// # #[allow(unreachable_code)]
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// A system call failed.
    pub fn wait(&self, timeout: Option<Duration>) -> io::Result<bool> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        #[cfg(unix)]
        let waited = self.as_fd();
        #[cfg(windows)]
        let waited = self.as_handle();
        wait_signalled(waited, deadline)
    }
}

#[cfg(unix)]
impl Waitable {
    /// It is signalled while the poll has events that it has not returned yet.
    pub(super) fn of_poll(poll: &mio::Poll) -> io::Result<Waitable> {
        // SAFETY: the descriptor is open for as long as the poll is borrowed.
        let descriptor = unsafe { BorrowedFd::borrow_raw(poll.as_raw_fd()) };
        Ok(descriptor.try_clone_to_owned()?.into())
    }
}

impl From<Owned> for Waitable {
    /// For a [`ClientStream`](crate::ClientStream) of the application's own.
    fn from(inner: Owned) -> Waitable {
        Waitable { inner: Arc::new(inner) }
    }
}

#[cfg(unix)]
impl AsFd for Waitable {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

#[cfg(unix)]
impl AsRawFd for Waitable {
    fn as_raw_fd(&self) -> RawFd {
        self.inner.as_raw_fd()
    }
}

#[cfg(windows)]
impl AsHandle for Waitable {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        self.inner.as_handle()
    }
}

#[cfg(windows)]
impl AsRawHandle for Waitable {
    fn as_raw_handle(&self) -> RawHandle {
        self.inner.as_raw_handle()
    }
}
