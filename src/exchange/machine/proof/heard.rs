//! What the applications are told, compared with what the other side did.

use super::app::{App, Close, Side2, body, error};
use super::world::{Half, World};
use crate::error::ErrorReply;
use crate::exchange::event::{Cancelled, End, Event};
use crate::exchange::incoming::{Arrived, Charge};
use bytes::Bytes;

const UNKNOWN: &str = "the application does not know of this call";

impl World {
    /// Takes and checks the events of a side.
    pub fn hear(&mut self, side: Side2) {
        while let Some(event) = self.halves[side].machine.next_event() {
            self.check(side, event);
        }
        // Who has all that it waits for, and has said all, is done.
        let half = &mut self.halves[side];
        let done = half.apps.iter().filter(|(_, app)| app.is_done());
        let done: Vec<u32> = done.map(|(id, _)| *id).collect();
        for id in done {
            half.apps.get_mut(&id).expect(UNKNOWN).release(&mut half.machine, id);
        }
    }

    fn check(&mut self, side: Side2, event: Event) {
        let (late, broken, merged) = (self.is_late, self.broken, self.merged);
        let [client, server] = &mut self.halves;
        let (half, other) = if side == 0 { (client, server) } else { (server, client) };
        match event {
            Event::Settings | Event::Drained { .. } => {}
            Event::Draining => {
                assert!(other.drained && !half.told_drain, "nobody drains");
                half.told_drain = true;
            }
            Event::Request { id, method, deadline, message, last, .. } => {
                let caller = other.apps.get(&id).expect("nobody called");
                assert!(late || caller.deadline.is_some() == deadline.is_some(), "its deadline");
                assert_eq!(method, id, "another call");
                half.is_called(id, 1 - side, caller, message, last);
            }
            Event::Message { id, arrived } => {
                let sender = other.apps.get(&id).expect("nobody sent it");
                half.is_sent(id, 1 - side, sender, arrived);
            }
            Event::Notification { arrived } => {
                let body = body(u32::MAX, 1 - side, half.heard, arrived.body.len());
                assert_eq!((&arrived.body, arrived.method), (&body, 77));
                half.heard += 1;
                assert!(half.heard <= other.notes, "nobody sent it");
                half.untaken.push_back(((1 - side) as u32, arrived.charge));
            }
            Event::Ended { id, end } => {
                let app = half.apps.get_mut(&id).expect(UNKNOWN);
                assert!(!app.over && !app.released, "call {id} ends twice");
                if let End::Error(its) = &end {
                    // No more calls are sent than the other side takes, if it is done with those that are over.
                    let is_refused = its.code == ErrorReply::STOPPING && other.drained;
                    let may_be = merged || other.filled;
                    let may_be = may_be && its.code == ErrorReply::TOO_MANY_REQUESTS;
                    assert!(is_refused || may_be || *its == error(), "call {id}: {its}");
                }
                app.is_ended(id, end, other.apps.get(&id), late, broken);
                app.over = true;
            }
            Event::Stopped { id } => {
                let app = half.apps.get_mut(&id).expect(UNKNOWN);
                let reader = other.apps.get(&id);
                let stops = |it: &App| it.stops || it.released || it.is_over_time(late);
                assert!(!app.released && reader.is_none_or(stops), "call {id}: who stops?");
                app.gives_up();
            }
            Event::Cancelled { id, why } => {
                let app = half.apps.get_mut(&id).expect(UNKNOWN);
                let caller = other.apps.get(&id).expect("nobody called");
                app.is_cancelled(id, why, caller, late, broken);
            }
            Event::Expired { id, sent } => {
                let app = half.apps.get_mut(&id).expect(UNKNOWN);
                assert!(app.is_own && app.is_over_time(late) && !app.over, "it is not late");
                assert!(sent || !other.apps.contains_key(&id), "it was sent");
                (app.over, app.cancelled) = (true, true);
                app.withdrawn = !sent;
                app.gives_up();
            }
            Event::Announced { id, size } => {
                assert!(size > 0 && half.asks.insert(id), "it asks twice");
            }
        }
    }

