//! What the tasks of a program share: what was planned, what has happened, and what is wrong.

use super::chance::Chance;
use super::plan::{Ask, Program, Step, Weather};
use super::signal::Signal;
use bytes::Bytes;
use msgpipe::memory::{SimulatedTask, World};
use msgpipe::{Connections, Counters, Error, Limits, Stopper, Topic, WhenFull, bytes};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

pub const NAME: &str = "sim";

/// How long a server that is stopped waits for what is held.
pub const DRAIN: Duration = Duration::from_secs(2);

/// How late something may be while tasks take time, or where a server looks for deadlines from time to time.
const BUSY_SLACK: Duration = Duration::from_secs(2);

pub struct Case {
    pub program: Program,
    pub world: World,
    pub is_rough: bool,
    /// The requests, by number.
    pub asked: Vec<Mutex<Asked>>,
    /// The connections of the clients that do not connect again, in the order in which they were made.
    pub connections: Mutex<Vec<Connection>>,
    pub topic: Topic,
    pub published: AtomicU32,
    pub server: Mutex<Option<Incarnation>>,
    pub incarnations: AtomicUsize,
    /// The handlers that wait to be told that nobody waits for them.
    pub holding: AtomicUsize,
    /// The calls of servers to clients that have not ended.
    pub calls_back: AtomicUsize,
    /// When servers were told to stop.
    pub stops: Mutex<Vec<Instant>>,
    /// When the clock was moved, and to when.
    jumps: Mutex<Vec<[Instant; 2]>>,
    /// What the model does not allow.
    wrong: Mutex<Vec<String>>,
}

/// A server, from its start to its end.
#[derive(Clone)]
pub struct Incarnation {
    pub number: usize,
    pub stopper: Stopper,
    pub connections: Connections,
    pub counters: Counters,
    pub task: Arc<SimulatedTask<Result<(), Error>>>,
    pub ended: Signal,
    /// The notifications that were sent to each connection.
    pub told: Arc<Mutex<std::collections::BTreeMap<u64, u32>>>,
}

/// A request, and what has happened to it.
pub struct Asked {
    pub ask: Ask,
    /// Its connection, if that is known.
    pub connection: Option<usize>,
    /// How often the handler has begun it.
    pub begun: u32,
    /// How often it has ended at the client.
    pub ended: u32,
    /// The client was told that it was not begun.
    pub is_not_begun: bool,
    /// The client takes no more of the reply, or has given up the request.
    pub has_given_up: bool,
    /// When it has left the call.
    pub left: Option<Instant>,
    /// How many parts of the request were taken from the client, and whether it has ended them.
    pub given: usize,
    pub is_finished: bool,
    /// The handler takes no more of the request.
    pub is_left: bool,
}

/// A connection, as its client and its server see it.
#[derive(Default)]
pub struct Connection {
    /// The small requests in the order in which they were begun at the client, and at the handler.
    pub asked: Vec<usize>,
    pub begun: Vec<usize>,
    /// The notifications of the client that were sent and that have come.
    pub sent: u32,
    pub heard: u32,
}

impl Case {
    pub fn new(program: &Program, world: World) -> Case {
        let ask = |number: usize| {
            let of = |step: &Step| match step {
                Step::Ask(ask) if ask.number == number => Some(ask.clone()),
                _ => None,
            };
            program.steps.iter().find_map(|(_, step)| of(step))
        };
        // Numbers that were removed have the first call that there is.
        let any = (0..program.numbers()).find_map(ask);
        let asked = (0..program.numbers()).filter_map(|number| {
            let ask = ask(number).or(any.clone())?;
            let (connection, begun, ended, left, given) = Default::default();
            let (is_not_begun, has_given_up, is_finished, is_left) = Default::default();
            #[rustfmt::skip]
            let asked = Asked {
                ask, connection, begun, ended, is_not_begun, has_given_up, left, given, is_finished, is_left,
            };
            Some(Mutex::new(asked))
        });
        let policy = [WhenFull::Close, WhenFull::DropOldest, WhenFull::DropNewest];
        Case {
            is_rough: program.is_rough(),
            asked: asked.collect(),
            connections: Mutex::default(),
            topic: Topic::new(policy[program.when_full as usize % 3]),
            published: AtomicU32::new(0),
            server: Mutex::default(),
            incarnations: AtomicUsize::new(0),
            holding: AtomicUsize::new(0),
            calls_back: AtomicUsize::new(0),
            stops: Mutex::default(),
            jumps: Mutex::default(),
            wrong: Mutex::default(),
            program: program.clone(),
            world,
        }
    }

    pub fn limits(&self) -> Limits {
        use super::plan::Room;
        let limits = Limits::default().with_drain(DRAIN).with_message(self.program.largest());
        let tight = |limits: Limits| {
            limits
                .with_in_flight(self.program.in_flight)
                .with_queued(32 << 10)
                .with_call_window(64 << 10)
                .with_connection_window(256 << 10)
        };
        match self.program.room {
            Room::Enough => limits,
            Room::Tight => tight(limits),
            Room::Memory => tight(limits).with_memory(256 << 10),
        }
    }

