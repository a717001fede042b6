//! Streams, notifications, credit, and all ends of a call: a machine of either side must do what the vectors say.

use super::file::{Part, Vector, hex, root, said, vectors};
use bytes::{Bytes, BytesMut};
use msgpipe::ErrorReply;
use msgpipe::exchange::{
    Arrived, Cancelled, Charge, Config, End, Event, Machine, Message, Metadata, Opening, Settings,
    Side,
};
use msgpipe::framing::{Framing, Layer, Native};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How many cases there were when this was written: with fewer, some are not seen.
const LEAST: usize = 60;

const OF_STREAMS: [&str; 8] =
    ["side", "settled", "arrives", "do", "event", "sends", "nothing", "violation"];

/// A machine, and what its application knows.
struct Case {
    at: String,
    machine: Machine<()>,
    now: Instant,
    /// The credit of the messages that were not taken, by call.
    untaken: HashMap<u32, Vec<Charge>>,
}

impl Case {
    /// `[side]`: the role, then what differs from the settings of the README.
    fn new(at: String, argument: &str) -> Case {
        let mut words = argument.split(' ');
        let side = match words.next() {
            Some("client") => Side::Client,
            Some("server") => Side::Server,
            side => panic!("{at}: {side:?}"),
        };
        let settings = Settings { body: 1 << 20, ..Settings::assumed() };
        let mut config = Config { settings, ..Config::default() };
        for (name, value) in words.filter_map(|word| word.split_once('=')) {
            let value = number(value);
            match name {
                "piece" => (config.piece, config.piece_alone) = (value as usize, value as usize),
                "calls" => config.settings.calls = value,
                "grease" => config.settings.grease = Some(value as u16),
                _ => panic!("{at}: {name}"),
            }
        }
        let (machine, now) = (Machine::new(side, config), Instant::now());
        Case { at, machine, now, untaken: HashMap::new() }
    }

    #[track_caller]
    fn step(&mut self, part: &Part) {
        let (argument, bytes) = (&*part.argument, Bytes::from(part.bytes.clone()));
        match &*part.name {
            "settled" => {
                self.machine.transmit(self.now).expect("settings");
                // The largest body is 1 MiB, all else as assumed.
                let settings = hex("0B 00*15 01 00 04 00 00 00 10 00");
                self.machine.receive(self.now, settings.into()).unwrap();
                assert_eq!(self.machine.next_event(), Some(Event::Settings));
            }
            "arrives" => {
                let received = self.machine.receive(self.now, bytes);
                received.unwrap_or_else(|violation| panic!("{}: {violation}", self.at));
            }
            "violation" => {
                let violation = self.machine.receive(self.now, bytes).expect_err(&self.at);
                assert_eq!(violation.rule(), argument, "{}: {violation}", self.at);
            }
            "do" => self.does(argument),
            "event" => {
                let event = self.machine.next_event();
                let shown = event.map(|event| self.shown(event));
                assert_eq!(shown.as_deref(), Some(argument), "{}", self.at);
            }
            "sends" => {
                let sent = self.machine.transmit(self.now).map(|frame| frame.to_bytes());
                assert_eq!(sent, Some(bytes), "{}", self.at);
            }
            "nothing" => self.is_quiet(),
            name => panic!("{}: {name}", self.at),
        }
    }

    #[track_caller]
    fn is_quiet(&mut self) {
        let sent = self.machine.transmit(self.now).map(|frame| frame.to_bytes());
        assert_eq!((sent, self.machine.next_event()), (None, None), "{}", self.at);
    }

    /// What the application does.
    #[track_caller]
    fn does(&mut self, command: &str) {
        let machine = &mut self.machine;
        // The last word is a text, perhaps of several words.
        let most = match command.split(' ').next() {
            Some("notify") => 3,
            Some("send" | "fail") => 4,
            _ => 5,
        };
        let words: Vec<&str> = command.splitn(most, ' ').collect();
        let id = |at: usize| number(words[at]);
        let done = match words[..] {
            ["open", method, time, "bare"] => open(machine, self.now, method, time, None),
            ["open", method, time, ends, body] => {
                open(machine, self.now, method, time, Some(message(ends, body)))
            }
            ["send", _, ends, body] => machine.send(id(1), message(ends, body)).is_ok(),
            ["notify", _, body] => {
                machine.notify(Message { method: id(1), ..message("more", body) }).is_ok()
            }
            ["end", _] => machine.end(id(1)).is_ok(),
            ["fail", _, code, text] => {
                machine.fail(id(1), ErrorReply::new(number(code) as u16, text)).is_ok()
            }
            ["take", _] => {
                for charge in self.untaken.remove(&id(1)).expect("something is untaken") {
                    machine.taken(id(1), charge);
                    machine.give_back(charge);
                }
                true
            }
            ["wait", _] => {
                self.now += Duration::from_millis(id(1).into());
                machine.expire(self.now);
                true
            }
            ["refused", ref rest @ ..] => {
                let refused = open(machine, self.now, rest[1], rest[2], Some(message(rest[3], "")));
                return assert!(!refused, "{}: {command}", self.at);
            }
            _ => {
                match words[0] {
                    "abort" => machine.abort(id(1), number(words[2]) as u16),
                    "stop" => machine.stop(id(1)),
                    "cancel" => machine.cancel(id(1)),
                    "release" => drop(machine.release(id(1))),
                    "admit" => machine.admit(id(1)),
                    "drain" => machine.drain(),
                    _ => panic!("{}: {command}", self.at),
                }
                true
            }
        };
        assert!(done, "{}: {command}", self.at);
    }

