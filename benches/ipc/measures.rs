//! The measures of time: round trips, many calls in flight, many concurrent clients.

use crate::echo::{Echo, Ownership, Request, Side, Writes, calls};
use crate::options::Measure;
use crate::report::{Report, Target, Unit, quantile};
use crate::setting::Setting;
use crate::{Failure, fair, idle, publish, streams};
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// The round trips: name, size, and whether the request is owned or borrowed.
const ROUND_TRIPS: [(&str, usize, Ownership); 5] = [
    ("64 B", 64, Ownership::Owned),
    ("4 KiB", 4 << 10, Ownership::Owned),
    ("64 KiB", 64 << 10, Ownership::Owned),
    ("1 MiB", 1 << 20, Ownership::Owned),
    ("1 MiB, borrowed", 1 << 20, Ownership::Borrowed),
];

/// The target for the median of a round trip of this size.
const fn round_trip_target(size: usize) -> Option<Target> {
    match size {
        0x10_0000 if cfg!(windows) => None,
        64 if cfg!(windows) => Some(Target::AtMost(1.6)),
        _ if cfg!(windows) => Some(Target::AtMost(1.5)),
        64 => Some(Target::AtMost(1.25)),
        0x1_0000 => Some(Target::AtMost(1.10)),
        _ => Some(Target::AtMost(1.05)),
    }
}

/// Calls in flight on one connection.
const WINDOW: u64 = 128;

/// How a window is sent: name, number of parts, mode and target. With several parts, the other parts are in
/// flight while the server replies to one. `OnePerRequest` sends each request with its own write and waits
/// for one reply after each; the floor then sends all with one write.
const PARTS: [(&str, u64, Writes, f64); 3] = [
    ("by halves", 2, Writes::OneForAll, 0.8),
    ("all at once", 1, Writes::OneForAll, 0.8),
    ("one by one", 1, Writes::OnePerRequest, 0.25),
];

/// Concurrent clients, each a thread with its own connection.
const CLIENTS: usize = 16;

/// The size of a request in the measures with many small requests.
const SMALL: usize = 64;

/// The warm-up before each measurement does the same work, for this fraction of the measured time.
const WARM_UP: f64 = 0.2;

impl Measure {
    pub fn run(self, setting: &Setting<'_>, report: &Report) -> Result<(), Failure> {
        let time = setting.options.time;
        match self {
            Measure::RoundTrip => {
                for (name, size, ownership) in ROUND_TRIPS {
                    let rounds = setting
                        .rounds(|side, server| round_trips(side, server, size, ownership, time))?;
                    for (which, at) in [("median", 0.5), ("p99", 0.99)] {
                        let both = |(bare, ours): &(Vec<f64>, Vec<f64>)| {
                            (quantile(bare, at), quantile(ours, at))
                        };
                        let target = round_trip_target(size).filter(|_| at == 0.5);
                        let name = format!("round trip {name}, {which}");
                        report.ratio(
                            &name,
                            Unit::Nanoseconds,
                            rounds.iter().map(both).collect(),
                            target,
                        );
                    }
                }
            }
            Measure::Pipelined => {
                for (label, parts, writes, target) in PARTS {
                    let rounds = setting
                        .rounds(|side, server| pipelined(side, server, parts, writes, time))?;
                    let name = format!("{WINDOW} of {SMALL} B in flight, {label}");
                    report.ratio(&name, Unit::PerSecond, rounds, Some(Target::AtLeast(target)));
                }
            }
            Measure::FanIn => {
                let rounds = setting.rounds(|side, server| fan_in(side, server, time))?;
                let name = format!("{CLIENTS} clients of {SMALL} B");
                report.ratio(&name, Unit::PerSecond, rounds, Some(Target::AtLeast(0.85)));
            }
            Measure::Fair => fair::run(setting, report)?,
            Measure::Streams => streams::run(setting, report)?,
            Measure::Publish => publish::run(setting, report)?,
            Measure::Idle => idle::run(setting, report)?,
        }
        Ok(())
    }
}

/// Sequential round trips: their durations in nanoseconds, sorted.
fn round_trips(
    side: Side,
    server: &str,
    size: usize,
    ownership: Ownership,
    time: Duration,
) -> Result<Vec<f64>, Failure> {
    let mut echo = side.connect(server)?;
    let requests = Request::several(4, size);
    calls(&mut *echo, &requests, ownership, time.mul_f64(WARM_UP))?;
    let mut durations = calls(&mut *echo, &requests, ownership, time)?;
    durations.sort_by(f64::total_cmp);
    Ok(durations)
}

/// Replies per second on one connection with a full window.
fn pipelined(
    side: Side,
    server: &str,
    parts: u64,
    writes: Writes,
    time: Duration,
) -> Result<f64, Failure> {
    let mut echo = side.connect(server)?;
    let part = Request::several(WINDOW / parts, SMALL);
    // `OnePerRequest`: the window is full before the first measured request.
    let ahead = parts - u64::from(matches!(writes, Writes::OneForAll));
    for _ in 0..ahead {
        echo.send(&part)?;
    }
    replies(&mut *echo, &part, writes, time.mul_f64(WARM_UP))?;
    replies(&mut *echo, &part, writes, time)
}

/// Sends the part that completes the window, and receives the oldest part; again and again for `time`.
/// Returns the replies per second.
fn replies(
    echo: &mut dyn Echo,
    part: &[Request],
    writes: Writes,
    time: Duration,
) -> Result<f64, Failure> {
    let start = Instant::now();
    let mut replies = 0;
    loop {
        match writes {
            Writes::OneForAll => {
                echo.send(part)?;
                echo.receive(part)?;
            }
            Writes::OnePerRequest => echo.exchange(part)?,
        }
        replies += part.len();
        let elapsed = start.elapsed();
        if elapsed >= time {
            return Ok(replies as f64 / elapsed.as_secs_f64());
        }
    }
}

/// Round trips per second, summed over many concurrent clients.
fn fan_in(side: Side, server: &str, time: Duration) -> Result<f64, Failure> {
    let requests = Request::several(4, SMALL);
    let warm = Barrier::new(CLIENTS);
    let client = || {
        let mut echo = side.connect(server)?;
        let warmed_up = calls(&mut *echo, &requests, Ownership::Owned, time.mul_f64(WARM_UP));
        warm.wait();
        warmed_up?;
        let durations = calls(&mut *echo, &requests, Ownership::Owned, time)?;
        Ok(durations.len() as f64 / (durations.iter().sum::<f64>() / 1e9))
    };
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        let rates =
            clients.into_iter().map(|client| client.join().map_err(|_| "a client panicked")?);
        rates.sum()
    })
}
