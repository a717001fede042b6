//! `msgpipe tap`.

use crate::args::{Common, Tap};
use crate::exit::Exit;
use crate::pcap::Capture;
use crate::{output, target};
use msgpipe::Error;
use msgpipe::bytes::Bytes;
use msgpipe::monitor::{Frame, Seen, TAP, What};
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

const GREEN: &str = "\x1b[32m";
const BLUE: &str = "\x1b[34m";
const PLAIN: &str = "\x1b[0m";

pub fn run(common: &Common, args: &Tap) -> Result<(), Exit> {
    let client = target::client(common, &args.name)?;
    let mut parts = match client.with_method(TAP).stream("") {
        Ok(parts) => parts,
        Err(error) => return target::ended(error),
    };
    let mut to = match &args.pcap {
        Some(path) => To::Capture(Capture::create(path)?),
        None if args.json => To::Json,
        None => To::Terminal { began: None, colours: output::has_colours() },
    };
    if args.pcap.is_none() {
        // There may be nothing to show for long.
        output::when_closed(output::exit);
    }
    let mut left = args.count.unwrap_or(u64::MAX);
    let mut expected = None;
    while left > 0 {
        let part = match parts.next_within(common.timeout) {
            // Nothing is sent now; that may go on.
            Err(Error::Deadline { .. }) => continue,
            Err(error) => return target::ended(error),
            Ok(part) => part,
        };
        let Some(part) = part else { break };
        let Some(seen) = Seen::decode(part.clone()) else { continue };
        let missed = expected.map_or(0, |expected| seen.number.saturating_sub(expected));
        expected = Some(seen.number.saturating_add(1));
        to.take(&part, &seen, missed, args.bodies)?;
        left -= 1;
    }
    Ok(())
}

enum To {
    Capture(Capture),
    Json,
    Terminal { began: Option<SystemTime>, colours: bool },
}

impl To {
    fn take(&mut self, part: &Bytes, seen: &Seen, missed: u64, bodies: usize) -> Result<(), Exit> {
        match self {
            To::Capture(capture) => capture.add(seen.at, part),
            To::Json => output::line(&to_json(seen, missed, bodies).to_string()),
            To::Terminal { began, colours } => {
                if missed > 0 {
                    output::line(&format!("... {missed} more were not read in time"))?;
                }
                let began = *began.get_or_insert(seen.at);
                let after = seen.at.duration_since(began).unwrap_or_default();
                let (colour, plain) = match (&seen.what, *colours) {
                    (What::FromClient(_), true) => (GREEN, PLAIN),
                    (What::ToClient(_), true) => (BLUE, PLAIN),
                    _ => ("", ""),
                };
                let text = output::one_line(seen.to_string().as_bytes());
                let rest = frame(seen).map_or(String::new(), |frame| body(frame, bodies));
                output::line(&format!("{:>11.6} {colour}{text}{plain}{rest}", after.as_secs_f64()))
            }
        }
    }
}

fn frame(seen: &Seen) -> Option<&Frame> {
    match &seen.what {
        What::FromClient(frame) | What::ToClient(frame) => Some(frame),
        _ => None,
    }
}

/// What is shown of a body.
fn body(frame: &Frame, most: usize) -> String {
    let shown = &frame.rest[..frame.rest.len().min(most)];
    match shown.is_empty() {
        true => String::new(),
        false => format!(": {}", output::one_line(shown)),
    }
}

fn to_json(seen: &Seen, missed: u64, bodies: usize) -> Value {
    let micros = seen.at.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
    let mut value = json!({
        "number": seen.number,
        "missed": missed,
        "time_us": u64::try_from(micros).unwrap_or(u64::MAX),
        "connection": seen.connection,
    });
    let more = match &seen.what {
        What::Connected(peer) => json!({ "what": "connected", "peer": peer }),
        What::Closed(reason) => json!({ "what": "closed", "reason": reason }),
        What::FromClient(frame) => of_frame("from_client", frame, bodies),
        What::ToClient(frame) => of_frame("to_client", frame, bodies),
        _ => json!({ "what": "unknown" }),
    };
    if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
        value.extend(more);
    }
    value
}

fn of_frame(what: &str, frame: &Frame, bodies: usize) -> Value {
    let shown = &frame.rest[..frame.rest.len().min(bodies)];
    json!({
        "what": what,
        "kind": frame.kind_name(),
        "flags": frame.flags,
        "code": frame.code,
        "id": frame.id,
        "first": frame.first,
        "second": frame.second,
        "size": frame.size,
        "shown": String::from_utf8_lossy(shown),
    })
}
