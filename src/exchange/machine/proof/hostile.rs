//! Frames that no honest machine sends: the machine ends with a named error or is in a legal state, and holds
//! no more than its account says.

use super::pair;
use super::programs::{number, run_all};
use crate::exchange::Side;
use crate::exchange::event::Event;
use crate::exchange::frame::{Frame, Kind};
use crate::exchange::incoming::Charge;
use crate::exchange::machine::{CONTROL_MAX, Config, Machine, Opening};
use crate::exchange::outgoing::Message;
use crate::exchange::settings::Settings;
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

const WINDOW: u64 = 2000;
const CALLS: u32 = 4;
const BODY: u32 = 4000;

fn config() -> Config {
    let settings = Settings {
        body: BODY,
        calls: CALLS,
        call_window: WINDOW,
        connection_window: 2 * WINDOW,
        name: String::new(),
        grease: None,
    };
    Config { assumed: settings.clone(), settings, opens: 4, queue: 500, ..Config::default() }
}

/// A program has 60 steps on average, of which 13 in 29 are frames.
const FRAMES_OF_A_PROGRAM: u64 = 27;

/// What is done with a machine.
#[derive(Clone, Debug)]
enum Step {
    Arrives(Box<Frame>),
    /// These bytes of the next frame are others.
    Damaged(Box<Frame>, usize, u8),
    Calls(bool),
    /// With a request that is sent at once, if it can be.
    CallsNow,
    Answers,
    AnswersNow,
    Fills(bool),
    Takes,
    Admits,
    Releases,
    Sends(usize),
    Time,
}

fn frames() -> impl Strategy<Value = Frame> {
    let id = prop_oneof![8 => 0..12_u32, 1 => any::<u32>()];
    let limit = || prop_oneof![any::<u64>(), 0..4 * WINDOW];
    let kind = prop_oneof![
        6 => (0..3_u32, 0..50_u32).prop_map(|(method, time)| Kind::Request { method, time }),
        8 => prop_oneof![9 => Just(0), 1 => any::<u32>()].prop_map(|method| Kind::Data { method }),
        1 => any::<u16>().prop_map(|code| Kind::Error { code }),
        1 => any::<u16>().prop_map(|code| Kind::Abort { code }),
        1 => Just(Kind::Stop),
        2 => Just(Kind::Cancel),
        1 => limit().prop_map(|limit| Kind::Credit { limit }),
        1 => limit().prop_map(|limit| Kind::ConnectionCredit { limit }),
        1 => Just(Kind::Admit),
        1 => Just(Kind::Drain),
    ];
    let total =
        prop_oneof![3 => Just(None), 1 => (0..3 * BODY).prop_map(Some), 1 => Just(Some(10))];
    let size = prop_oneof![3 => 0..10_usize, 1 => 0..BODY as usize];
    (kind, id, any::<(bool, bool)>(), total, size).prop_map(|(kind, id, ends, total, size)| {
        let mut frame = Frame::new(kind, id);
        match kind {
            Kind::Request { .. } | Kind::Data { .. } => {
                (frame.ends_message, frame.ends_stream) = ends;
                frame.total = total.filter(|_| !ends.0);
                frame.body = vec![0; size].into();
            }
            Kind::Error { .. } => frame.body = vec![0; size.max(2)].into(),
            _ => {}
        }
        frame
    })
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => frames().prop_map(|frame| Step::Arrives(Box::new(frame))),
        1 => (frames(), 0..24_usize, any::<u8>())
            .prop_map(|(frame, at, byte)| Step::Damaged(Box::new(frame), at, byte)),
        1 => any::<bool>().prop_map(Step::Calls),
        1 => Just(Step::CallsNow),
        2 => Just(Step::Answers),
        1 => Just(Step::AnswersNow),
        1 => prop_oneof![1 => Just(true), 2 => Just(false)].prop_map(Step::Fills),
        3 => Just(Step::Takes),
        1 => Just(Step::Admits),
        2 => Just(Step::Releases),
        3 => (1..20_usize).prop_map(Step::Sends),
        1 => Just(Step::Time),
    ]
}

/// A machine, and an application that does what it is told.
struct Target {
    machine: Machine<()>,
    now: Instant,
    asked: VecDeque<u32>,
    ended: VecDeque<u32>,
    untaken: VecDeque<(u32, Charge)>,
    announced: VecDeque<u32>,
}

impl Target {
    fn new(side: Side) -> Target {
        let mut machine = Machine::new(side, config());
        let now = Instant::now();
        machine.receive(now, Frame::new(Kind::Settings, 0).to_bytes()).unwrap();
        let (asked, ended) = (VecDeque::new(), VecDeque::new());
        let (untaken, announced) = (VecDeque::new(), VecDeque::new());
        Target { machine, now, asked, ended, untaken, announced }
    }

