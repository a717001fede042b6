//! A crowd of hostile clients of every kind, in a process of its own, beside good clients of the same user.
//!
//! `MSGPIPE_HOSTILE` is the number of hostile clients, 80 if it is not set (10 under Wine); with `--nocapture` the test prints what the good
//! clients noticed:
//!
//! ```text
//! MSGPIPE_HOSTILE=1000 cargo test --release --test suite -- hostile --nocapture
//! ```

use crate::common::raw::{calls_begin, envelope, frame, id_of, preface};
use crate::common::roles::{kill, start, wait_to_be_killed};
use crate::common::serving::{Serving, limits};
use crate::common::{PATIENCE, Raw, on_wine, pattern, unique_name};
use msgpipe::framing::Layer;
use msgpipe::{Client, Limits, ServerOptions};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const GOOD: usize = 50;

/// The calls of each good client.
const CALLS: usize = 40;

/// The method whose replies are large.
const LARGE: u32 = 1;
const REPLY: usize = 256 << 10;

const MEMORY: usize = 32 << 20;

fn crowd() -> usize {
    let given = std::env::var("MSGPIPE_HOSTILE").ok();
    // Wine has one process for all pipes of all processes.
    let usual = if on_wine() { 10 } else { 80 };
    given.map_or(usual, |it| it.parse().expect("MSGPIPE_HOSTILE is a number"))
}

/// The role of the crowd. `false`: there is no such role.
pub fn plays(role: &str, name: &str) -> bool {
    if role != "hostile crowd" {
        return false;
    }
    for number in 0..crowd() {
        let (name, attack) = (name.to_owned(), ATTACKS[number % ATTACKS.len()]);
        let small = thread::Builder::new().stack_size(256 << 10);
        let attacks = small.spawn(move || {
            for round in 0_u64.. {
                attack(Raw::local(&name), number as u64 ^ round << 32);
            }
        });
        attacks.unwrap();
    }
    wait_to_be_killed();
    true
}

/// Each is one connection. They end when the server closes it, if not before.
const ATTACKS: [fn(Raw, u64); 10] = [
    says_nothing,
    sends_garbage,
    sends_garbage_in_frames,
    floods,
    begins_a_giant,
    announces_giants,
    begins_many_messages,
    reads_nothing,
    cancels_at_once,
    goes_at_once,
];

/// Bytes that look random, the same for the same seed (`splitmix64`).
fn random(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let word = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)).to_le_bytes()
    };
    let mut words = std::iter::repeat_with(word).flatten();
    words.by_ref().take(len).collect()
}

/// A request with these flags and this method.
fn request(number: u32, flags: u8, method: u32, rest: &[u8]) -> Vec<u8> {
    let mut bytes = envelope(1, flags, id_of(number), rest);
    bytes[8..12].copy_from_slice(&method.to_le_bytes());
    frame(&bytes)
}

fn says_nothing(mut raw: Raw, _: u64) {
    raw.read_to_end();
}

fn sends_garbage(mut raw: Raw, seed: u64) {
    raw.write(&random(seed, 4096));
    raw.read_to_end();
}

fn sends_garbage_in_frames(mut raw: Raw, seed: u64) {
    raw.write(&calls_begin());
    for number in 0..64 {
        let mut payload = random(seed ^ number, 16 + (seed as usize ^ number as usize) % 64);
        // A kind that there is, and mostly an id that a client may use.
        payload[0] = payload[0] % 11 + 1;
        payload[4..8].copy_from_slice(&id_of(number as u32 / 2).to_le_bytes());
        if !raw.write(&frame(&payload)) {
            break;
        }
    }
    raw.read_to_end();
}

/// Thousands of tiny requests, whose replies are read.
fn floods(mut raw: Raw, _: u64) {
    raw.write(&calls_begin());
    for round in 0..50 {
        let requests: Vec<u8> =
            (0..500).flat_map(|at| request(round * 500 + at, 3, 0, b"x")).collect();
        if !raw.write(&requests) || raw.read().is_empty() {
            return;
        }
    }
}

/// Half of a frame of the largest size.
fn begins_a_giant(mut raw: Raw, _: u64) {
    raw.write(&calls_begin());
    raw.write(&frame(&vec![7; 1 << 20])[..400_000]);
    raw.read_to_end();
}

/// The first pieces of many messages of a size that is allowed, whose rest never comes.
fn announces_giants(mut raw: Raw, _: u64) {
    raw.write(&calls_begin());
    for number in 0..64 {
        let size = (1_u32 << 20).to_le_bytes();
        if !raw.write(&request(number, 2 | 4, 0, &[&size[..], &[7; 16]].concat())) {
            break;
        }
    }
    raw.read_to_end();
}

