//! The internal behaviour of mio on pipes that this crate depends on (the list in `mio_pipe`). Also tests that
//! bytes written without mio arrive in order, complete and once.

use super::handle::wide;
use super::instance::{self, InstanceKind};
use super::mio_pipe::MioPipe;
use super::nonblocking::{peek, try_read, try_write};
use super::security::descriptor;
use super::traps::{A_WHILE, PATIENCE, accept, listener, open};
use crate::Access;
use crate::connections::ServerStream;
use bytes::BytesMut;
use mio::event::Event;
use mio::{Events, Poll, Token};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::mem::MaybeUninit;
use std::os::windows::io::{AsHandle, OwnedHandle};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A listening instance that mio has no right to read from, the handle with all rights, and the name.
fn without_reading(poll: &Poll) -> (MioPipe, OwnedHandle, String) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!(r"\\.\pipe\msgpipe.internals.{}.{number}", std::process::id());
    let descriptor = descriptor(&Access::Owner, &name.as_str().into()).unwrap();
    let handle = instance::create(&wide(&name).unwrap(), InstanceKind::First, &descriptor).unwrap();
    let (registry, token) = (poll.registry(), Token(1));
    let mio = MioPipe::listen_without_reading(&handle, registry, token, &Arc::default()).unwrap();
    (mio, handle, name)
}

/// Polls until no more events come; returns the events.
fn events(poll: &mut Poll) -> Vec<Event> {
    let (mut events, mut all) = (Events::with_capacity(16), Vec::new());
    loop {
        poll.poll(&mut events, Some(A_WHILE)).unwrap();
        if events.is_empty() {
            return all;
        }
        all.extend(events.iter().cloned());
    }
}

/// Connects a client to such an instance, and polls until an event has reported it.
fn connect(poll: &mut Poll, mio: &MioPipe, name: &str) -> File {
    let client = open(name).unwrap();
    events(poll);
    assert_eq!(mio.has_client(), Some(true));
    events(poll);
    client
}

/// mio's refused read posts an event before there is a client.
#[test]
fn a_second_connect_reports_whether_a_client_is_connected() {
    let mut poll = Poll::new().unwrap();
    let (mio, _handle, name) = without_reading(&poll);
    for _ in 0..3 {
        events(&mut poll);
        assert_eq!(mio.has_client(), Some(false));
    }
    let _client = open(&name).unwrap();
    assert!(!events(&mut poll).is_empty(), "no event reports the client");
    assert_eq!(mio.has_client(), Some(true));
}

#[test]
fn without_the_right_to_read_mio_reads_nothing_and_writes() {
    let mut poll = Poll::new().unwrap();
    let (mut mio, handle, name) = without_reading(&poll);
    let mut client = connect(&mut poll, &mio, &name);
    for round in 1..4 {
        client.write_all(b"a message").unwrap();
        events(&mut poll);
        assert_eq!(mio.write(b"an answer").unwrap(), 9);
        assert!(
            events(&mut poll).iter().any(Event::is_writable),
            "no event reports the completion"
        );
        mio.writable();
        let mut answer = [0; 20];
        assert_eq!(client.read(&mut answer).unwrap(), 9);
        assert_eq!(peek(handle.as_handle()).unwrap().bytes, round * 9, "mio has read");
    }
}

/// mio takes every completion packet with a pipe's key for one of its own operations.
#[test]
fn operations_outside_mio_post_no_event() {
    let mut poll = Poll::new().unwrap();
    let (mio, handle, name) = without_reading(&poll);
    let mut client = connect(&mut poll, &mio, &name);
    let (mut room, mut answer) = ([MaybeUninit::uninit(); 20], [0; 20]);
    for _ in 0..3 {
        let nothing = try_read(handle.as_handle(), &mut room).unwrap_err();
        assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
        client.write_all(b"a message").unwrap();
        assert_eq!(peek(handle.as_handle()).unwrap().bytes, 9);
        assert_eq!(try_read(handle.as_handle(), &mut room).unwrap(), 9);
        try_write(mio.handle(), b"an answer").unwrap();
        assert_eq!(client.read(&mut answer).unwrap(), 9);
    }
    assert!(events(&mut poll).is_empty(), "a packet of another operation");
}