    /// Does one thing. `false`: the peer broke the protocol.
    fn does(&mut self, step: Step) -> bool {
        let machine = &mut self.machine;
        match step {
            Step::Arrives(frame) => return self.arrives(frame.to_bytes()),
            Step::Damaged(frame, at, byte) => {
                let mut bytes = frame.to_bytes().to_vec();
                let at = at % bytes.len();
                bytes[at] = byte;
                return self.arrives(bytes.into());
            }
            Step::Calls(last) => {
                let message = Some(Message::new(Bytes::from_static(b"ask"), last));
                let deadline = Some(self.now + Duration::from_millis(30));
                let _ = machine.open(Opening { message, deadline, ..Opening::default() }, ());
            }
            Step::CallsNow => {
                let deadline = Some(self.now + Duration::from_millis(30));
                let _ = machine.open_now(0, 3, deadline, self.now, |_| Ok::<_, ()>(()));
            }
            Step::Fills(is_full) => machine.set_full(is_full),
            Step::AnswersNow => {
                let answers = |id: &u32| machine.answer_now(*id, 300).is_some();
                if self.asked.front().is_some_and(answers) {
                    self.asked.pop_front();
                }
            }
            Step::Answers => {
                if let Some(id) = self.asked.pop_front() {
                    let _ = machine.send(id, Message::new(vec![1; 300].into(), true));
                    machine.release(id);
                }
            }
            Step::Takes => {
                if let Some((id, charge)) = self.untaken.pop_front() {
                    machine.taken(id, charge);
                    machine.give_back(charge);
                }
            }
            Step::Admits => {
                if let Some(id) = self.announced.pop_front() {
                    machine.admit(id);
                }
            }
            Step::Releases => {
                let _ = self.ended.pop_front().map(|id| machine.release(id));
            }
            Step::Sends(count) => {
                let _ = (0..count).try_for_each(|_| machine.transmit(self.now).map(drop));
            }
            Step::Time => {
                self.now += Duration::from_millis(10);
                machine.expire(self.now);
            }
        }
        true
    }

    fn arrives(&mut self, bytes: Bytes) -> bool {
        // Who floods with what must be answered is not read until it reads.
        let mut sent = 0;
        while self.machine.is_flooded() && self.machine.transmit(self.now).is_some() {
            sent += 1;
            assert!(sent < 10 * CONTROL_MAX, "it sends without end");
        }
        self.machine.receive(self.now, bytes).is_ok()
    }

    fn hears(&mut self) {
        while let Some(event) = self.machine.next_event() {
            match event {
                Event::Request { id, message, .. } => {
                    self.asked.push_back(id);
                    self.untaken.extend(message.map(|(_, charge)| (id, charge)));
                }
                Event::Message { id, arrived } => self.untaken.push_back((id, arrived.charge)),
                Event::Notification { arrived } => self.untaken.push_back((0, arrived.charge)),
                Event::Announced { id, .. } => self.announced.push_back(id),
                Event::Ended { id, .. } | Event::Expired { id, .. } => self.ended.push_back(id),
                Event::Cancelled { id, .. } => {
                    self.asked.retain(|asked| *asked != id);
                    self.ended.push_back(id);
                }
                _ => {}
            }
        }
    }

    /// What the machine holds is within its account, whatever has arrived.
    fn check(&self) {
        let machine = &self.machine;
        machine.check();
        let entries = machine.calls.len();
        assert!(entries <= 2 + 4 + 2 * CALLS as usize, "{entries} entries");
        let control = machine.lists.urgent.len() + machine.lists.refusals.len();
        assert!(control <= CONTROL_MAX + entries, "{control} control frames wait");
        let own = machine.own_open * (WINDOW as usize) + machine.own_open * BODY as usize;
        let peers = (CALLS as usize + 1) * BODY as usize + 2 * WINDOW as usize;
        let sent = (CALLS as usize + 4) * 300;
        assert!(machine.held() <= own + peers + sent, "{} bytes are held", machine.held());
    }
}

#[test]
fn hostile_frames_end_with_a_named_error_or_in_a_legal_state() {
    let frames: u64 = number("MSGPIPE_FRAMES").unwrap_or(12_000);
    let count = frames.div_ceil(FRAMES_OF_A_PROGRAM);
    let programs = || (any::<bool>(), prop::collection::vec(steps(), 20..100));
    run_all("MSGPIPE_FRAMES", count, programs, |(is_client, steps)| {
        let mut target = Target::new(if is_client { Side::Client } else { Side::Server });
        for step in steps {
            let before = target.machine.clone();
            let violates = !target.does(step);
            if violates {
                // Nobody would be left, so the rest is tried from before it.
                target.machine = before;
            }
            target.hears();
            target.check();
        }
    });
}

/// Calls that begin and are cancelled at once.
#[test]
fn requests_and_cancels_without_end_hold_nothing() {
    let mut target = Target::new(Side::Server);
    for number in 1..100_000_u32 {
        let request = Frame {
            ends_message: true,
            ..Frame::new(Kind::Request { method: 0, time: 0 }, 2 * number)
        };
        assert!(target.arrives(request.to_bytes()));
        assert!(target.arrives(Frame::new(Kind::Cancel, 2 * number).to_bytes()));
        pair::frames(&mut target.machine, target.now);
        target.hears();
        if number % 100 == 0 {
            target.check();
        }
    }
    // Its handlers are not done: these calls are the only ones that were begun.
    assert_eq!(target.machine.peer_open(), CALLS as usize);
    assert!(target.machine.lists.refusals.len() <= CONTROL_MAX);
    while let Some(id) = target.ended.pop_front() {
        target.machine.release(id);
    }
    assert_eq!((target.machine.peer_open(), target.machine.calls.len()), (0, 0));
}

/// Memory grows with what has arrived, not with what was announced.
#[test]
fn a_first_piece_that_promises_much_holds_little() {
    let config = Config {
        settings: Settings {
            body: 1 << 30,
            call_window: 1 << 40,
            connection_window: 1 << 40,
            ..Settings::default()
        },
        ..Config::default()
    };
    let mut machine = Machine::<()>::new(Side::Server, config);
    machine.receive(Instant::now(), Frame::new(Kind::Settings, 0).to_bytes()).unwrap();
    let mut first = Frame::new(Kind::Request { method: 0, time: 0 }, 2);
    (first.total, first.body) = (Some(1 << 30), Bytes::from_static(b"x"));
    machine.receive(Instant::now(), first.to_bytes()).unwrap();
    assert_eq!(machine.held(), 1);
}