    pub fn asked(&self, number: usize) -> MutexGuard<'_, Asked> {
        self.asked[number].lock().unwrap()
    }

    /// What has not ended by then does not end: calls have seconds, and the clock is moved by two hours at most, some times.
    /// Large parts in small pieces, of which some take seconds, take hours.
    pub fn longest(&self) -> Duration {
        let Weather { stalls, pieces, .. } = self.program.weather;
        let is_moved = self.program.has(|step| matches!(step, Step::Jump(_)));
        let is_slow = stalls > 0 && pieces > 0;
        Duration::from_secs(if is_moved || is_slow { 24 * 3600 } else { 3 * 3600 })
    }

    /// Something is not as it has to be.
    pub fn is_wrong(&self, what: impl Into<String>) {
        let what = format!("after {:?}: {}", self.world.elapsed(), what.into());
        self.wrong.lock().unwrap().push(what);
    }

    /// The client leaves a call.
    pub fn leaves(&self, number: usize) {
        let mut asked = self.asked(number);
        (asked.has_given_up, asked.left) = (true, Some(self.world.now()));
    }

    /// A handler is told that nobody waits for it any more. If its client has left the call, that is why.
    pub fn check_told(&self, number: usize, held_from: Instant) {
        let left = self.asked(number).left.filter(|_| !self.is_rough);
        if let Some(left) = left {
            let what = format!("telling the handler of {number}");
            self.check_time(&what, left.max(held_from), Duration::ZERO);
        }
    }

    /// Something about a request is wrong.
    pub fn is_wrong_of(&self, number: usize, what: impl std::fmt::Display) {
        self.is_wrong(format!("request {number}: {what}"));
    }

    pub fn all_wrong(&self) -> Vec<String> {
        std::mem::take(&mut self.wrong.lock().unwrap())
    }

    pub fn has_wrong(&self) -> bool {
        !self.wrong.lock().unwrap().is_empty()
    }

    /// The clock is moved on.
    pub fn jump(&self, time: Duration) {
        let before = self.world.now();
        self.world.jump(time);
        self.jumps.lock().unwrap().push([before, self.world.now()]);
    }

    /// Something with a deadline has ended now. It may not be later, except for the time by which the clock was moved at
    /// once, and for the time that work takes.
    pub fn check_time(&self, what: &str, due: Instant, slack: Duration) {
        let now = self.world.now();
        if now <= due + slack {
            return;
        }
        let slack = if self.program.weather.is_busy { slack + BUSY_SLACK } else { slack };
        let jumps = self.jumps.lock().unwrap();
        // One may follow at once on another.
        let moved = |due, [from, to]: &[Instant; 2]| match *from <= due + slack && due <= *to {
            true => *to,
            false => due,
        };
        let due = jumps.iter().fold(due, moved);
        drop(jumps);
        if now > due + slack {
            self.is_wrong(format!("{what}: {:?} over its deadline", now - due));
        }
    }

    /// A connection that a client has made.
    pub fn new_connection(&self) -> usize {
        let mut connections = self.connections.lock().unwrap();
        connections.push(Connection::default());
        connections.len() - 1
    }

    pub fn publish(&self, size: usize) {
        let number = self.published.fetch_add(1, SeqCst);
        self.topic.publish(numbered(number, size, 77));
    }

    /// What is checked when all has ended.
    pub fn check_end(&self) {
        for (number, asked) in self.asked.iter().enumerate() {
            let asked = asked.lock().unwrap();
            if asked.is_not_begun && asked.begun > 0 && !asked.ask.idempotent {
                self.is_wrong_of(number, "it was begun, and its client was told that it was not");
            }
            if asked.ended > 1 {
                self.is_wrong_of(number, "it has ended twice");
            }
        }
        let is_calm = !self.is_rough;
        for connection in &*self.connections.lock().unwrap() {
            let Connection { asked, begun, sent, heard } = connection;
            let mut places = begun.iter().map(|number| asked.iter().position(|it| it == number));
            if !places.by_ref().is_sorted() {
                self.is_wrong(format!("begun in the order {begun:?}, sent in the order {asked:?}"));
            }
            if heard > sent || is_calm && heard < sent {
                self.is_wrong(format!("{heard} of {sent} notifications have come"));
            }
        }
        let calls = self.calls_back.load(SeqCst);
        if calls > 0 {
            self.is_wrong(format!("{calls} calls of servers have not ended"));
        }
    }
}

/// The bytes of a part of a request or a reply: different for each.
pub fn fill(size: usize, number: usize, part: usize) -> Bytes {
    static RANDOM: OnceLock<Vec<u8>> = OnceLock::new();
    let mut chance = Chance(0);
    let random = || (0..1 << 17).flat_map(|_| chance.next().to_le_bytes()).collect();
    let from = (number * 7 + part * 13) % 4096;
    Bytes::copy_from_slice(&RANDOM.get_or_init(random)[from..from + size])
}

/// A number, and bytes behind it.
pub fn numbered(first: u32, size: usize, number: usize) -> Vec<u8> {
    [&first.to_le_bytes()[..], &fill(size, number, first as usize)].concat()
}

/// The number at the front.
pub fn front(body: &[u8]) -> u32 {
    body.first_chunk().map_or(u32::MAX, |bytes| u32::from_le_bytes(*bytes))
}
