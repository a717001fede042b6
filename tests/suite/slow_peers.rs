//! Slow, silent or flooding peers, each beside fifty normal ones. The normal ones lose nothing, and
//! the faulty one delays only itself.
//!
//! The times of replies with and without the faulty peer are printed, not compared: that is for benchmarks.

use crate::common::raw::{frame, goodbye_in, preface};
use crate::common::{Backend, Local, PATIENCE, Raw, pattern};
use bytes::BytesMut;
use msgpipe::framing::{Framing, FramingError, GoodbyeCode, Layer, Native};
use msgpipe::{CloseReason, Error, Event, Limits, MessageClient, MessageServer, Waker};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The number of normal clients.
const CROWD: usize = 50;

/// The least number of rounds in which all of them send a request.
const ROUNDS: usize = 20;

/// Long enough for the normal clients on a busy machine, short enough for a test.
const SHORT: Duration = Duration::from_secs(1);

/// A request with a large reply, and the size of the reply.
const MUCH: &[u8] = b"much, please";
const LARGE: usize = 1 << 19;

/// A message that the server only counts.
const FLOOD: usize = 1 << 20;

/// A server, and a crowd of its clients.
struct Scene {
    backend: Local,
    crowd: Vec<MessageClient>,
    /// The ends of connections, except those that clients closed.
    ended: Receiver<CloseReason>,
    waker: Waker,
    /// Returns the number of counted messages.
    serving: JoinHandle<usize>,
    round: usize,
}

/// The times of replies.
struct Latencies(Vec<Duration>);

impl Scene {
    /// Starts, and lets the crowd send requests for a while, undisturbed.
    fn new(limits: &Limits) -> (Scene, Latencies) {
        let backend = Local::new();
        let server = backend.listen(limits).unwrap();
        let waker = server.waker();
        let (tell, ended) = channel();
        let serving = thread::spawn(move || serve(server, &tell));
        let crowd = (0..CROWD).map(|_| backend.message_client(limits).unwrap()).collect();
        let mut scene = Scene { backend, crowd, ended, waker, serving, round: 0 };
        let undisturbed = scene.rounds(|_| true);
        (scene, undisturbed)
    }

    /// The whole crowd sends requests, and each client gets its own reply, repeatedly until `done`.
    fn rounds(&mut self, mut done: impl FnMut(&Scene) -> bool) -> Latencies {
        let (started, first) = (Instant::now(), self.round);
        let mut latencies = Vec::new();
        loop {
            let words = |client: usize| format!("client {client}, round {}", self.round);
            let mut sent = Vec::with_capacity(CROWD);
            for (at, client) in self.crowd.iter().enumerate() {
                client.send(words(at)).unwrap();
                sent.push(Instant::now());
            }
            for (at, client) in self.crowd.iter().enumerate() {
                assert_eq!(client.receive(Some(PATIENCE)).unwrap(), words(at));
                latencies.push(sent[at].elapsed());
            }
            self.round += 1;
            // Called in every round: the action of the other peer.
            let done = done(self);
            if done && self.round >= first + ROUNDS {
                return Latencies(latencies);
            }
            assert!(started.elapsed() < PATIENCE, "it does not end");
        }
    }

    /// As [`rounds`](Scene::rounds), until a connection has ended. `each` is the action of the other
    /// peer in each round.
    fn rounds_until_one_ends(&mut self, mut each: impl FnMut()) -> (CloseReason, Latencies) {
        let mut reason = None;
        let latencies = self.rounds(|scene| {
            each();
            reason = reason.take().or_else(|| scene.ended.try_recv().ok());
            reason.is_some()
        });
        (reason.unwrap(), latencies)
    }

    /// No other connection has ended, and the whole crowd still gets replies.
    fn finish(mut self) -> usize {
        self.rounds(|_| true);
        assert!(self.ended.try_recv().is_err(), "somebody else was closed");
        self.waker.wake();
        self.serving.join().unwrap()
    }
}