    /// An event as the vectors write it.
    fn shown(&mut self, event: Event) -> String {
        let ends = |last: bool| if last { "last" } else { "more" };
        match event {
            Event::Request { id, method, metadata, deadline, message, last } => {
                let time = deadline.map_or(0, |at| (at - self.now).as_millis());
                let body = message.map_or("-".to_owned(), |(body, charge)| {
                    self.untaken.entry(id).or_default().push(charge);
                    text(&body)
                });
                let (pairs, ends) = (pairs(&metadata), ends(last));
                format!("request {id} method {method} time {time} {ends} {pairs}{body}")
            }
            Event::Message { id, arrived } => {
                let Arrived { metadata, body, charge, last, .. } = arrived;
                self.untaken.entry(id).or_default().push(charge);
                format!("message {id} {} {}{}", ends(last), pairs(&metadata), text(&body))
            }
            Event::Notification { arrived } => {
                let Arrived { metadata, body, charge, method, .. } = arrived;
                self.untaken.entry(0).or_default().push(charge);
                format!("notification {method} {}{}", pairs(&metadata), text(&body))
            }
            Event::Ended { id, end: End::Plain } => format!("ended {id}"),
            Event::Ended { id, end: End::Error(ErrorReply { code, text, details, .. }) } => {
                match details.is_empty() {
                    true => format!("ended {id} error {code} {text}"),
                    false => {
                        format!("ended {id} error {code} {text} details {}", self::text(&details))
                    }
                }
            }
            Event::Ended { id, end: End::Aborted { code } } => format!("ended {id} aborted {code}"),
            Event::Ended { id, end: End::Withdrawn } => format!("ended {id} withdrawn"),
            Event::Stopped { id } => format!("stopped {id}"),
            Event::Cancelled { id, why: Cancelled::Caller } => format!("cancelled {id}"),
            Event::Cancelled { id, why: Cancelled::Deadline } => format!("late {id}"),
            Event::Announced { id, size } => format!("announced {id} {size}"),
            Event::Draining => "draining".to_owned(),
            Event::Settings => "settings".to_owned(),
            Event::Expired { id, sent } => format!("expired {id} sent {sent}"),
            other => format!("{other:?}"),
        }
    }
}

fn number(word: &str) -> u32 {
    word.parse().unwrap_or_else(|_| panic!("{word} is no number"))
}

/// A message with this text; `x*N`: N times x.
fn message(ends: &str, body: &str) -> Message {
    let body = match body.split_once('*') {
        Some((letter, count)) => letter.repeat(number(count) as usize),
        None => body.to_owned(),
    };
    assert!(["last", "more"].contains(&ends), "{ends}");
    Message::new(body.into(), ends == "last")
}

fn open(
    machine: &mut Machine<()>,
    now: Instant,
    method: &str,
    time: &str,
    message: Option<Message>,
) -> bool {
    let deadline = Some(number(time)).filter(|time| *time > 0);
    let deadline = deadline.map(|time| now + Duration::from_millis(time.into()));
    let opening = Opening { method: number(method), deadline, message, ..Opening::default() };
    machine.open(opening, ()).is_ok()
}

fn pairs(metadata: &Metadata) -> String {
    let pair = |(key, value): (Bytes, Bytes)| format!("{}={} ", text(&key), text(&value));
    metadata.pairs().map(pair).collect()
}

fn text(bytes: &[u8]) -> String {
    match bytes.len() {
        0 => "empty".to_owned(),
        len if len > 100 => format!("{len} bytes"),
        _ => bytes.escape_ascii().to_string(),
    }
}

/// Runs the cases of a file: each `[side]` begins one.
fn run(vector: &Vector) -> usize {
    let mut cases: Vec<Case> = Vec::new();
    for (at, part) in vector.parts.iter().enumerate() {
        let place = format!("{}, part {at} [{}] {}", vector.file, part.name, part.argument);
        if part.name == "side" {
            cases.push(Case::new(place, &part.argument));
            continue;
        }
        let case = cases.last_mut().expect("a case begins with its side");
        case.at = place;
        case.step(part);
        let is_last = vector.parts.get(at + 1).is_none_or(|next| next.name == "side");
        // After a violation the connection is closed.
        if is_last && part.name != "violation" {
            case.is_quiet();
        }
    }
    cases.len()
}

#[test]
fn machines_do_as_the_vectors_say() {
    let vectors = vectors("streams-", &OF_STREAMS);
    let count: usize = vectors.iter().map(run).sum();
    assert!(count >= LEAST, "only {count} cases");
}

#[test]
fn the_second_conversation_of_the_protocol_page_is_that_of_the_vector() {
    let page = std::fs::read_to_string(root().join("docs/PROTOCOL.md")).unwrap();
    let vectors = vectors("streams-", &OF_STREAMS);
    let vector = vectors.iter().find(|it| it.file == "streams-conversation.txt").unwrap();
    for (side, name) in [("C ", "arrives"), ("S ", "sends")] {
        let mut input = BytesMut::from(&said(&page, 1, side)[..]);
        let mut decoder = Native::new(Layer::Calls, 1 << 20).decoder();
        for part in vector.all(name) {
            let frame = decoder.decode(&mut input).unwrap().expect("a frame");
            assert_eq!(frame, part.bytes, "{side}");
        }
        let end = decoder.decode(&mut input);
        assert!(
            input.is_empty() && !matches!(end, Ok(Some(_))),
            "{side}: more than the vector has"
        );
    }
}
