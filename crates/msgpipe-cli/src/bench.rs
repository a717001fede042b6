//! `msgpipe bench`.

use crate::args::{Bench, Common};
use crate::exit::Exit;
use crate::interrupt::Interrupt;
use crate::{output, picture, target};
use hdrhistogram::Histogram;
use msgpipe::monitor::PING;
use msgpipe::{Call, Client, Server, Stopper};
use std::collections::VecDeque;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long the calls before the measurement last: until caches and clocks are warm.
const WARM_UP: Duration = Duration::from_millis(100);

/// The longest time that is told apart, in nanoseconds: a minute.
const LONGEST: u64 = 60_000_000_000;

/// The times of the calls of one size.
pub struct Measured {
    pub size: usize,
    pub times: Histogram<u64>,
    pub took: Duration,
}

pub fn run(common: &Common, args: &Bench) -> Result<(), Exit> {
    if let Some(size) = args.size.iter().find(|size| **size > common.message_limit) {
        return Err(Exit::Usage(format!(
            "--size {size} is over --message-limit {}",
            common.message_limit
        )));
    }
    let own = match args.name {
        Some(_) => None,
        None => Some(Own::start(common)?),
    };
    let measured = measure_all(common, args, own.as_ref());
    match own.is_some_and(|own| own.interrupt.has_come()) {
        true => Err(Exit::Interrupted),
        false => measured,
    }
}

fn measure_all(common: &Common, args: &Bench, own: Option<&Own>) -> Result<(), Exit> {
    let name = args.name.as_deref().or(own.map(|own| own.name.as_str()));
    let client = target::client(common, name.unwrap_or_default())?.with_method(PING);
    output::line(&format!(
        "{}: {}, {} in flight",
        client.endpoint(),
        client.server(),
        args.in_flight
    ))?;
    output::line("     bytes     calls/s         p50         p90         p99        most")?;
    let mut all = Vec::new();
    for &size in &args.size {
        measure(&client, size, args.in_flight.into(), WARM_UP)?;
        let measured = measure(&client, size, args.in_flight.into(), args.time)?;
        output::line(&row(&measured))?;
        all.push(measured);
    }
    for measured in &all {
        output::line(&format!("\n{} bytes:", measured.size))?;
        output::write(histogram(&measured.times).as_bytes())?;
    }
    if let Some(path) = &args.svg {
        let written = std::fs::write(path, picture::draw(&all));
        written.map_err(|error| Exit::System(format!("writing {}", path.display()), error))?;
    }
    Ok(())
}

/// A server for the measurement, in this process.
struct Own {
    name: String,
    stopper: Stopper,
    thread: Option<JoinHandle<()>>,
    interrupt: Interrupt,
}

impl Own {
    fn start(common: &Common) -> Result<Own, Exit> {
        let name = format!("msgpipe-bench.{}", std::process::id());
        let interrupt = Interrupt::install()?;
        let server = Server::bind_with(name.as_str(), target::limits(common)?)?;
        let (stopper, interrupted) = (server.stopper(), server.stopper());
        // The calls fail then.
        interrupt.stops(move || interrupted.stop());
        let thread = thread::spawn(move || {
            // Its end shows in the calls.
            let _ = server.serve(|request| request.into_body());
        });
        Ok(Own { name, stopper, thread: Some(thread), interrupt })
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.stopper.stop();
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn measure(
    client: &Client,
    size: usize,
    in_flight: usize,
    time: Duration,
) -> Result<Measured, Exit> {
    let body = vec![b'x'; size];
    // Three digits are more than a measurement repeats.
    let histogram = Histogram::new_with_bounds(1, LONGEST, 3);
    let mut times = histogram.map_err(|error| {
        Exit::System("counting times".to_owned(), std::io::Error::other(error.to_string()))
    })?;
    let mut calls: VecDeque<(Instant, Call)> = VecDeque::new();
    let began = Instant::now();
    loop {
        let goes_on = began.elapsed() < time;
        while goes_on && calls.len() < in_flight {
            calls.push_back((Instant::now(), client.start(&body)?));
        }
        let Some((asked, call)) = calls.pop_front() else { break };
        let reply = call.wait()?;
        if reply.len() != size {
            let error =
                std::io::Error::other(format!("a ping of {size} bytes got {}", reply.len()));
            return Err(Exit::System("reading a reply".to_owned(), error));
        }
        let nanos = u64::try_from(asked.elapsed().as_nanos()).unwrap_or(LONGEST);
        times.saturating_record(nanos);
    }
    Ok(Measured { size, times, took: began.elapsed() })
}

fn row(measured: &Measured) -> String {
    let times = &measured.times;
    let at = |quantile| format!("{:.1?}", Duration::from_nanos(times.value_at_quantile(quantile)));
    let rate = times.len() as f64 / measured.took.as_secs_f64();
    format!(
        "{:>10}  {rate:>10.0}  {:>10}  {:>10}  {:>10}  {:>10}",
        measured.size,
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0)
    )
}

/// Bars for ranges of times, each twice as long as the one before.
fn histogram(times: &Histogram<u64>) -> String {
    const WIDTH: u64 = 50;
    let mut text = String::new();
    let counts: Vec<(u64, u64)> = ranges(times);
    let most = counts.iter().map(|(_, count)| *count).max().unwrap_or(1).max(1);
    for (up_to, count) in counts {
        let bar = "#".repeat((count * WIDTH).div_ceil(most) as usize);
        let up_to = format!("{:.1?}", Duration::from_nanos(up_to));
        text.push_str(&format!("  up to {up_to:>8} {count:>9} {bar}\n"));
    }
    text
}

/// The numbers of calls in ranges of times, from the shortest to the longest; each range ends at a time in nanoseconds.
pub fn ranges(times: &Histogram<u64>) -> Vec<(u64, u64)> {
    let (mut low, mut ranges) = (0, Vec::new());
    let mut high = times.min().max(1).next_power_of_two();
    while low <= times.max() && !times.is_empty() {
        ranges.push((high, times.count_between(low, high)));
        low = high + 1;
        high = high.saturating_mul(2);
    }
    ranges
}