fn serve(mut server: impl MessageServer, tell: &Sender<CloseReason>) -> usize {
    let mut counted = 0;
    loop {
        match server.poll(None).unwrap().unwrap() {
            Event::Message(_, message) if message.len() == FLOOD => counted += 1,
            Event::Message(id, message) if message == MUCH => {
                server.send(id, pattern(LARGE, 0).into()).unwrap();
            }
            Event::Message(id, message) => server.send(id, message).unwrap(),
            Event::Connected(_) | Event::Closed(_, CloseReason::PeerClosed) => {}
            Event::Closed(_, reason) => tell.send(reason).unwrap(),
            Event::Woken => return counted,
            event => panic!("{event:?}"),
        }
    }
}

impl Latencies {
    fn median_and_most(&self) -> String {
        let mut sorted = self.0.clone();
        sorted.sort();
        format!(
            "{:?} and {:?} of {}",
            sorted[sorted.len() / 2],
            sorted[sorted.len() - 1],
            sorted.len()
        )
    }
}

/// Prints the median and the longest time of the crowd's replies.
fn print(beside: &str, undisturbed: &Latencies, disturbed: &Latencies) {
    let (without, with) = (undisturbed.median_and_most(), disturbed.median_and_most());
    println!("answers took {without} alone, {with} beside {beside}");
}

/// Checks that a raw peer gets a goodbye with this code; returns its text.
#[track_caller]
fn hears(raw: &mut Raw, code: u16, words: &str) {
    let (heard, text) = goodbye_in(&raw.read_to_end(), Layer::Messages).expect("a goodbye");
    assert_eq!(heard, code);
    assert!(text.contains(words), "{text}");
}

#[test]
fn a_slow_writer_is_closed_and_delays_no_others() {
    let mut limits = Limits::default();
    limits.message_time = SHORT;
    let (mut scene, undisturbed) = Scene::new(&limits);
    let mut raw = scene.backend.raw();
    // Never the last byte, however many rounds there are.
    let message = frame(&[7; 1 << 20]);
    let mut rest = message[..message.len() - 1].iter();
    assert!(raw.write(&preface(Layer::Messages)));
    let (reason, disturbed) = scene.rounds_until_one_ends(|| {
        // Once closed it cannot write.
        let _ = rest.next().is_some_and(|byte| raw.write(&[*byte]));
    });
    assert!(matches!(reason, CloseReason::Slow { what: "message", waited: SHORT }), "{reason}");
    hears(&mut raw, GoodbyeCode::TOO_SLOW, "message");
    print("a slow writer", &undisturbed, &disturbed);
    scene.finish();
}

#[test]
fn a_client_without_a_preface_is_closed_and_delays_no_others() {
    let mut limits = Limits::default();
    limits.preface = SHORT;
    let (mut scene, undisturbed) = Scene::new(&limits);
    let mut raw = scene.backend.raw();
    let (reason, disturbed) = scene.rounds_until_one_ends(|| {});
    assert!(matches!(reason, CloseReason::Slow { what: "preface", waited: SHORT }), "{reason}");
    hears(&mut raw, GoodbyeCode::TOO_SLOW, "preface");
    print("one that never begins", &undisturbed, &disturbed);
    scene.finish();
}

/// Requests `count` large replies, and reads none.
fn ask_for_much(raw: &mut Raw, answers: usize) {
    let asking = std::iter::repeat_n(frame(MUCH), answers).flatten();
    let asking: Vec<u8> = preface(Layer::Messages).into_iter().chain(asking).collect();
    assert!(raw.write(&asking));
}

#[test]
fn a_slow_reader_gets_everything_and_delays_no_others() {
    const ANSWERS: usize = 8;
    let (mut scene, undisturbed) = Scene::new(&Limits::default());
    let mut raw = scene.backend.raw();
    ask_for_much(&mut raw, ANSWERS);
    let mut heard = BytesMut::new();
    let disturbed = scene.rounds(|_| {
        let byte = raw.read_up_to(1);
        assert_eq!(byte.len(), 1, "it was closed");
        heard.extend_from_slice(&byte);
        true
    });
    // In the end it reads normally, and nothing is missing.
    let (mut decoder, mut answers) = (Native::new(Layer::Messages, LARGE).decoder(), 0);
    while answers < ANSWERS {
        match decoder.decode(&mut heard).unwrap() {
            Some(answer) => {
                assert!(answer == pattern(LARGE, 0), "answer {answers} came changed");
                answers += 1;
            }
            None => {
                let more = raw.read();
                assert!(!more.is_empty(), "it was closed after {answers} answers");
                heard.extend_from_slice(&more);
            }
        }
    }
    print("a slow reader", &undisturbed, &disturbed);
    scene.finish();
}

