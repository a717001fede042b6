//! Servers with the plain framings, for clients that do not use this crate.

use crate::common::{Backend, next, pattern};
use msgpipe::framing::{Framing, FramingError, LengthPrefix, Lines};
use msgpipe::{CloseReason, Event, Limits, MessageServer};
use std::sync::Arc;
use std::thread;

crate::on_every_transport!(length_prefixes, length_prefixes_that_count_themselves, lines,);

/// More than any buffer holds.
const LIMIT: usize = 300_000;

/// A client says `good`, then `bad`. The server echoes every message and is through with the client
/// once it has said what it must not; the client hears its `good` again, and nothing else.
fn echoes<B: Backend>(framing: impl Framing + 'static, good: Vec<u8>, bad: &[u8]) -> FramingError {
    let backend = B::new();
    let mut server = backend.listen_in(Arc::new(framing), &Limits::default()).unwrap();
    let mut raw = backend.raw();
    let says = [&good, bad].concat();
    let talking = thread::spawn(move || {
        raw.write(&says);
        raw.read_to_end()
    });
    let error = loop {
        match next(&mut server) {
            Event::Message(from, message) => server.send(from, message).unwrap(),
            Event::Closed(_, CloseReason::Peer(error)) => break error,
            Event::Connected(_) => {}
            event => panic!("{event:?}"),
        }
    };
    assert!(talking.join().unwrap() == good, "other bytes than were sent");
    error
}

fn messages() -> Vec<Vec<u8>> {
    vec![b"hello".to_vec(), Vec::new(), pattern(LIMIT, 1), pattern(70_000, 2)]
}

/// The messages, each after its header.
fn prefixed(prefix: impl Fn(u32) -> [u8; 4]) -> Vec<u8> {
    messages().iter().flat_map(|m| [&prefix(m.len() as u32), &m[..]].concat()).collect()
}

fn length_prefixes<B: Backend>() {
    let bad = (LIMIT as u32 + 1).to_be_bytes();
    let error = echoes::<B>(LengthPrefix::big_endian(LIMIT), prefixed(u32::to_be_bytes), &bad);
    assert_eq!(error, FramingError::TooLarge { size: LIMIT as u64 + 1, limit: LIMIT });
}

fn length_prefixes_that_count_themselves<B: Backend>() {
    let framing = LengthPrefix::little_endian(LIMIT).counting_header();
    let good = prefixed(|size| (size + 4).to_le_bytes());
    let error = echoes::<B>(framing, good, &3_u32.to_le_bytes());
    assert!(matches!(error, FramingError::Other(_)), "{error}");
}

fn lines<B: Backend>() {
    let mut good: Vec<u8> = Vec::new();
    for mut line in messages() {
        line.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b'\r');
        good.extend([&line[..], b"\n"].concat());
    }
    let error = echoes::<B>(Lines::new(LIMIT), good, &vec![b'x'; LIMIT + 1]);
    assert_eq!(error, FramingError::TooLarge { size: LIMIT as u64 + 1, limit: LIMIT });
}
