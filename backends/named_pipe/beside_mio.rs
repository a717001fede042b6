//! What is read and written beside mio: in the right order, all of it, and once.

use super::traps::{PATIENCE, accept, listener, open};
use crate::backends::event_loop::{Acceptor, Tokens, Wake};
use crate::connections::ServerStream;
use bytes::BytesMut;
use mio::{Events, Poll};
use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;

/// How large mio's buffers are is mio's own affair: what is thought of it decides how fast it goes, and
/// nothing else. It may be right, or too small (mio holds back more than a byte) or too large.
#[test]
fn bytes_keep_their_order_whatever_mios_buffer_holds() {
    for first in [1, 2, 1000, 4094, 4095, 4096, 8191, 65_535] {
        let (mut listener, name) = listener();
        let (mut poll, mut tokens) = (Poll::new().unwrap(), Tokens::default());
        let wake = Arc::new(Wake::new(poll.registry()).unwrap());
        listener.open(poll.registry(), &mut tokens, &wake).unwrap();
        let sent: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
        let (bytes, mut client) = (sent.clone(), open(&name).unwrap());
        let writing = std::thread::spawn(move || {
            for piece in bytes.chunks(60_001) {
                client.write_all(piece).unwrap();
            }
        });
        let (_, stream) = accept(&mut listener, &mut poll, &mut tokens);
        let mut stream = stream.taking_first(first);
        let mut events = Events::with_capacity(16);
        let (mut arrived, mut reads) = (Vec::new(), 0);
        loop {
            let mut buffer = BytesMut::with_capacity(64 * 1024);
            match stream.read(&mut buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    poll.poll(&mut events, Some(PATIENCE)).unwrap();
                }
                read => {
                    assert_eq!(read.unwrap(), buffer.len());
                    reads += 1;
                    if buffer.is_empty() {
                        break;
                    }
                    arrived.extend_from_slice(&buffer);
                }
            }
        }
        writing.join().unwrap();
        assert!(arrived == sent, "{first}: {} bytes of {}", arrived.len(), sent.len());
        println!("{first} bytes at first: {reads} reads");
    }
}

/// A write that has to wait for the reader is taken back, and made again by mio or later. If it could be
/// half taken by then, bytes would come twice. The client reads more at once than the pipe holds.
#[test]
fn a_write_that_has_to_wait_is_taken_back_whole() {
    const SIZES: [usize; 5] = [60_000, 65_536, 1, 7_000, 65_535];
    let (mut listener, name) = listener();
    let (mut poll, mut tokens) = (Poll::new().unwrap(), Tokens::default());
    let wake = Arc::new(Wake::new(poll.registry()).unwrap());
    listener.open(poll.registry(), &mut tokens, &wake).unwrap();
    let mut client = open(&name).unwrap();
    let (_, stream) = accept(&mut listener, &mut poll, &mut tokens);
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
