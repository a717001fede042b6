//! The memory of a whole server at its limit: it is never exceeded, and every connection makes progress.

use super::scene::Peer as Client;
use super::waiting::STALLED;
use super::*;
use crate::framing::{Layer, Native, SendQueue};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

/// The largest message.
pub(super) const MESSAGE: usize = 1 << 20;
pub(super) const MEMORY: usize = 8 << 20;
const EACH: usize = 4 << 20;
/// The allowed excess: one message, and the bytes of one read.
const PAST: usize = MESSAGE + 4 * 64 * 1024;

/// A server with many clients, and the number of messages of each.
pub(super) struct Crowd {
    memory: usize,
    pub connections: Connections<Client>,
    pub clients: Vec<Client>,
    pub now: Instant,
    pub heard: BTreeMap<u64, usize>,
    pub gone: BTreeMap<u64, CloseReason>,
    /// The application answers each message with that many bytes, and keeps refused replies.
    pub answers: usize,
    pub held: VecDeque<(ConnectionId, Bytes)>,
}

pub(super) fn limits() -> Limits {
    Limits { message: MESSAGE, memory: MEMORY, memory_per_user: EACH, ..Limits::default() }
}

fn framing() -> Native {
    Native::new(Layer::Messages, MESSAGE)
}

fn user(uid: u32) -> Peer {
    Peer { uid: Some(uid), same_user: uid == 0, ..Peer::default() }
}

pub(super) fn frame(size: usize) -> Bytes {
    let mut queue = SendQueue::default();
    framing().encoder().encode(&[], vec![1; size].into(), &mut queue).unwrap();
    queue.to_bytes()
}

impl Crowd {
    pub fn new() -> Crowd {
        Crowd::with(&limits())
    }

    pub fn with(limits: &Limits) -> Crowd {
        Crowd {
            memory: limits.memory,
            connections: Connections::new(
                Arc::new(Native::new(Layer::Messages, limits.message)),
                limits,
            ),
            clients: Vec::new(),
            now: Instant::now(),
            heard: BTreeMap::new(),
            gone: BTreeMap::new(),
            answers: 0,
            held: VecDeque::new(),
        }
    }

    /// Connects a client of this user, which has sent its preface.
    pub fn comes(&mut self, uid: u32) -> usize {
        let client = Client::default();
        let mut begin = SendQueue::default();
        framing().encoder().begin(&mut begin);
        client.says(&begin.to_bytes());
        let number = self.clients.len();
        let id = ConnectionId::from_number(number as u64);
        self.connections.add(id, client.clone(), user(uid), true, self.now);
        self.clients.push(client);
        self.runs();
        number
    }

    pub fn says(&mut self, client: usize, bytes: &[u8]) {
        self.clients[client].says(bytes);
        self.connections.readable(ConnectionId::from_number(client as u64), false);
        self.runs();
    }

    pub fn takes(&mut self, client: usize, something: bool) {
        self.clients[client].takes(something);
        self.connections.writable(ConnectionId::from_number(client as u64));
        self.runs();
    }

    /// Runs turns until there is nothing to do.
    pub fn runs(&mut self) {
        loop {
            self.connections.begin_turn(self.now);
            while let Some(event) = self.connections.next(self.now) {
                match event {
                    Event::Message(from, _) => {
                        *self.heard.entry(from.number()).or_default() += 1;
                        if self.answers > 0 {
                            self.held.push_back((from, vec![2; self.answers].into()));
                            self.sends();
                        }
                    }
                    Event::Writable(_) => self.sends(),
                    Event::Closed(id, reason) => drop(self.gone.insert(id.number(), reason)),
                    _ => {}
                }
                let held = self.connections.account.held();
                assert!(held <= self.memory + PAST, "{held} bytes are held");
            }
            if !self.connections.is_busy() {
                return;
            }
        }
    }

    pub fn sends(&mut self) {
        for _ in 0..self.held.len() {
            let Some((to, body)) = self.held.pop_front() else { return };
            if let Err(error) = self.connections.send(to, b"", body) {
                if error.refusal != Refusal::Closed {
                    self.held.push_back((to, error.body));
                }
            }
        }
    }

    /// Lets time pass, with a poll at each deadline.
    pub fn waits(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(at) = self.connections.deadline().filter(|at| *at <= until) {
            self.now = at.max(self.now);
            self.runs();
        }
        self.now = until;
        self.runs();
    }

    pub fn heard(&self, client: usize) -> usize {
        self.heard.get(&(client as u64)).copied().unwrap_or(0)
    }

    pub fn held(&self) -> usize {
        self.connections.account.held()
    }
}

