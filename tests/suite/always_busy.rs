//! Polls that do not wait, of servers that always find something to do and have no event to return.

use crate::common::{Backend, Memory, Raw};
use bytes::{Bytes, BytesMut};
use msgpipe::framing::{Decoder, Encoder, Framing, FramingError, Layer, Native};
use msgpipe::{ByteStream, Event, Limits, MessageServer, Peer, ServerOptions};
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

crate::on_every_transport!(a_flood_without_events_does_not_keep_a_poll_that_does_not_wait);

/// How long the floods last: a poll that returned at their end would be seen.
const FLOOD: Duration = Duration::from_secs(3);

/// Messages that never end. At each look for one this is called.
struct Endless(Arc<dyn Fn() + Send + Sync>);

impl Framing for Endless {
    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(Endless(self.0.clone()))
    }

    fn encoder(&self) -> Box<dyn Encoder> {
        Native::new(Layer::Messages, 1000).encoder()
    }
}

impl Decoder for Endless {
    fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Bytes>, FramingError> {
        let arrived = !input.is_empty();
        input.clear();
        if arrived {
            (self.0)();
        }
        Ok(None)
    }
}

/// Polls without waiting, from the first event on, until the flood is over. Returns how many polls there were.
fn polls(server: &mut impl MessageServer, is_over: impl Fn() -> bool) -> usize {
    let event = server.poll(None).unwrap();
    assert!(matches!(event, Some(Event::Connected(_))), "{event:?}");
    let mut polls = 0;
    while !is_over() {
        match server.poll(Some(Duration::ZERO)).unwrap() {
            None => polls += 1,
            Some(Event::Closed(_, reason)) => panic!("{reason}"),
            Some(_) => {}
        }
    }
    polls
}

/// The client writes as fast as it can.
fn a_flood_without_events_does_not_keep_a_poll_that_does_not_wait<B: Backend>() {
    let backend = B::new();
    let mut server =
        backend.listen_in(Arc::new(Endless(Arc::new(|| {}))), &Limits::default()).unwrap();
    let (mut raw, is_over) = (backend.raw(), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            let (began, bytes) = (Instant::now(), vec![7; 64 << 10]);
            while began.elapsed() < FLOOD / 3 && raw.write(&bytes) {}
            is_over.store(true, Ordering::SeqCst);
        });
        let polls = polls(&mut server, || is_over.load(Ordering::SeqCst));
        assert!(polls > 10, "{polls} polls");
    });
}

/// The client writes more whenever it was read.
#[test]
fn a_server_in_memory_that_is_always_busy_ends_its_polls() {
    let (backend, began) = (Memory::new(), Instant::now());
    let client: Arc<Mutex<Option<Raw>>> = Arc::default();
    let writer = client.clone();
    let more = move || {
        if let Some(raw) = writer.lock().unwrap().as_mut().filter(|_| began.elapsed() < FLOOD) {
            raw.write(b"more");
        }
    };
    let mut server =
        backend.listen_in(Arc::new(Endless(Arc::new(more))), &Limits::default()).unwrap();
    let mut raw = backend.raw();
    raw.write(b"first");
    *client.lock().unwrap() = Some(raw);
    assert!(polls(&mut server, || began.elapsed() >= FLOOD) > 10);
    drop(client.lock().unwrap().take());
}

/// A stream of which there always is more, and how often it was read.
#[derive(Clone, Default)]
struct Source(Arc<(Mutex<u64>, Condvar)>);

impl Source {
    /// Waits until what is read next has been queued: until the reads after it have begun.
    fn wait(&self, until: Instant) {
        let (reads, changed) = &*self.0;
        let mut reads = reads.lock().unwrap();
        let before = *reads;
        while *reads < before + 2 && Instant::now() < until {
            reads = changed.wait_timeout(reads, FLOOD / 10).unwrap().0;
        }
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (reads, changed) = &*self.0;
        *reads.lock().unwrap() += 1;
        changed.notify_all();
        buffer[0] = 7;
        Ok(1)
    }
}

#[test]
fn a_server_over_a_stream_that_is_always_busy_ends_its_polls() {
    let (source, until) = (Source::default(), Instant::now() + FLOOD);
    let (waits, begins) = (source.clone(), source.clone());
    let framing = Endless(Arc::new(move || waits.wait(until)));
    let options = ServerOptions::new().framing(framing);
    let mut peer = Peer::default();
    peer.same_user = true;
    let stream = ByteStream::new(source, io::sink()).with_peer(peer);
    let mut server = options.over_stream_messages(stream).unwrap();
    begins.wait(until);
    assert!(polls(&mut server, || Instant::now() >= until) > 10);
}
