//! The end of a peer whose messages wait for the server's memory: nothing else may free that.

use crate::common::raw::{frame, preface};
use crate::common::{Backend, connected, next};
use msgpipe::framing::Layer;
use msgpipe::{ByteStream, Event, Limits, MessageServer, Peer, ServerOptions};
use std::io::{self, Cursor, ErrorKind, Read, Write};
use std::time::Duration;

crate::on_named_transports!(a_peer_that_goes_while_it_waits_for_memory_is_let_go);

/// More messages than mio's first read of a pipe takes, and less than a pipe's buffer.
const MESSAGES: usize = 50;

/// The next events are these messages and the end.
fn ends_after(server: &mut impl MessageServer, messages: usize) {
    let mut arrived = 0;
    loop {
        match next(server) {
            Event::Message(..) => arrived += 1,
            Event::Closed(..) => break,
            event => panic!("{event:?}"),
        }
    }
    assert_eq!(arrived, messages);
}

fn a_peer_that_goes_while_it_waits_for_memory_is_let_go<B: Backend>() {
    for messages in [1, MESSAGES] {
        let backend = B::new();
        let mut server = backend.listen(&Limits::default()).unwrap();
        let mut raw = backend.raw();
        let id = connected(&mut server);
        let share = server.share(id).unwrap();
        let held = share.room();
        share.charge(held);
        assert!(raw.write(&[preface(Layer::Messages), frame(&[7; 1000])].concat()));
        for _ in 0..10 {
            let event = server.poll(Some(Duration::from_millis(5))).unwrap();
            assert!(event.is_none(), "there was memory: {event:?}");
        }
        (1..messages).for_each(|_| assert!(raw.write(&frame(&[7; 1000]))));
        drop(raw);
        ends_after(&mut server, messages);
        share.release(held);
    }
}

/// Reads what there is, and then the end.
struct Gone(Cursor<Vec<u8>>);

impl Read for Gone {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Gone {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_stream_that_ends_in_both_directions_does_not_wait_for_memory() {
    let sent = [preface(Layer::Messages), frame(&[7; 1000])].concat();
    let mut peer = Peer::default();
    peer.same_user = true;
    let stream = ByteStream::new(Gone(Cursor::new(sent)), Gone(Cursor::default())).with_peer(peer);
    let mut server = ServerOptions::new().over_stream_messages(stream).unwrap();
    let id = connected(&mut server);
    let share = server.share(id).unwrap();
    let held = share.room();
    share.charge(held);
    ends_after(&mut server, 1);
    share.release(held);
}