#[test]
fn a_client_that_stops_reading_is_closed_and_delays_no_others() {
    let mut limits = Limits::default();
    limits.write_stall = SHORT;
    let (mut scene, undisturbed) = Scene::new(&limits);
    let mut raw = scene.backend.raw();
    ask_for_much(&mut raw, 8);
    let (reason, disturbed) = scene.rounds_until_one_ends(|| {});
    assert!(matches!(reason, CloseReason::Unread { waited: SHORT }), "{reason}");
    print("one that has stopped reading", &undisturbed, &disturbed);
    scene.finish();
}

#[test]
fn a_flood_of_the_largest_messages_delays_no_others() {
    let mut limits = Limits::default();
    limits.message = FLOOD;
    let (mut scene, undisturbed) = Scene::new(&limits);
    let flood = scene.backend.message_client(&limits).unwrap();
    let (sent, enough) = (AtomicUsize::new(0), AtomicBool::new(false));
    let disturbed = thread::scope(|scope| {
        scope.spawn(|| {
            let message = bytes::Bytes::from(pattern(FLOOD, 0));
            while !enough.load(Ordering::Relaxed) {
                flood.send(message.clone()).unwrap();
                sent.fetch_add(1, Ordering::Relaxed);
            }
            // The reply to this request shows that all before it have been read.
            flood.send("was that all?").unwrap();
            assert_eq!(flood.receive(Some(PATIENCE)).unwrap(), "was that all?");
        });
        let disturbed = scene.rounds(|_| sent.load(Ordering::Relaxed) >= 2 * ROUNDS);
        enough.store(true, Ordering::Relaxed);
        disturbed
    });
    let sent = sent.into_inner();
    print(&format!("a flood of {sent} messages of 1 MiB"), &undisturbed, &disturbed);
    assert_eq!(scene.finish(), sent, "messages of the flood were lost");
}

#[test]
fn an_idle_client_is_closed_and_an_active_one_is_not() {
    const IDLE: Duration = Duration::from_secs(2);
    let mut limits = Limits::default();
    limits.idle = Some(IDLE);
    let (mut scene, undisturbed) = Scene::new(&limits);
    // Beside it a client of a server with the default, no limit.
    let other = Local::new();
    let mut patient_server = other.listen(&Limits::default()).unwrap();
    let patient = other.message_client(&Limits::default()).unwrap();
    let id = crate::common::connected(&mut patient_server);

    let silent = scene.backend.message_client(&limits).unwrap();
    let (reason, disturbed) = scene.rounds_until_one_ends(|| {});
    assert!(matches!(reason, CloseReason::Idle { waited: IDLE }), "{reason}");
    match silent.receive(Some(PATIENCE)).unwrap_err() {
        Error::Closed {
            reason: CloseReason::Peer(FramingError::Goodbye { code, text }), ..
        } => {
            assert_eq!(code, GoodbyeCode::IDLE);
            assert!(text.contains("no message in either direction"), "{text}");
        }
        error => panic!("{error}"),
    }
    print("a silent one", &undisturbed, &disturbed);
    scene.finish();

    assert!(patient_server.poll(Some(Duration::ZERO)).unwrap().is_none(), "it was not left alone");
    patient_server.send(id, "still there?".into()).unwrap();
    assert!(patient_server.poll(Some(Duration::ZERO)).unwrap().is_none());
    assert_eq!(patient.receive(Some(PATIENCE)).unwrap(), "still there?");
}

/// The server's own application was busy for longer than the limits: bytes that arrived in time count.
#[test]
fn time_in_which_a_server_was_busy_counts_against_no_client() {
    const TINY: Duration = Duration::from_millis(50);
    let backend = Local::new();
    let mut limits = Limits::default();
    limits.message_time = TINY;
    limits.idle = Some(TINY);
    let mut server = backend.listen(&limits).unwrap();
    let client = backend.message_client(&limits).unwrap();
    let id = crate::common::connected(&mut server);
    client.send("in time").unwrap();
    // A slow handler.
    let began = Instant::now();
    while began.elapsed() < TINY * 3 {
        std::hint::spin_loop();
    }
    assert_eq!(crate::common::message(&mut server), (id, "in time".into()));
}
