//! The measure of fairness: how much longer a client's call takes for each concurrent flood. A flood is a
//! client that sends requests without a pause.

use crate::Failure;
use crate::echo::Side;
use crate::report::{Report, Target, Unit, quantile};
use crate::server::{ServerProcess, WORK, WORK_TIME};
use crate::setting::Setting;
use msgpipe::{Client, Endpoint, Error};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Numbers of concurrent floods.
const FLOODS: [usize; 3] = [1, 2, 4];

/// Requests in flight of one flood.
const IN_FLIGHT: usize = 512;

/// The most time that each flood may add to a call, in multiples of the time of a call alone, its handler's
/// time included.
const GOAL: f64 = 2.0;

pub fn run(setting: &Setting<'_>, report: &Report) -> Result<(), Failure> {
    for floods in FLOODS {
        let mut rounds = Vec::new();
        for _ in 0..setting.options.rounds {
            let server = ServerProcess::start(Side::Msgpipe, setting.server_cpu)?;
            let alone = p99(server.name(), 0, setting.options.time)?;
            let with_floods = p99(server.name(), floods, setting.options.time)?;
            rounds
                .push(((WORK_TIME.as_nanos() as f64 + alone) * floods as f64, with_floods - alone));
        }
        let name = format!("p99 of a call beside {floods} floods, by flood");
        report.ratio(&name, Unit::Nanoseconds, rounds, Some(Target::AtMost(GOAL)));
    }
    Ok(())
}

/// The 99th percentile of the duration of a call with `floods` concurrent floods, in nanoseconds.
fn p99(server: &str, floods: usize, time: Duration) -> Result<f64, Failure> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let flooding: Vec<_> = (0..floods).map(|_| scope.spawn(|| flood(server, &stop))).collect();
        let durations = calls(server, time);
        stop.store(true, Ordering::Relaxed);
        for flood in flooding {
            flood.join().map_err(|_| "a flood panicked")??;
        }
        let mut durations = durations?;
        durations.sort_by(f64::total_cmp);
        Ok(quantile(&durations, 0.99))
    })
}

fn calls(server: &str, time: Duration) -> Result<Vec<f64>, Failure> {
    let client = Client::connect(Endpoint::name(server)?)?;
    client.call(WORK)?;
    let (start, mut durations) = (Instant::now(), Vec::new());
    while start.elapsed() < time || durations.len() < 100 {
        let before = Instant::now();
        client.call(WORK)?;
        durations.push(before.elapsed().as_nanos() as f64);
    }
    Ok(durations)
}

fn flood(server: &str, stop: &AtomicBool) -> Result<(), Error> {
    let client = Client::connect(server)?;
    let mut calls = VecDeque::new();
    while !stop.load(Ordering::Relaxed) {
        while calls.len() < IN_FLIGHT {
            calls.push_back(client.start(WORK)?);
        }
        if let Some(call) = calls.pop_front() {
            call.wait()?;
        }
    }
    Ok(())
}
