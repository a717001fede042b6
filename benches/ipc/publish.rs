//! The measure of subscriptions: how fast a message goes to many.

use crate::own_server::{OwnServer, SUBSCRIBE, pin};
use crate::report::{Report, Target, Unit};
use crate::setting::Setting;
use crate::{Failure, floor, machine};
use std::io::{Read, Write};
use std::time::Instant;

/// Subscribers. On Windows less: Wine is slow.
const SUBSCRIBERS: usize = if cfg!(windows) { 100 } else { 1000 };

/// Messages in all: what fits into the system's buffers, so that reading is not measured.
const MESSAGES: usize = 200;

/// The size of a message.
const SIZE: usize = 64;

/// Subscriptions with one connection each, and the descriptors of this process for other purposes.
const DESCRIPTORS: u64 = 2 * SUBSCRIBERS as u64 + 100;

pub fn run(setting: &Setting<'_>, report: &Report) -> Result<(), Failure> {
    if machine::allow_many_descriptors()? < DESCRIPTORS {
        println!("no publishing: the limit of open descriptors allows too few subscribers");
        return Ok(());
    }
    let mut rounds = Vec::new();
    for _ in 0..setting.options.rounds {
        rounds.push((bare(setting.server_cpu)?, ours(setting.server_cpu)?));
    }
    let name = format!("publish {SIZE} B to {SUBSCRIBERS}, by subscriber");
    report.ratio(&name, Unit::PerSecond, rounds, Some(Target::AtLeast(0.5)));
    Ok(())
}

fn rate(start: Instant) -> f64 {
    (SUBSCRIBERS * MESSAGES) as f64 / start.elapsed().as_secs_f64()
}

/// A loop that writes each message to each socket, and reads them all then.
fn bare(cpu: Option<usize>) -> Result<f64, Failure> {
    let (mut readers, mut writers) = (Vec::new(), Vec::new());
    for _ in 0..SUBSCRIBERS {
        let (reader, writer) = floor::pair()?;
        readers.push(reader);
        writers.push(writer);
    }
    let start = Instant::now();
    let sending = std::thread::spawn(move || {
        pin(cpu);
        let frame = [7; 4 + SIZE];
        for _ in 0..MESSAGES {
            writers.iter_mut().try_for_each(|writer| writer.write_all(&frame))?;
        }
        Ok::<_, std::io::Error>(writers)
    });
    let _writers = sending.join().map_err(|_| "the sender panicked")??;
    let mut all = vec![0; MESSAGES * (4 + SIZE)];
    readers.iter_mut().try_for_each(|reader| reader.read_exact(&mut all))?;
    Ok(rate(start))
}

fn ours(cpu: Option<usize>) -> Result<f64, Failure> {
    let server = OwnServer::start(cpu)?;
    let mut all = Vec::new();
    for _ in 0..SUBSCRIBERS {
        let client = server.connect()?;
        all.push(client.with_method(SUBSCRIBE).stream("")?);
        // Its reply comes after the subscription.
        client.call("")?;
    }
    let topic = server.topic.clone();
    let start = Instant::now();
    let sending = std::thread::spawn(move || {
        pin(cpu);
        for _ in 0..MESSAGES {
            topic.publish([7; SIZE].to_vec());
        }
    });
    sending.join().map_err(|_| "the publisher panicked")?;
    for parts in &mut all {
        for _ in 0..MESSAGES {
            parts.next().ok_or("a subscription has ended")??;
        }
    }
    Ok(rate(start))
}