#[test]
fn large_messages_wait_for_all_of_their_memory() {
    let mut crowd = Crowd::new();
    let frame = frame(MESSAGE);
    let clients: Vec<_> = (0..60).map(|_| crowd.comes(0)).collect();
    // Each has sent all but the last byte: more than seven times the memory.
    for &client in &clients {
        crowd.says(client, &frame[..frame.len() - 1]);
    }
    assert!(crowd.held() <= MEMORY, "{} bytes are held", crowd.held());
    let read = clients.iter().filter(|&&client| !crowd.clients[client].has_unread_bytes()).count();
    assert!((2..8).contains(&read), "{read} are read to their end");
    // A connection that ends frees its memory for others.
    let mut left = clients;
    while !left.is_empty() {
        let (read, waits): (Vec<_>, Vec<_>) =
            left.iter().partition(|&&client| !crowd.clients[client].has_unread_bytes());
        assert!(!read.is_empty(), "{} are not read", waits.len());
        for client in read {
            crowd.says(client, &frame[frame.len() - 1..]);
            assert_eq!(crowd.heard(client), 1);
        }
        left = waits;
    }
    assert_eq!((crowd.held(), crowd.gone.len()), (0, 0));
}

#[test]
fn small_messages_do_not_wait_for_large_ones() {
    let mut crowd = Crowd::new();
    let large = frame(MESSAGE);
    for _ in 0..20 {
        let client = crowd.comes(0);
        crowd.says(client, &large[..MESSAGE / 2]);
    }
    let client = crowd.comes(0);
    for size in [0, 1, 1000, 60_000] {
        let before = crowd.heard(client);
        crowd.says(client, &frame(size));
        assert_eq!(crowd.heard(client), before + 1, "a message of {size} bytes waits");
    }
}

#[test]
fn a_peer_that_does_not_read_its_replies_is_not_read_and_is_closed_only_if_it_stalls() {
    let mut crowd = Crowd::new();
    crowd.answers = MESSAGE;
    let unreading: Vec<_> = (0..40).map(|_| crowd.comes(0)).collect();
    for &client in &unreading {
        crowd.clients[client].takes(false);
        crowd.says(client, &frame(10));
    }
    assert!(crowd.held() <= MEMORY + MESSAGE);
    let good = crowd.comes(0);
    crowd.says(good, &frame(10));
    assert_eq!(crowd.heard(good), 0, "there was memory for its answer");
    // A connection waits: stalled ones that hold much are closed, one after the other.
    crowd.waits(STALLED - Duration::from_nanos(1));
    assert_eq!(crowd.gone.len(), 0);
    crowd.waits(Duration::from_nanos(1));
    assert_eq!(crowd.gone.len(), 1);
    crowd.waits(STALLED * 10);
    assert_eq!((crowd.heard(good), crowd.gone.contains_key(&(good as u64))), (1, false));
    assert!(crowd.gone.values().all(|why| matches!(why, CloseReason::Unread { .. })));
    assert!(crowd.clients[good].heard() > MESSAGE);
}

#[test]
fn another_user_has_a_part_and_takes_nothing_from_the_own_user() {
    let mut crowd = Crowd::new();
    let large = frame(MESSAGE);
    for uid in [1, 2, 3] {
        for _ in 0..20 {
            let client = crowd.comes(uid);
            crowd.says(client, &large[..large.len() - 1]);
        }
        assert!(crowd.held() <= EACH.min(MEMORY / 4 * 3) * uid as usize);
    }
    assert!(crowd.held() <= MEMORY / 4 * 3, "{} bytes are held", crowd.held());
    let own = crowd.comes(0);
    crowd.says(own, &frame(60_000));
    assert_eq!(crowd.heard(own), 1);
}

#[test]
fn the_memory_of_a_closed_connection_is_free_at_once() {
    let mut crowd = Crowd::new();
    let large = frame(MESSAGE);
    for _ in 0..20 {
        let client = crowd.comes(0);
        crowd.says(client, &large[..MESSAGE / 2]);
    }
    let waits = crowd.comes(0);
    crowd.says(waits, &large);
    assert_eq!(crowd.heard(waits), 0);
    for number in 0..20 {
        crowd.connections.abort(ConnectionId::from_number(number));
        crowd.runs();
    }
    assert_eq!((crowd.heard(waits), crowd.held()), (1, 0));
    assert!(!crowd.connections.is_busy());
    assert_eq!(crowd.connections.waiting.check_at(), None, "somebody is waited for");
}

