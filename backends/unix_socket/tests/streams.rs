//! The two ends of a connection, each on its own.

use super::{PATIENCE, in_child};
use crate::backends::unix_socket::client_stream::ClientSocket;
use crate::backends::unix_socket::stream::{SocketStream, send, suppress_sigpipe};
use crate::client_stream::ClientStream;
use crate::connections::ServerStream;
use crate::framing::{Carrier, SendQueue};
use crate::peer::Peer;
use bytes::{Bytes, BytesMut};
use rustix::net::SendFlags;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// A host program in another language may not ignore SIGPIPE.
#[test]
fn a_write_to_a_closed_peer_raises_no_signal() {
    for pieces in [1, 2] {
        let survived = in_child(|| {
            // SAFETY: the child has one thread, and the default is a valid disposition.
            unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
            let (ours, theirs) = UnixStream::pair().unwrap();
            suppress_sigpipe(&ours).unwrap();
            drop(theirs);
            let slices = [IoSlice::new(b"hello"), IoSlice::new(b"there")];
            let sent = send(&ours, &slices[..pieces], SendFlags::empty());
            sent.is_err_and(|error| error.kind() == ErrorKind::BrokenPipe)
        });
        assert_eq!(survived, Ok(true), "{pieces} pieces; an error is the signal");
    }
}

#[test]
fn a_partial_write_returns_its_length_and_only_an_empty_one_would_block() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let ours = mio::net::UnixStream::from_std(ours);
    let mut stream = SocketStream::new(ours, Carrier::Stream, None).unwrap();
    let mut queue = SendQueue::default();
    const SIZE: usize = 8 << 20;
    // Many slices: several writes take what fits before one blocks.
    for _ in 0..SIZE / 4096 {
        queue.put_bytes(Bytes::from(vec![7; 4096]));
    }
    let sent = stream.write(&mut queue).unwrap();
    assert!(0 < sent && sent < SIZE, "{sent}");
    assert_eq!(queue.len(), SIZE - sent);
    assert_eq!(stream.write(&mut queue).unwrap_err().kind(), ErrorKind::WouldBlock);
    theirs.read_exact(&mut vec![0; sent]).unwrap();
    assert!(stream.write(&mut queue).unwrap() > 0);
}

#[test]
fn a_client_waits_until_its_deadline() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let client = ClientSocket::new(ours.into(), Peer::default(), Carrier::Stream, usize::MAX);
    let mut buffer = BytesMut::with_capacity(100);
    let read = |buffer: &mut BytesMut, wait: Option<Duration>| {
        let started = Instant::now();
        let read = client.read(buffer, wait.map(|wait| started + wait));
        let early = wait.is_some_and(|wait| started.elapsed() < wait);
        read.map_err(|error| (error.kind(), early))
    };
    for wait in [Duration::ZERO, Duration::from_millis(1), Duration::from_millis(30)] {
        let timed_out = read(&mut buffer, Some(wait));
        assert_eq!(timed_out, Err((ErrorKind::TimedOut, false)), "{wait:?}");
    }
    theirs.write_all(b"now").unwrap();
    assert_eq!(read(&mut buffer, Some(Duration::ZERO)), Ok(3));
    let writing = std::thread::spawn(move || {
        theirs.write_all(b"later").unwrap();
        theirs
    });
    assert_eq!(read(&mut buffer, Some(PATIENCE)), Ok(5));
    let mut theirs = writing.join().unwrap();
    theirs.write_all(b"last").unwrap();
    drop(theirs);
    // The longest deadline of a caller.
    assert_eq!(read(&mut buffer, Some(Duration::from_millis(u64::MAX))), Ok(4));
    assert_eq!(read(&mut buffer, Some(PATIENCE)), Ok(0));
    assert_eq!(buffer, "nowlaterlast");
}

#[test]
fn a_client_of_several_threads_can_be_woken() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let client = ClientSocket::new(ours.into(), Peer::default(), Carrier::Stream, usize::MAX);
    let deadline = Some(Instant::now() + PATIENCE);
    let mut buffer = BytesMut::with_capacity(100);
    let woken = |buffer: &mut BytesMut| client.read(buffer, deadline).unwrap_err().kind();
    // This thread is the first user: otherwise the other one could be, and its wake would wake nobody.
    client.write(&[IoSlice::new(b"x")]).unwrap();
    // A thread that waits alone soon notices a second one, which can wake it.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            client.write(&[IoSlice::new(b"x")]).unwrap();
            client.wake();
        });
        assert_eq!(woken(&mut buffer), ErrorKind::Interrupted);
    });
    for _ in 0..3 {
        std::thread::scope(|scope| {
            scope.spawn(|| client.wake());
            assert_eq!(woken(&mut buffer), ErrorKind::Interrupted);
        });
    }
    // Several wakes before the wait count once, and arrived bytes are still read.
    (0..1000).for_each(|_| client.wake());
    assert_eq!(woken(&mut buffer), ErrorKind::Interrupted);
    client.wake();
    theirs.write_all(b"here").unwrap();
    assert_eq!(client.read(&mut buffer, deadline).unwrap(), 4);
    let soon = Some(Instant::now() + Duration::from_millis(5));
    assert_eq!(client.read(&mut buffer, soon).unwrap_err().kind(), ErrorKind::TimedOut);
}

/// Whether the buffer of a socket of this carrier becomes smaller and has its size again afterwards.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[test]
fn the_send_buffer_is_small_for_a_time_unless_it_bounds_records_or_is_small() {
    use super::super::stream::IN_TRANSIT;
    use rustix::net::sockopt;
    for (carrier, before, during) in [
        (Carrier::Stream, IN_TRANSIT + 2048, IN_TRANSIT),
        (Carrier::Stream, IN_TRANSIT, IN_TRANSIT),
        (Carrier::Stream, IN_TRANSIT - 2048, IN_TRANSIT - 2048),
        (Carrier::Messages, IN_TRANSIT + 2048, IN_TRANSIT + 2048),
    ] {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        sockopt::set_socket_send_buffer_size(&ours, before / 2).unwrap();
        let probe = ours.try_clone().unwrap();
        let size = || sockopt::socket_send_buffer_size(&probe).unwrap();
        ours.set_nonblocking(true).unwrap();
        let ours = mio::net::UnixStream::from_std(ours);
        let mut stream = SocketStream::new(ours, carrier, None).unwrap();
        assert_eq!(size(), before);
        for _ in 0..2 {
            stream.limit_in_transit(true);
            stream.limit_in_transit(true);
            assert_eq!(size(), during, "{carrier:?} {before}");
            stream.limit_in_transit(false);
            stream.limit_in_transit(false);
            assert_eq!(size(), before, "{carrier:?} {before}");
        }
    }
}
