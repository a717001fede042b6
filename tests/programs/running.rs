//! Runs programs, makes a failing one smaller, and prints it.

use super::environment::number;
use super::plan::{Program, programs};
use super::transport::Transport;
use super::world::{PATIENCE, World};
use super::{client, server};
use msgpipe::{Limits, Server};
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestError, TestRng, TestRunner};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// The programs of a test run without `MSGPIPE_API_PROGRAMS`, on each transport.
const PROGRAMS: u64 = if cfg!(windows) { 20 } else { 60 };

/// Programs before the descriptors and threads are counted: what is made once has been made by then.
const WARM_UP: u64 = 4;

/// How long a server that is stopped in the middle waits for what is held.
const DRAIN: Duration = Duration::from_secs(2);

/// How often a failing program is made smaller, and how many milliseconds that may take.
const SHRINKS: u32 = 300;
const SHRINK_TIME: u32 = 30_000;

/// Runs all programs on each transport, and panics with the first that fails.
pub fn run_all() {
    let count = number("MSGPIPE_API_PROGRAMS").unwrap_or(PROGRAMS);
    let first =
        number("MSGPIPE_SEED").unwrap_or_else(|| RandomState::new().build_hasher().finish());
    println!("{count} programs on each transport, from MSGPIPE_SEED={first} on");
    let step = thread::available_parallelism().map_or(1, |count| count.get().min(2)) as u64;
    run_some(first, 0..WARM_UP.min(count), 1, &AtomicBool::new(false));
    let before = figures();
    let has_failed = &AtomicBool::new(false);
    thread::scope(|scope| {
        for begin in 0..step {
            scope.spawn(move || run_some(first, begin..count, step as usize, has_failed));
        }
    });
    // The system lists a thread for a moment after its end: before as well as now.
    let began = Instant::now();
    let is_more = |now: [usize; 2]| now.iter().zip(before).any(|(now, before)| *now > before);
    while is_more(figures()) && began.elapsed() < PATIENCE / 20 {
        thread::yield_now();
    }
    let now = figures();
    assert!(!is_more(now), "{now:?} descriptors and threads, {before:?} before");
}

fn run_some(first: u64, numbers: std::ops::Range<u64>, step: usize, has_failed: &AtomicBool) {
    for at in numbers.step_by(step) {
        for (name, transport) in
            [("memory", Transport::memory as fn() -> Transport), ("local", Transport::local)]
        {
            if has_failed.load(SeqCst) {
                return;
            }
            let seed = first.wrapping_add(at);
            if let Err(TestError::Fail(why, program)) = run_one(seed, transport) {
                has_failed.store(true, SeqCst);
                let again = format!("again with MSGPIPE_SEED={seed} MSGPIPE_API_PROGRAMS=1");
                panic!("on the {name} transport: {why}\n{again}\n{program}");
            }
        }
    }
}

fn run_one(seed: u64, transport: fn() -> Transport) -> Result<bool, TestError<Program>> {
    let config = ProptestConfig {
        failure_persistence: None,
        max_shrink_iters: SHRINKS,
        max_shrink_time: SHRINK_TIME,
        ..ProptestConfig::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let program = programs().new_tree(&mut runner).expect("no program is rejected");
    runner.run_one(program, |program| {
        let wrong = watched(seed, &program, || run(&program, &transport()));
        match wrong.is_empty() {
            true => Ok(()),
            false => Err(TestCaseError::fail(wrong.join("\n"))),
        }
    })
}

/// Runs `work`; if it does not end, prints the program and ends the test.
fn watched<R>(seed: u64, program: &Program, work: impl FnOnce() -> R) -> R {
    let (done, is_done) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            let waited = is_done.recv_timeout(3 * PATIENCE);
            if waited == Err(mpsc::RecvTimeoutError::Timeout) {
                eprintln!("a program hangs: MSGPIPE_SEED={seed}\n{program}");
                std::process::abort();
            }
        });
        let done = done;
        let result = work();
        drop(done);
        result
    })
}

fn limits(is_tight: bool) -> Limits {
    let limits = Limits::default().with_call(PATIENCE).with_drain(DRAIN);
    match is_tight {
        true => limits
            .with_in_flight(4)
            .with_queued(32 << 10)
            .with_call_window(64 << 10)
            .with_connection_window(256 << 10),
        false => limits,
    }
}

/// Runs a program. Returns what the model does not allow.
fn run(program: &Program, transport: &Transport) -> Vec<String> {
    let limits = limits(program.is_tight);
    let messages = transport.listen(&limits);
    let held = messages.between.clone();
    let server = Server::over(messages, limits.clone());
    let (stopper, connections) = (server.stopper(), server.connections());
    let counters = server.counters();
    let (world, acts) = World::new(program, stopper);
    thread::scope(|scope| {
        let serving = scope.spawn(|| server::serve(&world, server));
        let clients: Vec<_> = acts
            .iter()
            .enumerate()
            .map(|(index, threads)| {
                let (world, limits) = (&world, &limits);
                scope.spawn(move || client::run(world, index, threads, transport, limits))
            })
            .collect();
        for client in clients {
            if client.join().is_err() {
                world.is_wrong("a client panicked");
            }
        }
        world.stop();
        match serving.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => world.is_wrong(format!("the server ended: {error}")),
            Err(_) => world.is_wrong("the server panicked"),
        }
    });
    world.join();
    for (number, asked) in world.asked.iter().enumerate() {
        if asked.is_not_begun.load(SeqCst) && asked.begun.load(SeqCst) > 0 {
            world.is_wrong_of(number, "it was begun, and its client was told that it was not");
        }
    }
    for (client, side) in world.clients.iter().enumerate() {
        let was_there = side.connection.lock().unwrap().is_some();
        // A server at the end of its drain leaves without telling it.
        if was_there && !world.has_drained_for(DRAIN) && side.was_closed.load(SeqCst) != 1 {
            world.is_wrong(format!("the end of client {client} was not told"));
        }
    }
    if connections.count() > 0 {
        world.is_wrong("connections are left");
    }
    let counts = counters.read();
    if counts.requests.open() + counts.calls.open() > 0 || counts.connected != counts.closed {
        world.is_wrong(format!("not all that has begun has ended: {counts:?}"));
    }
    if counts.requests.ended() > counts.requests.begun || counts.calls.ended() > counts.calls.begun
    {
        world.is_wrong(format!("more has ended than has begun: {counts:?}"));
    }
    if held.bytes() > 0 {
        world.is_wrong(format!("{} bytes are left in the account", held.bytes()));
    }
    world.all_wrong()
}

/// The descriptors and threads of this process, where that can be seen.
fn figures() -> [usize; 2] {
    // A program under Wine sees this directory too, with what Wine itself has open.
    let is_seen = cfg!(target_os = "linux");
    let count = |path| std::fs::read_dir(path).map_or(0, Iterator::count) * usize::from(is_seen);
    [count("/proc/self/fd"), count("/proc/self/task")]
}
