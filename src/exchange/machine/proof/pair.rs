//! A client and a server that are joined directly: for tests of one behaviour each.

use crate::exchange::event::Event;
use crate::exchange::frame::{Frame, Kind};
use crate::exchange::incoming::Charge;
use crate::exchange::machine::{Config, Machine, Opening};
use crate::exchange::outgoing::Message;
use crate::exchange::settings::Settings;
use crate::exchange::{MESSAGE_COST, Side};
use bytes::Bytes;
use std::time::Instant;

pub struct Pair {
    pub client: Machine<()>,
    pub server: Machine<()>,
    pub now: Instant,
}

impl Pair {
    /// Both have each other's settings.
    pub fn new(config: Config) -> Pair {
        let server = Machine::new(Side::Server, config.clone());
        let mut pair =
            Pair { client: Machine::new(Side::Client, config), server, now: Instant::now() };
        pair.pass();
        assert_eq!(events(&mut pair.client), [Event::Settings]);
        assert_eq!(events(&mut pair.server), [Event::Settings]);
        pair
    }

    /// All frames arrive, in both directions, until there are none.
    pub fn pass(&mut self) {
        let Pair { client, server, now } = self;
        while carry(client, server, *now) + carry(server, client, *now) > 0 {}
    }

    /// The client opens a call with a message of so many bytes.
    #[track_caller]
    pub fn open(&mut self, size: usize, last: bool) -> u32 {
        self.client.open(opening(size, last), ()).expect("it is opened")
    }

    /// The client has called, and the server has taken the first message.
    #[track_caller]
    pub fn call(&mut self, last: bool) -> u32 {
        let id = self.open(3, last);
        self.pass();
        let arrived = messages(&mut self.server);
        let [(its, _, charge)] = arrived[..] else { panic!("it does not call: {arrived:?}") };
        assert_eq!(its, id);
        take(&mut self.server, id, charge);
        self.pass();
        id
    }
}

/// The application has taken a message.
pub fn take(machine: &mut Machine<()>, id: u32, charge: Charge) {
    machine.taken(id, charge);
    machine.give_back(charge);
}

/// Hands over the frames of one side. Their number.
pub fn carry(from: &mut Machine<()>, to: &mut Machine<()>, now: Instant) -> usize {
    let frames = frames(from, now);
    for frame in &frames {
        to.receive(now, frame.to_bytes()).expect("it keeps the rules");
        to.check();
    }
    frames.len()
}

/// Far more frames than these tests send.
const FRAMES_MAX: usize = 10_000;

/// All frames that a side may send.
pub fn frames(machine: &mut Machine<()>, now: Instant) -> Vec<Frame> {
    let next = || {
        let says = machine.has_unsent();
        let frame = machine.transmit(now);
        machine.check();
        assert!(frame.is_none() || says, "a frame that was not to be expected: {frame:?}");
        frame
    };
    let frames: Vec<Frame> = std::iter::from_fn(next).take(FRAMES_MAX).collect();
    assert!(frames.len() < FRAMES_MAX, "it sends without end");
    frames
}

pub fn events(machine: &mut Machine<()>) -> Vec<Event> {
    std::iter::from_fn(|| machine.next_event()).collect()
}

/// The messages that have arrived, by their calls.
pub fn messages(machine: &mut Machine<()>) -> Vec<(u32, Bytes, Charge)> {
    let message = |event| match event {
        Event::Request { id, message: Some((body, charge)), .. } => Some((id, body, charge)),
        Event::Message { id, arrived } => Some((id, arrived.body, arrived.charge)),
        Event::Notification { arrived } => Some((0, arrived.body, arrived.charge)),
        _ => None,
    };
    events(machine).into_iter().filter_map(message).collect()
}

pub fn message(size: usize, last: bool) -> Message {
    Message::new(vec![7; size].into(), last)
}

pub fn opening(size: usize, last: bool) -> Opening {
    Opening { message: Some(message(size, last)), ..Opening::default() }
}

/// The size of a message that costs so much of the credit.
pub fn costing(charge: u64) -> usize {
    (charge - MESSAGE_COST) as usize
}

/// Windows of this size for a call and for the connection.
pub fn windows(call_window: u64, connection_window: u64) -> Config {
    let settings = Settings { call_window, connection_window, ..Settings::default() };
    Config { assumed: settings.clone(), settings, ..Config::default() }
}

/// The kinds of frames, and their calls.
pub fn kinds(frames: &[Frame]) -> Vec<(Kind, u32)> {
    frames.iter().map(|frame| (frame.kind, frame.id)).collect()
}
