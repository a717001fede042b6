//! What every stream of a client promises of `wake`: of two threads that wait neither takes what is for the other.

use crate::access::Trust;
use crate::backends::{connect, memory, over_stream};
use crate::byte_stream::ByteStream;
use crate::client_stream::ClientStream;
use crate::endpoint::Endpoint;
use crate::framing::Carrier;
use crate::limits::Limits;
use crate::{LocalServer, MessageServer};
use bytes::BytesMut;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

/// A deadline that only a failing test reaches.
const PATIENCE: Duration = Duration::from_secs(60);

const ROUNDS: usize = 200;

/// Wakes a thread that reads and one that waits to write, of a stream on which neither can go on.
fn check(stream: &dyn ClientStream) {
    while stream.write(&[IoSlice::new(&[0; 4096])]).is_ok() {}
    for round in 0..ROUNDS {
        thread::scope(|scope| {
            let (done, ended) = channel();
            let reader_done = done.clone();
            scope.spawn(move || {
                let read = stream.read(&mut BytesMut::with_capacity(64), None);
                assert_eq!(read.unwrap_err().kind(), ErrorKind::Interrupted);
                reader_done.send("the reader").unwrap();
            });
            scope.spawn(move || {
                stream.wait_writable(false, None).unwrap();
                done.send("the writer").unwrap();
            });
            stream.wake();
            let first = ended.recv_timeout(PATIENCE);
            if let Err(error) = first.and_then(|_| ended.recv_timeout(PATIENCE)) {
                stream.shutdown();
                panic!("round {round}: only {first:?} was woken: {error}");
            }
        });
    }
}

#[test]
fn over_the_system() {
    let name = format!("msgpipe.wake.{}", std::process::id());
    // It does not read.
    let mut server = LocalServer::bind(name.as_str()).unwrap();
    let endpoint = Endpoint::name(&name).unwrap();
    let serving = thread::spawn(move || {
        let accepted = server.poll(Some(PATIENCE)).unwrap();
        (server, accepted)
    });
    let limits = Limits::default();
    let (stream, _) = connect(&endpoint, &limits, Carrier::Stream, &Trust::default()).unwrap();
    let _server = serving.join().unwrap();
    check(&*stream);
}

#[test]
fn in_memory() {
    let hub = memory::Hub::new();
    let _server = hub.listen("wake", Limits::default()).unwrap();
    check(&hub.connect("wake").unwrap());
}

/// A stream that waits until the test has ended.
struct Silent(Receiver<()>);

impl Read for Silent {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        let _ = self.0.recv();
        Ok(0)
    }
}

impl Write for Silent {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        let _ = self.0.recv();
        Err(ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn over_two_streams() {
    let ((reads, reader), (writes, writer)) = (channel(), channel());
    let stream = ByteStream::new(Silent(reader), Silent(writer));
    let (stream, _) = over_stream(stream).unwrap();
    check(&*stream);
    drop((reads, writes));
}