    /// Nothing is left once all is said and taken.
    pub fn check_rest(&self) {
        for side in 0..2 {
            let (half, other) = (&self.halves[side], &self.halves[1 - side]);
            for (id, app) in &half.apps {
                assert!(app.released, "call {id} of side {side} is stuck: {app:?}");
            }
            assert_eq!(half.drained, other.told_drain, "side {side} drains");
            half.machine.check_rest(&other.machine);
        }
    }

    /// Once the deadlines have passed, or the connection has ended: the calls that this concerns are over.
    pub fn check_over(&self, concerns: impl Fn(&App) -> bool) {
        for (id, app) in self.halves.iter().flat_map(|half| &half.apps) {
            assert!(app.released || app.over || !concerns(app), "call {id} stays open: {app:?}");
        }
    }
}

impl Half {
    /// The other side calls.
    fn is_called(
        &mut self,
        id: u32,
        from: Side2,
        caller: &App,
        message: Option<(Bytes, Charge)>,
        last: bool,
    ) {
        assert!(caller.is_own && !caller.withdrawn && caller.sent_some, "call {id} was never sent");
        let mut app = App::of_reply(caller);
        if let Some((bytes, charge)) = message {
            app.hears(id, from, &bytes, caller);
            self.untaken.push_back((id, charge));
        }
        if last {
            app.hears_end(caller);
        }
        let before = self.apps.insert(id, app);
        assert!(before.is_none(), "call {id} begins twice");
        self.machine.set_owner(id, ());
    }

    /// A message of a call has arrived.
    fn is_sent(&mut self, id: u32, from: Side2, sender: &App, arrived: Arrived) {
        let app = self.apps.get_mut(&id).expect(UNKNOWN);
        app.hears(id, from, &arrived.body, sender);
        if arrived.last {
            app.hears_end(sender);
        }
        self.untaken.push_back((id, arrived.charge));
    }
}

impl App {
    /// The other direction has ended without a message that says so.
    fn is_ended(&mut self, id: u32, end: End, sender: Option<&App>, late: bool, broken: bool) {
        match end {
            End::Plain => self.hears_end(sender.expect("nobody ended it")),
            End::Error(its) if its == error() => {
                let sender = sender.expect("nobody failed");
                assert_eq!(sender.close, Close::Failed);
                let has_all = self.heard == sender.sent.len();
                assert!(has_all || self.stops, "messages before the error are lost");
            }
            End::Error(_) => {
                assert!(sender.is_none(), "call {id} was begun, and refused");
                self.gives_up();
            }
            End::Aborted { .. } => {
                let broke = sender.is_none_or(|it| it.broke || it.is_over_time(late));
                assert!(broke || self.stops || self.cancelled, "call {id}: who aborted?");
            }
            End::Withdrawn => {
                assert!(self.cancelled && sender.is_none(), "call {id} was sent");
                self.withdrawn = true;
            }
            End::Closed { sent } => {
                assert!(broken && (sent || sender.is_none()), "call {id} had begun");
            }
        }
    }

    /// The call of the other side is over.
    fn is_cancelled(&mut self, id: u32, why: Cancelled, caller: &App, late: bool, broken: bool) {
        assert!(
            !self.is_own && !self.released && !self.told_cancel,
            "call {id} is cancelled twice"
        );
        let is_so = match why {
            Cancelled::Caller => caller.cancelled || caller.released || caller.is_over_time(late),
            Cancelled::Deadline => caller.is_over_time(late),
            Cancelled::Closed => broken,
        };
        assert!(is_so, "call {id}: who cancels? {why:?}");
        (self.told_cancel, self.over) = (true, true);
        self.gives_up();
    }
}