/// The first pieces of small ones.
fn begins_many_messages(mut raw: Raw, _: u64) {
    raw.write(&calls_begin());
    for number in 0..1000 {
        let size = 1000_u32.to_le_bytes();
        if !raw.write(&request(number, 2 | 4, 0, &[&size[..], &[7; 900]].concat())) {
            break;
        }
    }
    raw.read_to_end();
}

/// Asks for large replies, as many as it may and more, and reads none.
fn reads_nothing(mut raw: Raw, _: u64) {
    raw.write(&calls_begin());
    let mut number = 0;
    while raw.write(&request(number, 3, LARGE, b"")) {
        number += 1;
    }
}

fn cancels_at_once(mut raw: Raw, _: u64) {
    raw.write(&calls_begin());
    for round in 0..50 {
        let pair = |at: u32| {
            let number = round * 250 + at;
            [request(number, 3, LARGE, b""), frame(&envelope(6, 0, id_of(number), b""))].concat()
        };
        let pairs: Vec<u8> = (0..250).flat_map(pair).collect();
        if !raw.write(&pairs) || raw.read().is_empty() {
            return;
        }
    }
}

/// In the middle of its preface, or after it.
fn goes_at_once(mut raw: Raw, seed: u64) {
    let preface = preface(Layer::Calls);
    raw.write(&preface[..seed as usize % (preface.len() + 1)]);
}

fn serving_limits() -> Limits {
    let mut limits = limits();
    (limits.message, limits.memory, limits.memory_per_user) = (1 << 20, MEMORY, MEMORY);
    limits.connections_per_user = crowd() * 4 + GOOD;
    limits.connections = 4 * limits.connections_per_user;
    limits
}

/// The 99th percentile of the time of a call, of all clients.
fn calls(clients: &[Client]) -> Duration {
    let mut times: Vec<Duration> = thread::scope(|scope| {
        let all: Vec<_> = clients.iter().map(|it| scope.spawn(|| calls_of(it))).collect();
        all.into_iter().flat_map(|it| it.join().unwrap()).collect()
    });
    times.sort();
    times[times.len() * 99 / 100]
}

fn calls_of(client: &Client) -> Vec<Duration> {
    let call = |number: usize| {
        let (asked, before) = (pattern(64 + number, number as u8), Instant::now());
        assert_eq!(client.call(&asked).expect("a good client is served"), asked);
        before.elapsed()
    };
    (0..CALLS).map(call).collect()
}

/// Every call of a good client is answered, the memory stays within its limit, and nothing of the crowd is left.
#[test]
fn good_clients_are_served_beside_a_hostile_crowd() {
    let name = unique_name();
    let server = ServerOptions::new().limits(serving_limits()).bind(name.as_str()).unwrap();
    let counters = server.counters();
    let _serving = Serving::start(server, |request, responder| match request.method() {
        LARGE => responder.reply(vec![7; REPLY]),
        _ => responder.reply(request.into_body()),
    });
    let connect = |_| Client::connect_with(name.as_str(), serving_limits()).unwrap();
    let good: Vec<Client> = (0..GOOD).map(connect).collect();
    let alone = calls(&good);
    let hostile = start("hostile crowd", &name);
    let until = Instant::now() + PATIENCE;
    let came = |count: usize| {
        while counters.read().connected < count as u64 {
            assert!(Instant::now() < until, "the crowd does not come: {:?}", counters.read());
            thread::yield_now();
        }
    };
    came(GOOD + crowd());
    let is_over = AtomicBool::new(false);
    let (beside, most) = thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let mut most = 0;
            while !is_over.load(Ordering::SeqCst) {
                most = most.max(counters.read().memory);
                thread::yield_now();
            }
            most
        });
        let beside = calls(&good);
        // And while they come again and again.
        came(GOOD + 2 * crowd());
        calls(&good);
        is_over.store(true, Ordering::SeqCst);
        (beside, watching.join().unwrap())
    });
    kill(hostile);
    println!(
        "{} hostile clients: 99 of 100 calls take up to {beside:?}, alone {alone:?}; memory up to {most} of {MEMORY}",
        crowd()
    );
    assert!(most <= MEMORY, "{most} bytes were held");
    while counters.read().clients() > GOOD as u64 || counters.read().memory > 0 {
        assert!(Instant::now() < until + PATIENCE, "something is left: {:?}", counters.read());
        thread::yield_now();
    }
    calls(&good);
    assert_eq!(counters.read().clients(), GOOD as u64);
}
