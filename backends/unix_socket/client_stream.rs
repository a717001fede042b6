//! The client's end of a socket, as it is read and written.
//!
//! A blocking recv(2) costs one system call, and cannot be woken; poll(2) before it costs one more, and
//! can. Most clients are used by one thread, which nobody has to wake: so the first kind is used until a
//! second thread comes.

use super::bell::Bell;
use super::stream::{receive_bytes, receive_message, send, waiting_message};
use crate::client_stream::{ClientStream, ReadMessage};
use crate::framing::Carrier;
use crate::peer::Peer;
use bytes::BytesMut;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{RecvFlags, SendFlags, Shutdown};
use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::OwnedFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long one receive of a client's only thread lasts at most. In this time it sees that a second one
/// has come, if that was while it waited.
const ALONE: Duration = Duration::from_secs(1);

/// A connected socket in blocking mode.
pub(super) struct ClientSocket {
    socket: OwnedFd,
    peer: Peer,
    /// Each record is a message.
    is_whole: bool,
    /// The most bytes of one message.
    most: usize,
    /// A blocking receive ends after [`ALONE`].
    blocks: bool,
    /// The first thread that has used it.
    user: AtomicU64,
    /// Wakes the threads that wait; there since a second thread has used it. `None`: the system gave
    /// none (no descriptors). Then they look each [`ALONE`].
    bell: OnceLock<Option<Bell>>,
}

/// A number of this thread's own.
fn this_thread() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    thread_local! {
        static NUMBER: u64 = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    NUMBER.with(|number| *number)
}

impl ClientSocket {
    pub fn new(socket: OwnedFd, peer: Peer, carrier: Carrier, most: usize) -> ClientSocket {
        // macOS refuses if the peer has closed already (`setsockopt(2)`, EINVAL).
        let blocks = set_socket_timeout(&socket, Timeout::Recv, Some(ALONE)).is_ok();
        let is_whole = carrier != Carrier::Stream;
        let (user, bell) = (AtomicU64::new(0), OnceLock::new());
        ClientSocket { socket, peer, is_whole, most, blocks, user, bell }
    }

    /// Whether no other thread than this one has used it.
    fn is_alone(&self) -> bool {
        let this = this_thread();
        let user = match self.user.load(Ordering::Relaxed) {
            0 => match self.user.compare_exchange(0, this, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => this,
                Err(user) => user,
            },
            user => user,
        };
        if user != this {
            self.bell.get_or_init(|| Bell::new().ok());
        }
        self.bell.get().is_none()
    }

    /// Waits until something of `interest` is so, until `deadline` at the latest. May return early;
    /// `false`: it was woken instead.
    fn wait(&self, interest: PollFlags, deadline: Option<Instant>) -> io::Result<bool> {
        let bell = self.bell.get().and_then(Option::as_ref);
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let look = bell.is_none().then_some(ALONE);
        let timeout = left.into_iter().chain(look).min();
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let socket = PollFd::new(&self.socket, interest);
        let mut waited = match bell {
            Some(bell) => [socket, bell.poll_fd()],
            None => [socket.clone(), socket],
        };
        match rustix::event::poll(&mut waited, timeout.as_ref()) {
            Ok(0) if deadline.is_some_and(|at| at <= Instant::now()) => {
                Err(ErrorKind::TimedOut.into())
            }
            Ok(0) => Ok(false),
            Ok(_) => {
                let is_so = !waited[0].revents().is_empty();
                if let Some(bell) = bell.filter(|_| !waited[1].revents().is_empty()) {
                    bell.heard();
                }
                Ok(is_so)
            }
            Err(Errno::INTR) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// Receives as soon as something is there, until `deadline` at the latest.
    fn when_there(
        &self,
        deadline: Option<Instant>,
        mut receive: impl FnMut(RecvFlags) -> io::Result<usize>,
    ) -> io::Result<usize> {
        loop {
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            let is_over = left == Some(Duration::ZERO);
            let has_time = left.is_none_or(|left| left >= ALONE);
            let is_blocking = self.is_alone() && self.blocks && has_time;
            if !is_over && !is_blocking && !self.wait(PollFlags::IN, deadline)? {
                return Err(ErrorKind::Interrupted.into());
            }
            let flags = if is_blocking { RecvFlags::empty() } else { RecvFlags::DONTWAIT };
            match receive(flags) {
                Err(error) if error.kind() == ErrorKind::WouldBlock && is_over => {
                    return Err(ErrorKind::TimedOut.into());
                }
                // The caller may have something to do that another thread has left.
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
        self.when_there(deadline, |flags| receive_bytes(&self.socket, buffer, flags))
    }

    fn read_message(
        &self,
        buffer: &mut BytesMut,
        limit: usize,
        deadline: Option<Instant>,
    ) -> io::Result<ReadMessage> {
        let size = self.when_there(deadline, |flags| waiting_message(&self.socket, flags))?;
        receive_message(&self.socket, buffer, size, limit)
    }

    fn largest_message(&self) -> usize {
        self.most
    }

    fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        // A thread that only sends may leave something to the one that reads.
        self.is_alone();
        // A gathering write would make one record of several messages.
        let slices = if self.is_whole { &slices[..slices.len().min(1)] } else { slices };
        send(&self.socket, slices, SendFlags::DONTWAIT)
    }

    fn is_sent(&self) -> bool {
        true
    }

    fn wait_writable(&self, or_readable: bool, deadline: Option<Instant>) -> io::Result<()> {
        let mut interest = PollFlags::OUT;
        interest.set(PollFlags::IN, or_readable);
        self.wait(interest, deadline).map(drop)
    }

    fn wake(&self) {
        if let Some(Some(bell)) = self.bell.get() {
            bell.ring();
        }
    }

    fn shutdown(&self) {
        // It fails only if the peer has closed before.
        let _: Result<(), Errno> = rustix::net::shutdown(&self.socket, Shutdown::Both);
    }

    fn peer(&self) -> &Peer {
        &self.peer
    }
}
