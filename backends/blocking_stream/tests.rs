//! The queues between a connection and its threads.

use super::pump::{Link, QUEUE};
use crate::byte_stream::ByteStream;
use bytes::BytesMut;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::sync::mpsc::{Receiver, Sender, channel};

/// A stream whose reads and writes wait until they are let through, and say how much they were given.
struct Gate {
    go: Receiver<()>,
    tell: Sender<usize>,
}

fn gate() -> (Gate, Sender<()>, Receiver<usize>) {
    let ((open, go), (tell, told)) = (channel(), channel());
    (Gate { go, tell }, open, told)
}

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.go.recv();
        let _ = self.tell.send(bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Gate {
    /// Fills what it is given, as often as it is let through; then it ends.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.go.recv().is_err() {
            return Ok(0);
        }
        buffer.fill(7);
        let _ = self.tell.send(buffer.len());
        Ok(buffer.len())
    }
}

fn write(link: &Link, size: usize) -> io::Result<usize> {
    link.write(&[IoSlice::new(&vec![7; size])])
}

#[test]
fn what_waits_to_be_written_has_a_limit() {
    for (first, takes) in [(QUEUE - 1, 1), (QUEUE, 0), (QUEUE + 1, 0)] {
        let (writer, open, told) = gate();
        let link = Link::start(ByteStream::new(io::empty(), writer)).unwrap();
        assert_eq!(write(&link, first).unwrap(), first.min(QUEUE));
        match write(&link, 1) {
            Ok(taken) => assert_eq!(taken, takes),
            Err(error) => assert!(takes == 0 && error.kind() == ErrorKind::WouldBlock, "{error}"),
        }
        assert!(!link.lock().is_writable());
        // What the thread has taken counts until it is written.
        open.send(()).unwrap();
        let written = told.recv().unwrap();
        let mut state = link.lock();
        while !state.is_writable() {
            state = link.wait(state, None);
        }
        drop(state);
        assert_eq!(write(&link, QUEUE).unwrap(), written);
        drop(open);
        link.shutdown();
    }
}

#[test]
fn what_has_arrived_and_is_not_read_has_a_limit() {
    let (reader, open, told) = gate();
    let link = Link::start(ByteStream::new(reader, io::sink())).unwrap();
    (0..4).for_each(|_| open.send(()).unwrap());
    let mut arrived = 0;
    while arrived < QUEUE {
        arrived += told.recv().unwrap();
    }
    assert_eq!(arrived, QUEUE, "a read is begun only with room for it");
    let mut buffer = BytesMut::with_capacity(arrived / 2 - 1);
    let mut state = link.lock();
    while !state.is_readable() {
        state = link.wait(state, None);
    }
    drop(state);
    // One byte less than a read needs.
    let mut taken = link.read(&mut buffer).unwrap();
    assert!(told.try_recv().is_err());
    while taken < 2 * QUEUE {
        buffer.clear();
        let mut state = link.lock();
        while !state.is_readable() {
            state = link.wait(state, None);
        }
        drop(state);
        taken += link.read(&mut buffer).unwrap();
    }
    assert_eq!((taken, told.try_iter().sum::<usize>()), (2 * QUEUE, QUEUE));
    drop(open);
    link.shutdown();
}
