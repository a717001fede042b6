//! Calls of 64 bytes by the async client and by the blocking one, in one run: `cargo bench --features tokio --bench tokio`.

use msgpipe::Server;
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};

const ROUNDS: usize = 5;
const CALLS: usize = 10_000;
const IN_FLIGHT: usize = 128;

fn main() {
    let name = format!("msgpipe.bench.tokio.{}", std::process::id());
    let server = Server::bind(name.as_str()).unwrap();
    let stopper = server.stopper();
    let serving = thread::spawn(move || server.serve(|request| request.body()).unwrap());
    let blocking = msgpipe::Client::connect(name.as_str()).unwrap();
    let one = Builder::new_current_thread().enable_all().build().unwrap();
    let two = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let connect = || msgpipe::tokio::Client::connect(name.as_str());
    let (on_one, on_two) = (one.block_on(connect()).unwrap(), two.block_on(connect()).unwrap());
    let body = vec![7; 64];
    let mut rows = [
        ("blocking, one by one", Vec::new()),
        ("async on one thread, one by one", Vec::new()),
        ("async on two threads, one by one", Vec::new()),
        ("blocking, 128 in flight, batches", Vec::new()),
        ("blocking, 128 in flight", Vec::new()),
        ("async on one thread, 128 in flight", Vec::new()),
        ("async on two threads, 128 in flight", Vec::new()),
    ];
    // In turn, so that the machine's moods meet all of them.
    for _ in 0..ROUNDS {
        rows[0].1.push(timed(|| (0..CALLS).for_each(|_| drop(blocking.call(&body[..]).unwrap()))));
        rows[1].1.push(timed(|| one_by_one(&one, &on_one, &body)));
        rows[2].1.push(timed(|| one_by_one(&two, &on_two, &body)));
        rows[3].1.push(timed(|| batches(&blocking, &body)));
        rows[4].1.push(timed(|| started(&blocking, &body)));
        rows[5].1.push(timed(|| in_flight(&one, &on_one, &body)));
        rows[6].1.push(timed(|| in_flight(&two, &on_two, &body)));
    }
    for (row, times) in &mut rows {
        times.sort();
        println!("{row:40} {:8.2} µs a call", times[ROUNDS / 2].as_nanos() as f64 / 1000.0);
    }
    drop((blocking, on_one, on_two));
    stopper.stop();
    serving.join().unwrap();
}

/// The time of one of the calls.
fn timed(calls: impl FnOnce()) -> Duration {
    let began = Instant::now();
    calls();
    began.elapsed() / CALLS as u32
}

fn one_by_one(runtime: &Runtime, client: &msgpipe::tokio::Client, body: &[u8]) {
    runtime.block_on(async {
        for _ in 0..CALLS {
            client.call(body).await.unwrap();
        }
    });
}

fn batches(client: &msgpipe::Client, body: &[u8]) {
    for _ in 0..CALLS / IN_FLIGHT {
        let mut batch = client.batch();
        for _ in 0..IN_FLIGHT {
            batch.add(body);
        }
        batch.send().unwrap().into_iter().for_each(|call| drop(call.wait().unwrap()));
    }
}

fn started(client: &msgpipe::Client, body: &[u8]) {
    for _ in 0..CALLS / IN_FLIGHT {
        let calls: Vec<_> = (0..IN_FLIGHT).map(|_| client.start(body).unwrap()).collect();
        calls.into_iter().for_each(|call| drop(call.wait().unwrap()));
    }
}

fn in_flight(runtime: &Runtime, client: &msgpipe::tokio::Client, body: &[u8]) {
    runtime.block_on(async {
        for _ in 0..CALLS / IN_FLIGHT {
            let mut calls = Vec::with_capacity(IN_FLIGHT);
            for _ in 0..IN_FLIGHT {
                calls.push(client.start(body).await.unwrap());
            }
            for call in calls {
                call.await.unwrap();
            }
        }
    });
}
