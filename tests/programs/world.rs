//! What a program's threads share: what was planned, what has happened, and what is wrong.

use super::plan::{Act, Ask, How, Listens, Program, Reply};
use bytes::Bytes;
use msgpipe::{Metadata, Stopper, Topic, WhenFull};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// A deadline that only a failing program reaches, even on a busy machine under Wine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The method of the calls with which a client waits for what it has sent. The others have the number of their
/// request and 1.
pub const SETTLE: u32 = 0xFFFF_FEFF; // the last one that is the application's

pub struct World {
    pub how: How,
    pub is_tight: bool,
    /// The requests, by number.
    pub asked: Vec<Asked>,
    pub clients: Vec<Side>,
    pub topic: Topic,
    published: Mutex<u32>,
    stopper: Stopper,
    is_stopped: AtomicBool,
    stopped_at: OnceLock<Instant>,
    /// What the model does not allow.
    wrong: Mutex<Vec<String>>,
    /// The threads of the handler.
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// A request, and what has happened to it.
pub struct Asked {
    pub ask: Ask,
    pub client: usize,
    pub is_in_batch: bool,
    /// How often the handler has begun it.
    pub begun: AtomicU32,
    /// The client was told that it was not begun.
    pub is_not_begun: AtomicBool,
    /// The client takes no more of the reply, or has given up the request.
    pub has_given_up: AtomicBool,
    /// The parts of the request that were taken from the client, and whether it has ended them.
    pub given: AtomicUsize,
    pub is_finished: AtomicBool,
    /// The handler takes no more of the request.
    pub is_left: AtomicBool,
    /// It has to be begun, although nobody waits for it.
    pub is_detached: AtomicBool,
    /// How often the client was called for it.
    pub called_back: AtomicU32,
    /// The notifications that were sent to the client for it, and that it has got.
    pub sent: AtomicU32,
    pub heard: AtomicU32,
}

/// A client.
pub struct Side {
    pub listens: Listens,
    /// One side was told to close the connection.
    may_close: AtomicBool,
    pub connection: Mutex<Option<u64>>,
    pub was_closed: AtomicU32,
    /// The notifications of each of its threads: sent, and arrived.
    pub notified: Vec<[AtomicU32; 2]>,
}

/// What a thread does: each act with the number of its first request.
pub type Acts = Vec<(usize, Act)>;

/// Numbers the requests of a program. Returns what each thread of each client does.
fn number(program: &Program, asked: &mut Vec<Asked>) -> Vec<Vec<Acts>> {
    let mut acts_of_clients = Vec::new();
    for (client, plan) in program.clients.iter().enumerate() {
        let acts = |thread: &Vec<Act>| {
            let numbered = thread.iter().map(|act| {
                let first = asked.len();
                let mut add = |ask: &Ask, is_in_batch| {
                    let ask = ask.clone().fitting(program.how);
                    asked.push(Asked::new(ask, client, is_in_batch));
                };
                match act {
                    Act::Ask(ask) => add(ask, false),
                    Act::Batch(asks) => asks.iter().for_each(|ask| add(ask, true)),
                    _ => {}
                }
                (first, act.clone())
            });
            numbered.collect()
        };
        acts_of_clients.push(plan.threads.iter().map(acts).collect());
    }
    acts_of_clients
}

impl Asked {
    fn new(ask: Ask, client: usize, is_in_batch: bool) -> Asked {
        let (begun, called_back, sent, heard) = Default::default();
        let (is_not_begun, has_given_up, is_finished, is_left) = Default::default();
        Asked {
            ask,
            client,
            is_in_batch,
            begun,
            is_not_begun,
            has_given_up,
            is_finished,
            is_left,
            given: AtomicUsize::new(0),
            is_detached: AtomicBool::new(false),
            called_back,
            sent,
            heard,
        }
    }
}

impl World {
    pub fn new(program: &Program, stopper: Stopper) -> (Arc<World>, Vec<Vec<Acts>>) {
        let mut asked = Vec::new();
        let acts = number(program, &mut asked);
        let clients = program.clients.iter().map(|plan| Side {
            listens: plan.listens,
            may_close: AtomicBool::new(false),
            connection: Mutex::default(),
            was_closed: AtomicU32::new(0),
            notified: plan.threads.iter().map(|_| Default::default()).collect(),
        });
        let (published, is_stopped, stopped_at, wrong, threads) = Default::default();
        let (how, is_tight, clients) = (program.how, program.is_tight, clients.collect());
        let topic = Topic::new(WhenFull::Close);
        #[rustfmt::skip]
        let world = World {
            how, is_tight, asked, clients, topic, published, stopper, is_stopped, stopped_at, wrong,
            threads,
        };
        (Arc::new(world), acts)
    }

