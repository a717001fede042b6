//! The client's end of a socket: reading and writing.
//!
//! A blocking recv(2) costs one system call, and cannot be woken. A poll(2) before it costs one more, and can
//! be woken. Most clients are used by one thread, which no other thread has to wake: so reads block until a
//! second thread uses the client.

use super::readiness::Readiness;
use super::stream::{receive_bytes, receive_message, send, waiting_message};
use super::wakeup::Wakeup;
use crate::backends::Waitable;
use crate::client_stream::{ClientStream, ReadMessage};
use crate::framing::Carrier;
use crate::peer::Peer;
use bytes::BytesMut;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{RecvFlags, SendFlags, Shutdown};
use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The longest time of one blocking receive. After it the only thread of a client notices that a second one
/// has begun to use it meanwhile.
const RECHECK: Duration = Duration::from_secs(1);

/// A connected socket in blocking mode.
pub(super) struct ClientSocket {
    socket: OwnedFd,
    peer: Peer,
    /// Each record is a message (`SOCK_SEQPACKET`).
    is_records: bool,
    /// The largest message in bytes.
    max_message: usize,
    /// A blocking receive times out after [`RECHECK`].
    blocks: bool,
    /// The first thread that used this socket; 0 before that.
    first_thread: AtomicU64,
    /// Wake the thread that reads and the one that waits to write: with one for both, one of the threads could take what
    /// was for the other. They are created when a second thread uses the socket. `None`: creating them failed (no
    /// descriptors). Then waiting threads check again after [`RECHECK`].
    wakeups: OnceLock<Option<Wakeups>>,
    /// For an application's own loop, once it has asked for it.
    readiness: OnceLock<Readiness>,
}

struct Wakeups {
    reader: Wakeup,
    writer: Wakeup,
}

impl Wakeups {
    fn new() -> io::Result<Wakeups> {
        let wakeups = Wakeups { reader: Wakeup::new()?, writer: Wakeup::new()? };
        // A wake before they were there may be for who waits next.
        wakeups.wake();
        Ok(wakeups)
    }

    fn wake(&self) {
        self.reader.wake();
        self.writer.wake();
    }
}

/// A number that identifies this thread.
fn this_thread() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    thread_local! {
        static NUMBER: u64 = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    NUMBER.with(|number| *number)
}

impl ClientSocket {
    pub fn new(socket: OwnedFd, peer: Peer, carrier: Carrier, max_message: usize) -> ClientSocket {
        // macOS refuses if the peer has closed already (`setsockopt(2)`, EINVAL).
        let blocks = set_socket_timeout(&socket, Timeout::Recv, Some(RECHECK)).is_ok();
        let is_records = carrier != Carrier::Stream;
        let (first_thread, wakeups) = (AtomicU64::new(0), OnceLock::new());
        let readiness = OnceLock::new();
        ClientSocket {
            socket,
            peer,
            is_records,
            max_message,
            blocks,
            first_thread,
            wakeups,
            readiness,
        }
    }

    /// Whether only this thread has used the socket.
    fn is_only_thread(&self) -> bool {
        let this = this_thread();
        let first = match self.first_thread.load(Ordering::Relaxed) {
            0 => match self.first_thread.compare_exchange(
                0,
                this,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => this,
                Err(first) => first,
            },
            first => first,
        };
        if first != this {
            self.wakeups.get_or_init(|| Wakeups::new().ok());
        }
        self.wakeups.get().is_none()
    }

