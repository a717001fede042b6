//! Two machines, the wires between them, and an application on each side that checks all that it is told.

use super::app::{App, Close, Plan, Side2};
use crate::exchange::frame::Frame;
use crate::exchange::ids::{Side, is_lane};
use crate::exchange::incoming::Charge;
use crate::exchange::machine::{Config, Machine};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// The time at which a world begins.
static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The time that calls with a deadline have.
pub const TIME: Duration = Duration::from_secs(1);

/// What may happen in a world.
#[derive(Clone, Debug, Hash)]
pub struct Scope {
    /// The calls of the client and of the server, in order.
    pub plans: [Vec<Plan>; 2],
    /// The sizes of the notifications of each side, in order.
    pub notes: [Vec<usize>; 2],
    /// How many calls are disturbed: cancelled, stopped, aborted, released early.
    pub disturbances: u8,
    /// Whether the deadlines may pass, a side may drain or have no memory, the connection may break.
    pub deadlines: bool,
    pub drains: bool,
    pub fills: bool,
    pub breaks: bool,
    /// The most frames on a wire at once.
    pub in_flight: usize,
    pub config: Config,
}

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A side's machine is asked for a frame, which goes on the wire.
    Transmit(usize),
    /// So many bytes of a side's wire arrive; 0: one frame.
    Deliver(usize, usize),
    Open(usize),
    Notify(usize),
    /// The application of a side goes on with a call: sends the next message or ends.
    GoOn(usize, u32),
    /// It takes the message that arrived first.
    Take(usize),
    /// There is room for the announced message.
    Admit(usize, u32),
    Cancel(usize, u32),
    Stop(usize, u32),
    Abort(usize, u32),
    Release(usize, u32),
    Drain(usize),
    /// There is no memory for more requests, or there is again.
    Fill(usize),
    Deadline,
    Break,
}

impl Action {
    /// It is not a part of what was planned.
    pub fn is_extra(self) -> bool {
        use Action::{Abort, Break, Cancel, Deadline, Drain, Fill, Release, Stop};
        matches!(self, Cancel(..) | Stop(..) | Abort(..) | Release(..))
            || matches!(self, Drain(_) | Fill(_) | Deadline | Break)
    }
}

/// One side.
#[derive(Clone, Hash)]
pub struct Half {
    pub machine: Machine<()>,
    pub apps: BTreeMap<u32, App>,
    /// How many of its plans were opened, and notifications sent.
    pub opened: usize,
    pub notes: usize,
    pub heard: usize,
    /// Messages that were not taken.
    pub untaken: VecDeque<(u32, Charge)>,
    pub asks: BTreeSet<u32>,
    pub drained: bool,
    /// It has had no memory for requests.
    pub filled: bool,
    /// It has been told that its calls are not begun any more.
    pub told_drain: bool,
    /// What has arrived and is no whole frame.
    arrived: BytesMut,
}

#[derive(Clone, Hash)]
pub struct World {
    pub halves: [Half; 2],
    /// What each side has sent, frames with their length.
    wires: [BytesMut; 2],
    frames: [VecDeque<usize>; 2],
    disturbed: u8,
    pub is_late: bool,
    pub broken: bool,
    /// Several frames may have arrived before the application was told of the first.
    pub merged: bool,
}

impl World {
    pub fn new(scope: &Scope) -> World {
        let half = |side| Half {
            machine: Machine::new(side, scope.config.clone()),
            apps: BTreeMap::new(),
            opened: 0,
            notes: 0,
            heard: 0,
            untaken: VecDeque::new(),
            asks: BTreeSet::new(),
            drained: false,
            filled: false,
            told_drain: false,
            arrived: BytesMut::new(),
        };
        World {
            halves: [half(Side::Client), half(Side::Server)],
            wires: Default::default(),
            frames: Default::default(),
            disturbed: 0,
            is_late: false,
            broken: false,
            merged: false,
        }
    }

    pub fn now(&self) -> Instant {
        if self.is_late { *BEGIN + TIME } else { *BEGIN }
    }