    /// Something is not as it has to be.
    pub fn is_wrong(&self, what: impl Into<String>) {
        self.wrong.lock().unwrap().push(what.into());
    }

    /// Something about a request is wrong.
    pub fn is_wrong_of(&self, number: usize, what: impl std::fmt::Display) {
        self.is_wrong(format!("request {number} {:?}: {what}", self.asked[number].ask));
    }

    pub fn all_wrong(&self) -> Vec<String> {
        std::mem::take(&mut self.wrong.lock().unwrap())
    }

    pub fn stop(&self) {
        self.is_stopped.store(true, SeqCst);
        self.stopped_at.get_or_init(Instant::now);
        self.stopper.stop();
    }

    /// Whether it was stopped so long ago.
    pub fn has_drained_for(&self, time: Duration) -> bool {
        self.stopped_at.get().is_some_and(|at| at.elapsed() >= time)
    }

    pub fn is_stopped(&self) -> bool {
        self.is_stopped.load(SeqCst)
    }

    /// One side is about to close the connection of this client.
    pub fn closes(&self, client: usize) {
        self.clients[client].may_close.store(true, SeqCst);
    }

    /// Whether anything may have ended the connection of this client.
    pub fn may_close(&self, client: usize) -> bool {
        self.is_stopped() || self.clients[client].may_close.load(SeqCst)
    }

    pub fn publish(&self) {
        let mut next = self.published.lock().unwrap();
        self.topic.publish(next.to_le_bytes());
        *next += 1;
    }

    /// Runs `work` on a thread of the handler.
    pub fn spawn(self: &Arc<World>, work: impl FnOnce() + Send + 'static) {
        let world = self.clone();
        let work = move || {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
                if !panic.is::<Planned>() {
                    world.is_wrong("a thread of the handler panicked");
                }
            }
        };
        self.threads.lock().unwrap().push(thread::spawn(work));
    }

    /// Waits for the threads of the handler.
    pub fn join(&self) {
        loop {
            let Some(thread) = self.threads.lock().unwrap().pop() else { return };
            thread.join().unwrap();
        }
    }
}

/// What a planned panic carries. It is not reported.
pub struct Planned;

pub fn planned_panic() -> ! {
    std::panic::resume_unwind(Box::new(Planned))
}

/// The bytes of a part of a request or a reply: different for each.
pub fn fill(size: usize, number: usize, part: usize) -> Vec<u8> {
    let seed = (number * 7 + part * 13) as u8;
    (0..size).map(|at| (at as u8).wrapping_mul(31).wrapping_add((at >> 8) as u8) ^ seed).collect()
}

/// A number, and bytes behind it.
pub fn numbered(first: u32, size: usize, number: usize) -> Vec<u8> {
    [&first.to_le_bytes()[..], &fill(size, number, first as usize)].concat()
}

/// The number at the front.
pub fn front(body: &[u8]) -> u32 {
    body.first_chunk().map_or(u32::MAX, |bytes| u32::from_le_bytes(*bytes))
}

/// Metadata that say this number.
pub fn metadata(number: usize) -> Metadata {
    Metadata::default().with(b"number", &(number as u32).to_le_bytes()).unwrap()
}

impl Asked {
    /// The parts of the request as they are sent.
    pub fn request(&self, number: usize, first: usize) -> Vec<Bytes> {
        let part = |(at, size): (usize, &usize)| match self.is_in_batch {
            true => numbered((number - first) as u32, size - 4, number).into(),
            false => fill(*size, number, at).into(),
        };
        self.ask.request.iter().enumerate().map(part).collect()
    }

    /// The parts of the reply, if it has any.
    pub fn reply(&self, number: usize) -> Vec<Bytes> {
        let text = |text: &'static str| vec![Bytes::from(text)];
        match &self.ask.reply {
            Reply::Body(size) => vec![fill(*size, number, 0).into()],
            Reply::Parts(sizes, _) => {
                let part = |(at, size): (usize, &usize)| fill(*size, number, at).into();
                sizes.iter().enumerate().map(part).collect()
            }
            Reply::CallBack(..) => text("called back"),
            Reply::Notify { .. } => text("notified"),
            Reply::Close => text("closed"),
            _ => Vec::new(),
        }
    }
}
