//! `msgpipe ping`.

use crate::args::{Common, Ping};
use crate::exit::Exit;
use crate::output;
use crate::target;
use msgpipe::monitor::PING;
use std::thread;
use std::time::{Duration, Instant};

pub fn run(common: &Common, args: &Ping) -> Result<(), Exit> {
    let started = Instant::now();
    let client = target::client(common, &args.name)?;
    let connected = started.elapsed();
    let pinging = client.with_method(PING);
    output::line(&format!(
        "{}: {}, connected in {connected:.0?}",
        client.endpoint(),
        client.server()
    ))?;
    let mut times = Vec::new();
    for number in 0..args.count {
        if number > 0 {
            thread::sleep(args.interval);
        }
        let asked = Instant::now();
        let body = number.to_le_bytes();
        let reply = pinging.call(&body[..])?;
        let time = asked.elapsed();
        if reply[..] != body {
            let error = std::io::Error::other("it sent other bytes back");
            return Err(Exit::System(format!("{}: reading the reply", args.name), error));
        }
        output::line(&format!("reply {}: {time:.0?}", number + 1))?;
        times.push(time);
    }
    times.sort_unstable();
    let (least, most) = (times.first(), times.last());
    let median = times.get(times.len() / 2);
    let text = |time: Option<&Duration>| format!("{:.0?}", time.copied().unwrap_or_default());
    output::line(&format!(
        "{} of {} replies; least {}, median {}, most {}",
        times.len(),
        args.count,
        text(least),
        text(median),
        text(most)
    ))
}