    /// What may happen next. The order is fixed, so that a number stands for an action.
    pub fn actions(&self, scope: &Scope) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.broken {
            return actions;
        }
        for side in 0..2 {
            let half = &self.halves[side];
            if half.machine.has_unsent() && self.frames[side].len() < scope.in_flight {
                actions.push(Action::Transmit(side));
            }
            if !self.wires[side].is_empty() {
                actions.push(Action::Deliver(side, 0));
            }
            if half.opened < scope.plans[side].len() && half.machine.room() > 0 {
                actions.push(Action::Open(side));
            }
            if half.notes < scope.notes[side].len() {
                actions.push(Action::Notify(side));
            }
            if !half.untaken.is_empty() {
                actions.push(Action::Take(side));
            }
            actions.extend(half.asks.iter().map(|id| Action::Admit(side, *id)));
            for (&id, app) in half.apps.iter().filter(|(_, app)| !app.released) {
                if app.may_go_on() {
                    actions.push(Action::GoOn(side, id));
                }
                if self.disturbed < scope.disturbances {
                    actions.push(Action::Release(side, id));
                    if app.is_own && !app.cancelled {
                        actions.push(Action::Cancel(side, id));
                    }
                    if !app.over && !app.stops {
                        actions.push(Action::Stop(side, id));
                    }
                    if app.close == Close::Open {
                        actions.push(Action::Abort(side, id));
                    }
                }
            }
            if scope.drains && !half.drained {
                actions.push(Action::Drain(side));
            }
            if scope.fills && self.disturbed < scope.disturbances {
                actions.push(Action::Fill(side));
            }
        }
        if scope.deadlines && !self.is_late {
            actions.push(Action::Deadline);
        }
        if scope.breaks {
            actions.push(Action::Break);
        }
        actions
    }

    /// Does one thing, and checks everything that comes of it.
    pub fn act(&mut self, scope: &Scope, action: Action) {
        let now = self.now();
        match action {
            Action::Transmit(side) => self.transmit(side, now),
            Action::Deliver(side, bytes) => self.deliver(side, bytes),
            Action::Open(side) => self.open(scope, side),
            Action::Notify(side) => self.notify(scope, side),
            Action::GoOn(side, id) => self.go_on(side, id),
            Action::Take(side) => {
                let half = &mut self.halves[side];
                if let Some((id, charge)) = half.untaken.pop_front() {
                    half.machine.taken(id, charge);
                    half.machine.give_back(charge);
                }
            }
            Action::Admit(side, id) => {
                self.halves[side].asks.remove(&id);
                self.halves[side].machine.admit(id);
            }
            Action::Cancel(side, id) => self.disturb(side, id, |app, machine| {
                app.cancelled = true;
                app.gives_up();
                machine.cancel(id);
            }),
            Action::Stop(side, id) => self.disturb(side, id, |app, machine| {
                app.stops = true;
                machine.stop(id);
            }),
            Action::Abort(side, id) => self.disturb(side, id, |app, machine| {
                // A call of which nothing was sent is withdrawn.
                app.cancelled |= app.is_own;
                app.gives_up();
                machine.abort(id, 7);
            }),
            Action::Release(side, id) => self.disturb(side, id, |app, machine| {
                app.release(machine, id);
            }),
            Action::Drain(side) => {
                self.halves[side].drained = true;
                self.halves[side].machine.drain();
            }
            Action::Fill(side) => {
                self.disturbed += 1;
                let half = &mut self.halves[side];
                half.filled = true;
                half.machine.set_full(!half.machine.is_full);
            }
            Action::Deadline => {
                self.is_late = true;
                let now = self.now();
                self.halves.iter_mut().for_each(|half| half.machine.expire(now));
            }
            Action::Break => {
                self.broken = true;
                self.halves.iter_mut().for_each(|half| half.machine.close());
            }
        }
        for side in 0..2 {
            self.hear(side);
        }
        match action {
            Action::Break => self.check_over(|_| true),
            Action::Deadline => self.check_over(|app| app.deadline.is_some()),
            _ => {}
        }
    }

    fn disturb(&mut self, side: Side2, id: u32, with: impl FnOnce(&mut App, &mut Machine<()>)) {
        self.disturbed += 1;
        let half = &mut self.halves[side];
        with(half.apps.get_mut(&id).expect("it is there"), &mut half.machine);
    }

    fn transmit(&mut self, side: Side2, now: Instant) {
        let Some(frame) = self.halves[side].machine.transmit(now) else {
            return;
        };
        self.put(side, &frame);
        if !is_lane(frame.id) {
            if let Some(app) = self.halves[side].apps.get_mut(&frame.id) {
                app.sent_some = true;
            }
        }
    }

    fn deliver(&mut self, side: Side2, bytes: usize) {
        self.merged |= bytes > 0;
        let bytes = match bytes {
            0 => self.frames[side].front().copied().unwrap_or(0),
            bytes => bytes,
        };
        let mut left = bytes.min(self.wires[side].len());
        let piece = self.wires[side].split_to(left);
        while left > 0 {
            let Some(front) = self.frames[side].front_mut() else { break };
            let taken = left.min(*front);
            *front -= taken;
            left -= taken;
            if *front == 0 {
                self.frames[side].pop_front();
            }
        }
        let now = self.now();
        let to = &mut self.halves[1 - side];
        to.arrived.extend_from_slice(&piece);
        while let Some(len) = to.arrived.get(..4).map(|mut len| len.get_u32() as usize) {
            if to.arrived.len() < 4 + len {
                break;
            }
            to.arrived.advance(4);
            let frame = to.arrived.split_to(len).freeze();
            if let Err(violation) = to.machine.receive(now, Bytes::copy_from_slice(&frame)) {
                panic!("side {} broke the protocol: {violation}", side);
            }
            if to.arrived.is_empty() {
                to.arrived = BytesMut::new();
            }
        }
    }

    /// Puts a frame on the wire, as the machine's driver does.
    pub fn put(&mut self, side: Side2, frame: &Frame) {
        let bytes = frame.to_bytes();
        self.wires[side].put_u32(bytes.len() as u32);
        self.wires[side].put_slice(&bytes);
        self.frames[side].push_back(4 + bytes.len());
    }
}
