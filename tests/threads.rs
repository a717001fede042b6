//! Programs of several threads, run in many orders by shuttle: `scripts/prove-threads`. Without `--cfg msgpipe_shuttle` there is nothing
//! here.
//!
//! Time does not pass in them: whoever waits for something waits until it comes, and a program in which all wait fails. So
//! nothing that they show rests on a deadline, or on looking again from time to time.
#![cfg(msgpipe_shuttle)]

#[path = "threads/calls.rs"]
mod calls;
#[path = "threads/handlers.rs"]
mod handlers;
#[path = "threads/parts.rs"]
mod parts;

use msgpipe::{Client, Limits, Request, Responder, Server, memory};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::thread;
use shuttle::{Config, Runner};

/// How many orders each program is run in, half of them at random, half with few changes of the running thread.
fn orders() -> usize {
    let given = std::env::var("MSGPIPE_ORDERS").ok();
    given.map_or(400, |it| it.parse().expect("MSGPIPE_ORDERS is a number"))
}

/// Runs a program in many orders.
fn explore(program: impl Fn() + Send + Sync + Clone + 'static) {
    let mut config = Config::new();
    config.stack_size = 1 << 18;
    if let Ok(order) = std::env::var("MSGPIPE_ORDER") {
        return shuttle::replay(program, &order);
    }
    let random = RandomScheduler::new(orders() / 2);
    Runner::new(random, config.clone()).run(program.clone());
    let few_changes = PctScheduler::new(3, orders() / 2);
    Runner::new(few_changes, config).run(program);
}

/// A server on a thread of its own, while `with_clients` runs.
fn serving(
    handler: impl FnMut(Request, Responder) + Send + 'static,
    with_clients: impl FnOnce(&dyn Fn() -> Client),
) {
    let hub = memory::Hub::new();
    let messages = hub.listen_for_calls("threads", Limits::default()).unwrap();
    let server = Server::over(messages, Limits::default()).accept_streams();
    let stopper = server.stopper();
    let serving = thread::spawn(move || server.serve_deferred(handler).unwrap());
    with_clients(&|| hub.client("threads", Limits::default()).unwrap());
    stopper.stop();
    serving.join().unwrap();
}