#[test]
fn one_write_of_mios_is_in_flight_and_its_completion_is_an_event() {
    const SIZE: usize = 300_000;
    let mut poll = Poll::new().unwrap();
    let (mut mio, _handle, name) = without_reading(&poll);
    let mut client = connect(&mut poll, &mio, &name);
    assert_eq!(mio.write(&[7; SIZE]).unwrap(), SIZE);
    assert!(events(&mut poll).is_empty(), "it has completed, and nothing was read");
    // As if there had been an event.
    mio.writable();
    assert_eq!(mio.write(b"more").unwrap_err().kind(), ErrorKind::WouldBlock);
    let mut all = vec![0; SIZE];
    client.read_exact(&mut all).unwrap();
    assert!(all.iter().all(|&byte| byte == 7));
    assert!(events(&mut poll).iter().any(Event::is_writable), "no event reports its completion");
    assert_eq!(mio.write(b"more").unwrap(), 4);
}

/// With reads of one size a large message would cost a poll of the port for each of its pieces.
#[test]
fn a_read_is_as_large_as_the_last_request() {
    const SIZE: usize = 60_000;
    let (mut poller, mut listener, name) = listener();
    let mut client = open(&name).unwrap();
    let (_, mut stream) = accept(&mut listener, &mut poller);
    let mut taken = Vec::new();
    for _ in 0..8 {
        client.write_all(&[7; SIZE]).unwrap();
        let (mut arrived, mut reads) = (0, 0);
        while arrived < SIZE {
            // No more room than the message needs, as for a message that has arrived in part.
            match stream.read(&mut BytesMut::with_capacity(SIZE - arrived)) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    poller.poll.poll(&mut Events::with_capacity(16), Some(PATIENCE)).unwrap();
                }
                read => {
                    arrived += read.unwrap();
                    reads += 1;
                }
            }
        }
        taken.push(reads);
    }
    assert!(taken[0] > 1 && taken[7] == 1, "{taken:?}");
}

/// The size of mio's reads is internal to mio: what this crate assumes about it determines the speed, and
/// nothing else. The assumption may be right, too small (mio has more than is requested) or too large.
#[test]
fn bytes_keep_their_order_at_any_read_size() {
    for first in [1, 2, 1000, 4095, 4096, 4097, 8191, 65_535, 1 << 20] {
        let (mut poller, mut listener, name) = listener();
        let sent: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
        let (bytes, mut client) = (sent.clone(), open(&name).unwrap());
        let writing = std::thread::spawn(move || {
            for piece in bytes.chunks(60_001) {
                client.write_all(piece).unwrap();
            }
        });
        let (_, stream) = accept(&mut listener, &mut poller);
        let mut stream = stream.with_read_size(first);
        let mut events = Events::with_capacity(16);
        let (mut arrived, mut reads) = (Vec::new(), 0);
        loop {
            // As little room as at the end of a large message, and much room.
            let mut buffer = BytesMut::with_capacity([64 * 1024, 700][reads % 2]);
            let is_full = match stream.read(&mut buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => false,
                read => {
                    assert_eq!(read.unwrap(), buffer.len());
                    reads += 1;
                    if buffer.is_empty() {
                        break;
                    }
                    arrived.extend_from_slice(&buffer);
                    buffer.len() == buffer.capacity()
                }
            };
            // No bytes are left for which no event comes.
            if !is_full {
                poller.poll.poll(&mut events, Some(PATIENCE)).unwrap();
                assert!(!events.is_empty(), "{first}: no event after {} bytes", arrived.len());
            }
        }
        writing.join().unwrap();
        assert!(arrived == sent, "{first}: {} bytes of {}", arrived.len(), sent.len());
        println!("{first} bytes at first: {reads} reads");
    }
}

/// A write that has to wait for the reader is cancelled, and repeated by mio or later. If the system had taken
/// a part of it, bytes would arrive twice. The client reads more at once than the pipe's buffer holds.
#[test]
fn a_pending_write_is_cancelled_as_a_whole() {
    const SIZES: [usize; 5] = [60_000, 65_536, 1, 7_000, 65_535];
    let (mut poller, mut listener, name) = listener();
    let mut client = open(&name).unwrap();
    let (_, stream) = accept(&mut listener, &mut poller);
    let message = |number: usize| vec![number as u8; SIZES[number % SIZES.len()]];
    let expected: Vec<u8> = (0..500).flat_map(message).collect();
    let total = expected.len();
    let reading = std::thread::spawn(move || {
        let (mut all, mut some) = (Vec::new(), vec![0; 200_000]);
        while all.len() < total {
            let read = client.read(&mut some).unwrap();
            all.extend_from_slice(&some[..read]);
        }
        all
    });
    let mut cancelled = 0;
    for number in 0..500 {
        while let Err(error) = stream.try_write(&message(number)) {
            assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
            cancelled += 1;
            std::thread::yield_now();
        }
    }
    assert!(reading.join().unwrap() == expected);
    assert!(cancelled > 0, "the pipe was never full");
}
