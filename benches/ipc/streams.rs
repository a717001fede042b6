//! The measures of streams: the rate of a reply of many parts, and what it costs the calls beside it.

use crate::Failure;
use crate::floor;
use crate::own_server::{OwnServer, PART, STREAM, pin};
use crate::report::{Report, Target, Unit, quantile};
use crate::setting::Setting;
use msgpipe::Client;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The bytes of a stream. On Windows less: Wine is slow.
const STREAMED: usize = if cfg!(windows) { 64 << 20 } else { 1 << 30 };

/// The bytes of the transfer beside which calls are measured.
const TRANSFER: usize = 64 << 20;

/// The most that a call may take beside a transfer of its own connection, in multiples of its usual median.
const BESIDE: f64 = if cfg!(windows) { 10.0 } else { 5.0 };

pub fn run(setting: &Setting<'_>, report: &Report) -> Result<(), Failure> {
    let mut rounds = Vec::new();
    for _ in 0..setting.options.rounds {
        rounds.push((bare(setting.server_cpu)?, ours(setting.server_cpu)?));
    }
    let name = format!("stream of {} MiB in parts of 64 KiB", STREAMED >> 20);
    report.ratio(&name, Unit::BytesPerSecond, rounds, Some(Target::AtLeast(0.9)));
    let mut rounds = Vec::new();
    for _ in 0..setting.options.rounds {
        rounds.push(beside(setting.server_cpu, setting.options.time)?);
    }
    let name = "64 B call beside its connection's 64 MiB";
    report.ratio(name, Unit::Nanoseconds, rounds, Some(Target::AtMost(BESIDE)));
    Ok(())
}

/// Bytes per second from a thread that writes to a blocking socket, each part with a length in front.
fn bare(cpu: Option<usize>) -> Result<f64, Failure> {
    let (mut reader, mut writer) = floor::pair()?;
    let sending = std::thread::spawn(move || {
        pin(cpu);
        let mut part = vec![7; 4 + PART];
        part[..4].copy_from_slice(&(PART as u32).to_le_bytes());
        (0..STREAMED / PART).try_for_each(|_| writer.write_all(&part))
    });
    let mut part = vec![0; 4 + PART];
    let start = Instant::now();
    for _ in 0..STREAMED / PART {
        reader.read_exact(&mut part)?;
    }
    let rate = STREAMED as f64 / start.elapsed().as_secs_f64();
    sending.join().map_err(|_| "the sender panicked")??;
    Ok(rate)
}

fn ours(cpu: Option<usize>) -> Result<f64, Failure> {
    let server = OwnServer::start(cpu)?;
    let client = server.connect()?;
    let start = Instant::now();
    stream(&client, STREAMED)?;
    Ok(STREAMED as f64 / start.elapsed().as_secs_f64())
}

/// Takes a reply of so many bytes.
fn stream(client: &Client, bytes: usize) -> Result<(), Failure> {
    let mut left = bytes;
    for part in client.with_method(STREAM).stream((bytes / PART).to_string())? {
        left -= part?.len();
    }
    if left > 0 { Err("parts are missing".into()) } else { Ok(()) }
}

/// The median of a call alone, and beside transfers on its own connection, in nanoseconds.
fn beside(cpu: Option<usize>, time: Duration) -> Result<(f64, f64), Failure> {
    let server = OwnServer::start(cpu)?;
    let client = server.connect()?;
    let alone = median_call(&client, time)?;
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let transfers = scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                stream(&client, TRANSFER)?;
            }
            Ok::<_, Failure>(())
        });
        let beside = median_call(&client, time);
        is_done.store(true, Ordering::Relaxed);
        transfers.join().map_err(|_| "the transfer panicked")??;
        Ok((alone, beside?))
    })
}

fn median_call(client: &Client, time: Duration) -> Result<f64, Failure> {
    let request = [7; 64];
    let (start, mut durations) = (Instant::now(), Vec::new());
    while start.elapsed() < time || durations.len() < 100 {
        let before = Instant::now();
        client.call(&request[..])?;
        durations.push(before.elapsed().as_nanos() as f64);
    }
    durations.sort_by(f64::total_cmp);
    Ok(quantile(&durations, 0.5))
}
