//! Peers that are slow, silent or too eager, each beside fifty that behave: those lose nothing, and
//! the one costs nobody but itself.
//!
//! How long answers take with and without the one is printed, never compared: that is for benchmarks.

use crate::common::raw::{frame, goodbye_in, preface};
use crate::common::{Backend, Local, PATIENCE, Raw, pattern};
use bytes::BytesMut;
use msgpipe::framing::{Framing, FramingError, GoodbyeCode, Layer, Native};
use msgpipe::{CloseReason, Error, Event, Limits, MessageClient, MessageServer, Waker};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Clients that behave.
const CROWD: usize = 50;

/// How often all of them ask, at least.
const ROUNDS: usize = 20;

/// Long enough for those that behave on a busy machine, short enough to be waited for.
const SHORT: Duration = Duration::from_secs(1);

/// A request with a large answer, and the size of that.
const MUCH: &[u8] = b"much, please";
const LARGE: usize = 1 << 19;

/// A message that is only counted.
const FLOOD: usize = 1 << 20;

/// A server that answers, and a crowd of its clients.
struct Scene {
    backend: Local,
    crowd: Vec<MessageClient>,
    /// How connections ended, but for those that their clients closed.
    ended: Receiver<CloseReason>,
    waker: Waker,
    /// Returns how many messages it only counted.
    serving: JoinHandle<usize>,
    round: usize,
}

/// How long answers took.
struct Latencies(Vec<Duration>);

impl Scene {
    /// Begins, and lets the crowd ask for a while, undisturbed.
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

    /// The whole crowd asks, and each gets its own answer, again and again until `done`.
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
            // Asked in every round: it is what the other peer does in this round.
            let done = done(self);
            if done && self.round >= first + ROUNDS {
                return Latencies(latencies);
            }
            assert!(started.elapsed() < PATIENCE, "it does not end");
        }
    }

    /// As [`rounds`](Scene::rounds), until somebody's connection has ended. `each` is what the other
    /// peer does in each round.
    fn rounds_until_one_ends(&mut self, mut each: impl FnMut()) -> (CloseReason, Latencies) {
        let mut reason = None;
        let latencies = self.rounds(|scene| {
            each();
            reason = reason.take().or_else(|| scene.ended.try_recv().ok());
            reason.is_some()
        });
        (reason.unwrap(), latencies)
    }

    /// Nobody else has ended, and all of the crowd still get their answers.
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
            Event::Connected(_) | Event::Closed(_, CloseReason::Finished) => {}
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

/// Prints the median and the longest answer of the crowd.
fn print(beside: &str, undisturbed: &Latencies, disturbed: &Latencies) {
    let (without, with) = (undisturbed.median_and_most(), disturbed.median_and_most());
    println!("answers took {without} alone, {with} beside {beside}");
}

/// What a raw peer hears at its end: the goodbye with this code, and why.
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
        // Once it is closed it cannot write any more.
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

/// Asks for so many large answers, and reads none.
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
    // In the end it reads as others do, and nothing is missing.
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
            // The answer to this one says that all before it have been heard.
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
    // Beside it one whose server has the default, which knows no such limit.
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

/// The server's own application was busy for longer than the limits are: what came in time counts.
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
    // What a handler does that takes long.
    let began = Instant::now();
    while began.elapsed() < TINY * 3 {
        std::hint::spin_loop();
    }
    assert_eq!(crate::common::message(&mut server), (id, "in time".into()));
}
