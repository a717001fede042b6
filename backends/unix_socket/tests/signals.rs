//! Signals during a client's waits: no call fails because of one.

use super::{PATIENCE, Scratch};
use crate::backends::unix_socket::client_stream::ClientSocket;
use crate::backends::unix_socket::socket::{connect_socket, new_socket};
use crate::client_stream::ClientStream;
use crate::endpoint::SocketAddress;
use crate::framing::Carrier;
use crate::peer::Peer;
use bytes::BytesMut;
use std::io::{IoSlice, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::thread::JoinHandleExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Instant;

/// How often a call is interrupted.
const TIMES: usize = 20;

static HANDLED: AtomicUsize = AtomicUsize::new(0);

extern "C" fn handle(_signal: libc::c_int) {
    HANDLED.fetch_add(1, Ordering::SeqCst);
}

/// Runs `waits` in a thread, interrupts it repeatedly while it blocks in a system call, then lets it end by
/// `release`.
fn interrupted<T: Send + 'static>(
    waits: impl FnOnce() -> T + Send + 'static,
    release: impl FnOnce(),
) -> T {
    // One test at a time: they share the counter.
    static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    // SAFETY: an action of zeros with a handler that only adds to a counter. Without SA_RESTART, so that
    // the calls end with EINTR.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handle as extern "C" fn(libc::c_int) as usize;
        assert_eq!(libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()), 0);
    }
    let (tell, told) = channel();
    let waiting = thread::spawn(move || {
        // SAFETY: the call only returns a number.
        tell.send(unsafe { libc::gettid() }).unwrap();
        waits()
    });
    let stat = format!("/proc/self/task/{}/stat", told.recv().unwrap());
    let until = Instant::now() + PATIENCE;
    for _ in 0..TIMES {
        // The state follows the name, which ends with a parenthesis.
        let sleeps = || std::fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") S "));
        while !sleeps() && !waiting.is_finished() {
            assert!(Instant::now() < until, "it does not wait");
            thread::yield_now();
        }
        let before = HANDLED.load(Ordering::SeqCst);
        if waiting.is_finished() {
            break; // that is what the caller will see
        }
        // SAFETY: the thread has not been joined.
        unsafe { libc::pthread_kill(waiting.as_pthread_t(), libc::SIGUSR1) };
        while HANDLED.load(Ordering::SeqCst) == before && !waiting.is_finished() {
            assert!(Instant::now() < until, "the signal does not come");
            thread::yield_now();
        }
    }
    assert!(!waiting.is_finished(), "a signal ended what was waiting");
    release();
    waiting.join().unwrap()
}

fn client(socket: UnixStream) -> ClientSocket {
    ClientSocket::new(socket.into(), Peer::default(), Carrier::Stream, usize::MAX)
}

#[test]
fn a_read_survives_signals() {
    for deadline in [None, Some(Instant::now() + PATIENCE)] {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let client = client(ours);
        let read = move || {
            let mut buffer = BytesMut::with_capacity(10);
            // A receive timed out after a second.
            let waits = |read: &std::io::Result<usize>| {
                read.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::Interrupted)
            };
            let mut read = client.read(&mut buffer, deadline);
            while waits(&read) {
                read = client.read(&mut buffer, deadline);
            }
            read.map(|_| buffer)
        };
        let read = interrupted(read, || theirs.write_all(b"hello").unwrap());
        assert_eq!(read.unwrap(), "hello");
    }
}

/// The wait may return early but not fail: the caller checks again.
#[test]
fn a_wait_for_room_survives_signals() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let client = client(ours);
    let full = vec![7u8; 1 << 16];
    while client.write(&[IoSlice::new(&full)]).is_ok() {}
    let wait = move || {
        let deadline = Some(Instant::now() + PATIENCE);
        loop {
            client.wait_writable(false, deadline)?;
            match client.write(&[IoSlice::new(b"x")]) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                written => return written,
            }
        }
    };
    let written = interrupted(wait, || {
        theirs.set_nonblocking(true).unwrap();
        while theirs.read(&mut vec![0; 1 << 16]).is_ok_and(|read| read > 0) {}
    });
    assert_eq!(written.unwrap(), 1);
}

#[test]
fn a_connect_survives_signals() {
    let scratch = Scratch::new();
    let path = scratch.path("socket");
    let address = SocketAddress::File { path: path.clone(), private: None };
    let socket = new_socket(Carrier::Stream).unwrap();
    let place = rustix::net::SocketAddrUnix::new(&path).unwrap();
    rustix::net::bind(&socket, &place).unwrap();
    rustix::net::listen(&socket, 0).unwrap();
    let _first = UnixStream::connect(&path).unwrap();
    let listener = UnixListener::from(socket);
    let connect = move || connect_socket(&address, PATIENCE, Carrier::Stream).map(drop);
    let connected = interrupted(connect, || drop(listener.accept().unwrap()));
    connected.unwrap();
}