/// It is not read any more, so its incomplete message is dropped.
#[test]
fn a_closing_connection_holds_only_its_send_queue() {
    let mut crowd = Crowd::new();
    let client = crowd.comes(0);
    crowd.says(client, &frame(MESSAGE)[..MESSAGE / 2]);
    crowd.takes(client, false);
    let id = ConnectionId::from_number(client as u64);
    assert!(crowd.connections.send(id, b"", vec![1; 100_000].into()).is_ok());
    assert!(crowd.held() >= MESSAGE);
    crowd.connections.close(id, &Goodbye::new(200, "bye"), crowd.now);
    crowd.runs();
    assert!((100_000..101_000).contains(&crowd.held()), "{} bytes are held", crowd.held());
}

/// A resumed connection without bytes to read leaves its memory to the next one.
#[test]
fn memory_that_is_not_taken_goes_to_the_next_connection() {
    let mut crowd = Crowd::new();
    for _ in 0..MEMORY / MESSAGE - 1 {
        let hog = crowd.comes(0);
        crowd.clients[hog].takes(false);
        let id = ConnectionId::from_number(hog as u64);
        assert!(crowd.connections.send(id, b"", vec![1; MESSAGE].into()).is_ok());
    }
    let (empty, waits) = (crowd.comes(0), crowd.comes(0));
    crowd.connections.readable(ConnectionId::from_number(empty as u64), false);
    crowd.runs();
    crowd.says(waits, &frame(1));
    assert_eq!(crowd.heard(waits), 0, "there was room");
    crowd.takes(0, true);
    assert_eq!(crowd.heard(waits), 1);
}

/// The next action of a client.
#[derive(Clone, Debug)]
enum Action {
    Comes {
        uid: u32,
    },
    /// Sends the next message, whole or its beginning.
    Says {
        client: usize,
        size: usize,
        part: usize,
    },
    Takes {
        client: usize,
        something: bool,
    },
    Leaves {
        client: usize,
    },
    Waits {
        millis: u64,
    },
}

fn actions() -> impl Strategy<Value = Action> {
    let sizes = prop_oneof![Just(0), 1..100_000usize, 60_000..MESSAGE, Just(MESSAGE)];
    prop_oneof![
        2 => (0..3u32).prop_map(|uid| Action::Comes { uid }),
        8 => (0..24usize, sizes, 1..=100usize)
            .prop_map(|(client, size, part)| Action::Says { client, size, part }),
        2 => (0..24usize, any::<bool>())
            .prop_map(|(client, something)| Action::Takes { client, something }),
        1 => (0..24usize).prop_map(|client| Action::Leaves { client }),
        1 => (0..3000u64).prop_map(|millis| Action::Waits { millis }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// For any actions of clients in any order: the limit holds (checked at each event), and once
    /// all clients send the rest of their messages and read, every message of the connected ones
    /// arrives, and nothing is held.
    #[test]
    fn the_limit_of_memory_is_never_exceeded_and_every_connection_makes_progress(
        actions in prop::collection::vec(actions(), 1..120),
        answers in prop_oneof![Just(0), Just(100), Just(MESSAGE)],
    ) {
        let mut crowd = Crowd::new();
        crowd.answers = answers;
        // For each client, the unsent rest of its message, and the number of begun messages.
        let mut left: Vec<Bytes> = Vec::new();
        let mut begun: Vec<usize> = Vec::new();
        for action in actions {
            match action {
                Action::Comes { uid } if left.len() < 24 => {
                    crowd.comes(uid);
                    left.push(Bytes::new());
                    begun.push(0);
                }
                Action::Says { client, size, part } if client < left.len() => {
                    let mut rest = std::mem::take(&mut left[client]);
                    if rest.is_empty() {
                        rest = frame(size);
                        begun[client] += 1;
                    }
                    let said = rest.split_to((rest.len() * part).div_ceil(100));
                    left[client] = rest;
                    crowd.says(client, &said);
                }
                Action::Takes { client, something } if client < left.len() => {
                    crowd.takes(client, something);
                }
                Action::Leaves { client } if client < left.len() => {
                    crowd.connections.abort(ConnectionId::from_number(client as u64));
                    crowd.runs();
                }
                Action::Waits { millis } => crowd.waits(Duration::from_millis(millis)),
                _ => {}
            }
        }
        for client in 0..left.len() {
            crowd.takes(client, true);
        }
        for (client, rest) in left.iter().enumerate() {
            crowd.says(client, rest);
        }
        crowd.waits(STALLED * 3);
        for (client, &begun) in begun.iter().enumerate() {
            if !crowd.gone.contains_key(&(client as u64)) {
                prop_assert_eq!(crowd.heard(client), begun, "client {}", client);
            }
        }
        prop_assert_eq!(crowd.held(), 0);
    }
}
