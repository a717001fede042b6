//! What mio does with a pipe internally, as far as this crate depends on it (the list in `mio_pipe`); and
//! that what is written beside mio arrives in order, complete, and once.

use super::handle::wide;
use super::instance::{self, Which};
use super::mio_pipe::MioPipe;
use super::security::descriptor;
use super::traps::{A_WHILE, PATIENCE, accept, listener, open};
use super::waiting::{look, read_now, write_now};
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
    let name = format!(r"\\.\pipe\msgpipe.beside.{}.{number}", std::process::id());
    let descriptor = descriptor(&Access::Owner, &name.as_str().into()).unwrap();
    let handle = instance::create(&wide(&name).unwrap(), Which::First, &descriptor).unwrap();
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

/// A client of such an instance, after an event has reported it.
fn noticed(poll: &mut Poll, mio: &MioPipe, name: &str) -> File {
    let client = open(name).unwrap();
    events(poll);
    assert_eq!(mio.has_client(), Some(true));
    events(poll);
    client
}

/// The read that is refused to mio makes an event before there is a client.
#[test]
fn to_connect_again_tells_whether_there_is_a_client() {
    let mut poll = Poll::new().unwrap();
    let (mio, _handle, name) = without_reading(&poll);
    for _ in 0..3 {
        events(&mut poll);
        assert_eq!(mio.has_client(), Some(false));
    }
    let _client = open(&name).unwrap();
    assert!(!events(&mut poll).is_empty(), "no event tells of the client");
    assert_eq!(mio.has_client(), Some(true));
}

#[test]
fn without_the_right_to_read_mio_reads_nothing_and_writes() {
    let mut poll = Poll::new().unwrap();
    let (mut mio, handle, name) = without_reading(&poll);
    let mut client = noticed(&mut poll, &mio, &name);
    for round in 1..4 {
        client.write_all(b"a message").unwrap();
        events(&mut poll);
        assert_eq!(mio.write(b"an answer").unwrap(), 9);
        assert!(events(&mut poll).iter().any(Event::is_writable), "the write does not end");
        mio.writable();
        let mut answer = [0; 20];
        assert_eq!(client.read(&mut answer).unwrap(), 9);
        assert_eq!(look(handle.as_handle()).unwrap().bytes, round * 9, "mio has read");
    }
}

/// mio takes every completion packet with a pipe's key for one of its own operations.
#[test]
fn what_is_done_beside_mio_makes_no_event() {
    let mut poll = Poll::new().unwrap();
    let (mio, handle, name) = without_reading(&poll);
    let mut client = noticed(&mut poll, &mio, &name);
    let (mut room, mut answer) = ([MaybeUninit::uninit(); 20], [0; 20]);
    for _ in 0..3 {
        let nothing = read_now(handle.as_handle(), &mut room).unwrap_err();
        assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
        client.write_all(b"a message").unwrap();
        assert_eq!(look(handle.as_handle()).unwrap().bytes, 9);
        assert_eq!(read_now(handle.as_handle(), &mut room).unwrap(), 9);
        write_now(mio.handle(), b"an answer").unwrap();
        assert_eq!(client.read(&mut answer).unwrap(), 9);
    }
    assert!(events(&mut poll).is_empty(), "somebody else's packet");
}

#[test]
fn a_write_of_mios_is_one_at_a_time_and_ends_with_an_event() {
    const SIZE: usize = 300_000;
    let mut poll = Poll::new().unwrap();
    let (mut mio, _handle, name) = without_reading(&poll);
    let mut client = noticed(&mut poll, &mio, &name);
    assert_eq!(mio.write(&[7; SIZE]).unwrap(), SIZE);
    assert!(events(&mut poll).is_empty(), "it has ended, and nobody has read");
    // As if there had been an event.
    mio.writable();
    assert_eq!(mio.write(b"more").unwrap_err().kind(), ErrorKind::WouldBlock);
    let mut all = vec![0; SIZE];
    client.read_exact(&mut all).unwrap();
    assert!(all.iter().all(|&byte| byte == 7));
    assert!(events(&mut poll).iter().any(Event::is_writable), "no event tells of its end");
    assert_eq!(mio.write(b"more").unwrap(), 4);
}

/// With reads of one size a large message would cost a poll of the port for each of its pieces.
#[test]
fn a_read_is_as_large_as_what_was_asked_for_before() {
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
fn bytes_keep_their_order_however_much_is_asked_for() {
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
        let mut stream = stream.asking_first(first);
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

/// A write that has to wait for the reader is cancelled, and made again by mio or later. If a part of it
/// could be taken by then, bytes would arrive twice. The client reads more at once than the pipe holds.
#[test]
fn a_write_that_has_to_wait_is_taken_back_whole() {
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
    let mut taken_back = 0;
    for number in 0..500 {
        while let Err(error) = stream.write_now(&message(number)) {
            assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
            taken_back += 1;
            std::thread::yield_now();
        }
    }
    assert!(reading.join().unwrap() == expected);
    assert!(taken_back > 0, "the pipe was never full");
}
