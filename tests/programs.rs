//! Random programs of servers and clients, on real transports, against a model.
//!
//! A program is what the clients do, on how many threads, and what the handler makes of each request: calls, batches,
//! streams in both directions, notifications and calls of both sides, topics, deadlines, cancelling, closing and
//! stopping in the middle. The model says how each call may end, with which bytes and after what, whatever the
//! order in which the threads run. At the end nothing is left: no thread, no descriptor, no byte of the server's account.
//!
//! A program has a number, with which it is made again. `scripts/prove-calls api` runs 10,000 on each transport:
//!
//! `MSGPIPE_SEED=number MSGPIPE_API_PROGRAMS=1 cargo test --test programs`

#[path = "programs/calling_back.rs"]
mod calling_back;
#[path = "programs/client.rs"]
mod client;
mod environment;
#[path = "programs/model.rs"]
mod model;
mod passing;
#[path = "programs/plan.rs"]
mod plan;
#[path = "programs/running.rs"]
mod running;
#[path = "programs/server.rs"]
mod server;
#[path = "programs/taking.rs"]
mod taking;
#[path = "programs/transport.rs"]
mod transport;
#[path = "programs/world.rs"]
mod world;

#[test]
fn every_program_ends_as_the_model_allows() {
    running::run_all();
}
