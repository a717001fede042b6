//! Random programs of servers, clients that connect again and subscriptions, in a simulation, against a model.
//!
//! A program is what clients do, what the handler makes of each request, and what goes wrong: connections are reset and
//! stalled, clients refused, servers stopped, killed and started again, processes of clients killed, the clock moved on by
//! hours, the memory used up. The model says how each call may end and by when, and in which order things come. At the
//! end, when nothing goes wrong any more, all clients can call, subscriptions go on, and nothing is left: no task, no
//! byte of a server's account.
//!
//! A program has a number, with which it is made again:
//!
//! `MSGPIPE_SEED=number MSGPIPE_SIM_PROGRAMS=1 cargo test --features test-util --test simulation`

#[path = "simulation/asking.rs"]
mod asking;
#[path = "simulation/calling.rs"]
mod calling;
#[path = "simulation/case.rs"]
mod case;
#[path = "simulation/chance.rs"]
mod chance;
#[path = "simulation/client.rs"]
mod client;
mod environment;
#[path = "simulation/found.rs"]
mod found;
#[path = "simulation/making.rs"]
mod making;
#[path = "simulation/model.rs"]
mod model;
mod passing;
#[path = "simulation/places.rs"]
mod places;
#[path = "simulation/plan.rs"]
mod plan;
#[path = "simulation/running.rs"]
mod running;
#[path = "simulation/server.rs"]
mod server;
#[path = "simulation/signal.rs"]
mod signal;
#[path = "simulation/subscribing.rs"]
mod subscribing;
#[path = "simulation/transports.rs"]
mod transports;

use environment::number;
use plan::Program;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Instant;

/// The programs of a test run without `MSGPIPE_SIM_PROGRAMS`.
const PROGRAMS: u64 = 400;

#[test]
fn every_program_ends_as_the_model_allows() {
    let count = number("MSGPIPE_SIM_PROGRAMS").unwrap_or(PROGRAMS);
    let first: u64 =
        number("MSGPIPE_SEED").unwrap_or_else(|| RandomState::new().build_hasher().finish());
    println!("{count} programs in simulations, from MSGPIPE_SEED={first} on");
    let (began, has_failed, next) = (Instant::now(), AtomicBool::new(false), AtomicU64::new(0));
    let threads = thread::available_parallelism().map_or(1, |count| count.get().min(2));
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !has_failed.load(SeqCst) {
                    let at = next.fetch_add(1, SeqCst);
                    if at >= count {
                        return;
                    }
                    let seed = first.wrapping_add(at);
                    let program = Program::new(seed);
                    if running::run(&program).is_err() {
                        has_failed.store(true, SeqCst);
                        println!("a program has failed, after {at} others; it is made smaller");
                        let (program, why) = running::shrink(&program);
                        let again =
                            format!("again with MSGPIPE_SEED={seed} MSGPIPE_SIM_PROGRAMS=1");
                        panic!("after {at} programs: {}\n{again}\n{program}", why.join("\n"));
                    }
                }
            });
        }
    });
    let rate = count as f64 / began.elapsed().as_secs_f64();
    println!("{count} programs, {rate:.0} programs a second");
}

#[test]
fn a_seed_gives_the_same_run_twice() {
    for seed in 0..40 {
        let program = Program::new(seed);
        let (one, two) = (running::run(&program), running::run(&program));
        assert_eq!(one.map_err(|it| it.join("\n")), two.map_err(|it| it.join("\n")), "{seed}");
    }
}
