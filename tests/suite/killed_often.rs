//! Clients and servers that are killed again and again, at any moment of their work.
//!
//! `MSGPIPE_KILLS` is the number of clients that are killed, 30 if it is not set, and three times that of servers' tenth:
//!
//! ```text
//! MSGPIPE_KILLS=10000 cargo test --release --test suite -- killed_often --nocapture
//! ```

use crate::common::roles::{kill, start, wait_to_be_killed};
use crate::common::serving::limits;
use crate::common::{PATIENCE, on_wine, pattern, unique_name};
use msgpipe::{Client, Error, Request, Responder, ServerOptions};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

/// How many clients work while one of them is killed.
const AT_ONCE: usize = 4;

const PARTS: u32 = 1;
const COUNT: u32 = 2;

fn kills() -> usize {
    let given = std::env::var("MSGPIPE_KILLS").ok();
    // Under Wine a process takes a second to start.
    let usual = if on_wine() { 10 } else { 30 };
    given.map_or(usual, |it| it.parse().expect("MSGPIPE_KILLS is a number"))
}

/// Plays a role in a process of its own. `false`: there is no such role.
pub fn plays(role: &str, name: &str) -> bool {
    match role {
        "busy client" => {
            thread::spawn(wait_to_be_killed);
            let client = Client::connect_with(name, limits()).unwrap();
            loop {
                work(&client).unwrap();
            }
        }
        "busy server" => {
            let server = ServerOptions::new().limits(limits()).bind(name).unwrap();
            thread::spawn(wait_to_be_killed);
            server.accept_streams().serve_deferred(handle).unwrap();
        }
        _ => return false,
    }
    true
}

fn handle(mut request: Request, responder: Responder) {
    match request.method() {
        PARTS => drop(thread::spawn(move || {
            let mut parts = responder.into_parts();
            if (0..20).all(|number| parts.send(pattern(5000, number)).is_ok()) {
                parts.finish();
            }
        })),
        COUNT => drop(thread::spawn(move || {
            let parts = request.take_parts();
            let bytes: Result<usize, _> = parts.map(|part| part.map(|it| it.len())).sum();
            if let Ok(bytes) = bytes {
                responder.reply(bytes.to_string());
            }
        })),
        _ => responder.reply(request.into_body()),
    }
}

/// Something of everything: calls of all sizes, abandoned ones, parts both ways.
fn work(client: &Client) -> Result<(), Error> {
    for size in [0, 64, 70_000, 300_000] {
        let asked = pattern(size, 3);
        assert_eq!(client.call(&asked)?, asked);
    }
    drop(client.start(pattern(100_000, 4))?);
    let mut parts = client.with_method(PARTS).stream("")?;
    for number in 0..20 {
        let Some(part) = parts.next() else {
            panic!("the reply has ended after {number} parts");
        };
        assert_eq!(part?, pattern(5000, number));
    }
    assert!(parts.next().is_none());
    let mut upload = client.with_method(COUNT).upload()?;
    for number in 0..10 {
        upload.send(pattern(7000, number))?;
    }
    assert_eq!(upload.finish()?.wait()?, "70000");
    Ok(())
}

/// The n-th of numbers that look random.
fn some(n: usize, below: u64) -> u64 {
    (n as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(31) % below
}

/// Whatever a client was doing, nothing of it is left in the server, and the others go on.
#[test]
fn nothing_is_left_of_clients_that_were_killed() {
    let name = unique_name();
    let server = ServerOptions::new().limits(limits()).bind(name.as_str()).unwrap();
    let counters = server.counters();
    let stopper = server.stopper();
    let serving = thread::spawn(move || server.accept_streams().serve_deferred(handle).unwrap());
    let staying = Client::connect_with(name.as_str(), limits()).unwrap();
    work(&staying).unwrap();
    let mut others = std::collections::VecDeque::new();
    for round in 0..kills() {
        others.push_back(start("busy client", &name));
        let (begun, until) = (counters.read().requests.begun, Instant::now() + PATIENCE);
        while counters.read().requests.begun < begun + some(round, 40) {
            assert!(Instant::now() < until, "nobody works: {:?}", counters.read());
            thread::yield_now();
        }
        if others.len() == AT_ONCE {
            others.pop_front().into_iter().for_each(kill);
        }
        if round % 10 == 0 {
            work(&staying).unwrap();
        }
    }
    others.into_iter().for_each(kill);
    let until = Instant::now() + PATIENCE;
    let is_clean = || {
        let counts = counters.read();
        counts.clients() == 1 && counts.memory == 0 && counts.requests.open() == 0
    };
    while !is_clean() {
        assert!(Instant::now() < until, "something is left: {:?}", counters.read());
        thread::yield_now();
    }
    work(&staying).unwrap();
    println!("{} clients were killed: {:?}", kills(), counters.read());
    stopper.stop();
    serving.join().unwrap();
}

/// Every call ends with its server, and the next one serves at the same name at once.
#[test]
fn calls_end_with_servers_that_are_killed_again_and_again() {
    let name = unique_name();
    let (replied, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let rounds = kills().div_ceil(10);
    for round in 0..rounds {
        let server = start("busy server", &name);
        let is_killed = AtomicBool::new(false);
        let before = replied.load(Ordering::SeqCst);
        thread::scope(|scope| {
            for _ in 0..AT_ONCE {
                scope.spawn(|| {
                    let Ok(client) = Client::connect_with(name.as_str(), limits()) else {
                        assert!(is_killed.load(Ordering::SeqCst), "the server takes no client");
                        return;
                    };
                    let error = loop {
                        match work(&client) {
                            Ok(()) => replied.fetch_add(1, Ordering::SeqCst),
                            Err(error) => break error,
                        };
                    };
                    assert!(is_killed.load(Ordering::SeqCst), "before its end: {error}");
                    failed.fetch_add(1, Ordering::SeqCst);
                });
            }
            let until = Instant::now() + PATIENCE;
            while replied.load(Ordering::SeqCst) < before + some(round, 30) as usize {
                assert!(Instant::now() < until, "nothing is answered");
                thread::yield_now();
            }
            is_killed.store(true, Ordering::SeqCst);
            kill(server);
        });
    }
    println!("{rounds} servers were killed, {failed:?} clients saw it, {replied:?} rounds of work");
    let left = start("busy server", &name);
    work(&Client::connect_with(name.as_str(), limits()).unwrap()).unwrap();
    kill(left);
}
