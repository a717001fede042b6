//! Clients over streams of the tests' own, and decoders that fail: what no system does on demand.

use crate::common::raw::{frame, preface};
use crate::common::{PATIENCE, connected};
use bytes::{Bytes, BytesMut};
use msgpipe::framing::{Decoder, Encoder, Framing, FramingError, Layer, LengthPrefix};
use msgpipe::framing::{Native, SendQueue};
use msgpipe::{
    ClientStream, CloseReason, Error, Limits, MessageClient, MessageServer, Peer,
    memory as in_memory,
};
use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

/// Panics at its first message, with what it was given half taken.
#[derive(Clone)]
struct Panics(Arc<AtomicUsize>);

impl Framing for Panics {
    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(self.clone())
    }

    fn encoder(&self) -> Box<dyn Encoder> {
        LengthPrefix::big_endian(1000).encoder()
    }
}

impl Decoder for Panics {
    fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Bytes>, FramingError> {
        if input.is_empty() {
            return Ok(None);
        }
        self.0.fetch_add(1, Ordering::SeqCst);
        panic!("a mistake in the application's decoder");
    }
}

#[test]
fn a_panic_of_a_decoder_ends_the_connection_for_all_threads() {
    let hub = in_memory::Hub::new();
    let framing = Arc::new(LengthPrefix::big_endian(1000));
    let mut server = hub.listen_with("test", Limits::default(), framing).unwrap();
    let panics = Panics(Arc::default());
    let stream = Box::new(hub.connect("test").unwrap());
    let client = MessageClient::over_framing(stream, panics.clone(), "test", Limits::default());
    let id = connected(&mut server);
    thread::scope(|scope| {
        let waiting: Vec<_> =
            (0..4).map(|_| scope.spawn(|| client.receive(Some(PATIENCE)))).collect();
        server.send(id, "hello".into()).unwrap();
        while server.poll(Some(Duration::ZERO)).unwrap().is_some() {}
        let ended: Vec<_> = waiting.into_iter().map(|thread| thread.join()).collect();
        assert_eq!(ended.iter().filter(|ended| ended.is_err()).count(), 1, "one has panicked");
        for error in ended.into_iter().flatten().map(Result::unwrap_err) {
            assert!(error.to_string().contains("panicked"), "{error}");
        }
    });
    assert_eq!(panics.0.load(Ordering::SeqCst), 1, "somebody read on");
    assert!(client.send("more").is_err());
}

/// A scripted stream that never blocks.
struct Scripted<R, W> {
    read: R,
    write: W,
    peer: Peer,
}

impl<R, W> Scripted<R, W>
where
    R: Fn(&mut BytesMut) -> io::Result<usize> + Send + Sync + 'static,
    W: Fn(&[IoSlice<'_>]) -> io::Result<usize> + Send + Sync + 'static,
{
    fn boxed(read: R, write: W) -> Box<dyn ClientStream> {
        Box::new(Scripted { read, write, peer: Peer::default() })
    }
}

impl<R, W> ClientStream for Scripted<R, W>
where
    R: Fn(&mut BytesMut) -> io::Result<usize> + Send + Sync,
    W: Fn(&[IoSlice<'_>]) -> io::Result<usize> + Send + Sync,
{
    fn read(&self, buffer: &mut BytesMut, _: Option<Instant>) -> io::Result<usize> {
        (self.read)(buffer)
    }

    fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        (self.write)(slices)
    }

    fn is_sent(&self) -> bool {
        true
    }

    fn wait_writable(&self, _: bool, _: Option<Instant>) -> io::Result<()> {
        Ok(())
    }

    fn wake(&self) {}

    fn shutdown(&self) {}

    fn peer(&self) -> &Peer {
        &self.peer
    }
}

/// A server's words, all in one read, and then its end.
fn script(says: Vec<u8>) -> Box<dyn ClientStream> {
    let reads = AtomicUsize::new(0);
    let read = move |buffer: &mut BytesMut| match reads.fetch_add(1, Ordering::SeqCst) {
        0 => {
            buffer.extend_from_slice(&says);
            Ok(says.len())
        }
        _ => Ok(0),
    };
    Scripted::boxed(read, |slices| Ok(slices.iter().map(|slice| slice.len()).sum()))
}

/// The goodbye, and not the end behind it, which another thread could have read before the first had
/// said why.
#[test]
fn every_thread_learns_the_same_reason() {
    let mut queue = SendQueue::default();
    let mut encoder = Native::new(Layer::Messages, 1000).encoder();
    encoder.begin(&mut queue);
    encoder.goodbye(200, "the licence has ended", &mut queue);
    let says = queue.to_bytes();
    for _ in 0..2000 {
        let client = MessageClient::over(script(says.to_vec()), "test", Limits::default());
        let start = Barrier::new(2);
        thread::scope(|scope| {
            let read = || {
                start.wait();
                client.receive(None).unwrap_err()
            };
            for thread in [scope.spawn(read), scope.spawn(read)] {
                let error = thread.join().unwrap();
                assert!(error.to_string().contains("the licence has ended"), "{error}");
            }
        });
    }
}

/// It takes nothing, and sends without an end: a thread that sends finds out why, and does not take in
/// what the peer has for it, however much.
#[test]
fn a_peer_that_does_not_read_cannot_delay_an_error_for_ever() {
    let (message, reads) = (frame(&[7; 8000]), AtomicUsize::new(0));
    let endless = move |buffer: &mut BytesMut| {
        let before = reads.fetch_add(1, Ordering::SeqCst);
        let says = if before == 0 { preface(Layer::Messages) } else { message.clone() };
        assert!(before + 1 < 10_000, "it reads on and on");
        let len = says.len().min(buffer.capacity() - buffer.len());
        assert_eq!(len, says.len(), "the test needs room");
        buffer.extend_from_slice(&says);
        Ok(len)
    };
    let stream = Scripted::boxed(endless, |_| Err(io::ErrorKind::BrokenPipe.into()));
    let mut limits = Limits::default();
    limits.queued = 100_000;
    let client = MessageClient::over(stream, "test", limits);
    let error = client.send("hello").unwrap_err();
    assert!(matches!(error, Error::Closed { reason: CloseReason::Broken(_), .. }), "{error}");
    // What was read is still there, and is no more than may be kept.
    let mut kept = 0;
    while let Ok(message) = client.receive(Some(Duration::ZERO)) {
        kept += message.len();
    }
    assert!(kept <= 100_000 + 8000, "{kept} bytes were kept");
}