    /// Waits for one of the events in `interest`, until `deadline` at the latest. May return early.
    /// `false`: the thread was woken instead, by this one of the two.
    fn wait(
        &self,
        interest: PollFlags,
        which: impl Fn(&Wakeups) -> &Wakeup,
        deadline: Option<Instant>,
    ) -> io::Result<bool> {
        let wakeup = self.wakeups.get().and_then(Option::as_ref).map(which);
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let recheck = wakeup.is_none().then_some(RECHECK);
        let timeout = left.into_iter().chain(recheck).min();
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let socket = PollFd::new(&self.socket, interest);
        let mut waited = match wakeup {
            Some(wakeup) => [socket, wakeup.poll_fd()],
            None => [socket.clone(), socket],
        };
        match rustix::event::poll(&mut waited, timeout.as_ref()) {
            Ok(0) if deadline.is_some_and(|at| at <= Instant::now()) => {
                Err(ErrorKind::TimedOut.into())
            }
            Ok(0) => Ok(false),
            Ok(_) => {
                let is_ready = !waited[0].revents().is_empty();
                if let Some(wakeup) = wakeup.filter(|_| !waited[1].revents().is_empty()) {
                    wakeup.reset();
                }
                Ok(is_ready)
            }
            Err(Errno::INTR) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// Receives as soon as the socket is readable, until `deadline` at the latest.
    fn receive_when_readable(
        &self,
        deadline: Option<Instant>,
        mut receive: impl FnMut(RecvFlags) -> io::Result<usize>,
    ) -> io::Result<usize> {
        loop {
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            let is_over = left == Some(Duration::ZERO);
            let has_time = left.is_none_or(|left| left >= RECHECK);
            let is_blocking = self.is_only_thread() && self.blocks && has_time;
            if !is_over
                && !is_blocking
                && !self.wait(PollFlags::IN, |both| &both.reader, deadline)?
            {
                return Err(ErrorKind::Interrupted.into());
            }
            let flags = if is_blocking { RecvFlags::empty() } else { RecvFlags::DONTWAIT };
            match receive(flags) {
                Err(error) if error.kind() == ErrorKind::WouldBlock && is_over => {
                    return Err(ErrorKind::TimedOut.into());
                }
                // Another thread may have left a message half sent, which the caller sends on.
                Err(error) if error.kind() == ErrorKind::WouldBlock && is_blocking => {
                    return Err(ErrorKind::Interrupted.into());
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }
}

impl ClientStream for ClientSocket {
    fn read(&self, buffer: &mut BytesMut, deadline: Option<Instant>) -> io::Result<usize> {
        self.receive_when_readable(deadline, |flags| receive_bytes(&self.socket, buffer, flags))
    }

    fn read_message(
        &self,
        buffer: &mut BytesMut,
        limit: usize,
        deadline: Option<Instant>,
    ) -> io::Result<ReadMessage> {
        let size =
            self.receive_when_readable(deadline, |flags| waiting_message(&self.socket, flags))?;
        receive_message(&self.socket, buffer, size, limit)
    }

    fn largest_message(&self) -> usize {
        self.max_message
    }

    fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        // A thread that only sends must be noticed too: it may have to wake the reading thread.
        self.is_only_thread();
        // A gathering write would merge several messages into one record.
        let slices = if self.is_records { &slices[..slices.len().min(1)] } else { slices };
        send(&self.socket, slices, SendFlags::DONTWAIT)
    }

    fn is_sent(&self) -> bool {
        true
    }

    fn wait_writable(&self, or_readable: bool, deadline: Option<Instant>) -> io::Result<()> {
        let mut interest = PollFlags::OUT;
        interest.set(PollFlags::IN, or_readable);
        self.wait(interest, |both| &both.writer, deadline).map(drop)
    }

    fn wake(&self) {
        if let Some(Some(wakeups)) = self.wakeups.get() {
            wakeups.wake();
        }
    }

    fn waitable(&self) -> io::Result<Option<Waitable>> {
        if self.readiness.get().is_none() {
            // Another thread may have been faster.
            let _ = self.readiness.set(Readiness::new(self.socket.as_fd())?);
        }
        Ok(self.readiness.get().map(Readiness::waitable))
    }

    fn set_alert(&self, is_set: bool) {
        if let Some(readiness) = self.readiness.get() {
            readiness.set_alert(is_set);
        }
    }

    fn watch_writable(&self, watched: bool) {
        if let Some(readiness) = self.readiness.get() {
            readiness.watch_writable(self.socket.as_fd(), watched);
        }
    }

    fn shutdown(&self) {
        // This fails only if the peer has already closed.
        let _: Result<(), Errno> = rustix::net::shutdown(&self.socket, Shutdown::Both);
    }

    fn peer(&self) -> &Peer {
        &self.peer
    }
}
