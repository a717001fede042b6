//! How calls end: by the application, by their deadline, with the connection.

use super::Machine;
use crate::exchange::call::Call;
use crate::exchange::event::{Cancelled, End, Event, abort};
use crate::exchange::ids::is_lane;
use std::time::Instant;

impl<T> Machine<T> {
    /// This side takes no more of the peer's direction of a call: what still arrives of it is dropped.
    pub fn stop(&mut self, id: u32) {
        self.grow(id);
        if self.calls.get(&id).is_none_or(|call| call.incoming.ended) {
            return;
        }
        self.change(id, |call, window| {
            window.take(call.incoming.discard());
            call.urgent.stop = true;
        });
        self.make_urgent(id);
    }

    /// Ends this side's direction at once, incomplete: what is queued is dropped.
    pub fn abort(&mut self, id: u32, code: u16) {
        self.grow(id);
        let is_own = self.is_own(id);
        let Some(call) = self.calls.get_mut(&id).filter(|call| !call.outgoing.ended) else {
            return;
        };
        if is_own && call.is_unsent() {
            return self.cancel(id);
        }
        self.change(id, |call, _| {
            call.outgoing.clear();
            call.urgent.end = false;
            call.urgent.abort.get_or_insert(code);
        });
        self.make_urgent(id);
    }

    /// Cancels this side's call. Its end is reported when the peer has ended its direction: a reply that was on
    /// its way is reported as any other.
    pub fn cancel(&mut self, id: u32) {
        if !self.is_own(id) {
            return;
        }
        self.grow(id);
        if self.calls.get(&id).is_none_or(Call::is_closed) {
            return;
        }
        self.change(id, |call, _| call.outgoing.clear());
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        call.urgent.end = false;
        if call.is_unsent() {
            // The peer does not know of it.
            call.outgoing.request = None;
            (call.outgoing.ended, call.incoming.ended) = (true, true);
            if !call.silent {
                self.lists.events.push_back(Event::Ended { id, end: End::Withdrawn });
            }
            self.settle(id);
            return self.next_request();
        }
        // If the peer has ended its direction, only this side's is left.
        match call.incoming.ended {
            true => drop(call.urgent.abort.get_or_insert(abort::CANCELLED)),
            false => call.urgent.cancel = true,
        }
        self.make_urgent(id);
    }

    /// The application is done with a call: nothing more of it is reported. What has not ended of it is
    /// cancelled, stopped or aborted. Returns what was kept for it.
    pub fn release(&mut self, id: u32) -> Option<T> {
        let is_own = self.is_own(id);
        if self.briefs.get(id).is_some_and(|brief| brief.is_over) {
            return self.remove_brief(id)?.owner;
        }
        self.grow(id);
        let call = self.calls.get_mut(&id)?;
        (call.silent, call.released) = (true, true);
        let owner = call.owner.take();
        if !call.incoming.ended {
            self.change(id, |call, window| window.take(call.incoming.discard()));
            match is_own {
                true => self.cancel(id),
                false => self.stop(id),
            }
        }
        if self.calls.get(&id).is_some_and(|call| !call.outgoing.closed) {
            self.abort(id, abort::FAILED);
        }
        self.settle(id);
        owner
    }

    /// Frees the places and the entry of a call that is over.
    pub(super) fn settle(&mut self, id: u32) {
        let is_own = self.is_own(id);
        let Some(call) = self.calls.get_mut(&id).filter(|call| call.is_closed()) else {
            return;
        };
        if is_lane(id) {
            return;
        }
        // A call of the peer counts until the application is done with it: who calls and cancels again and
        // again must not have more of them carried out than who waits.
        let is_over = is_own || call.released;
        if is_over && std::mem::take(&mut call.is_counted) {
            match is_own {
                true => self.own_open -= 1,
                false => self.peer_open -= 1,
            }
            self.own_sent -= usize::from(call.is_sent);
        }
        let may_send = call.is_sent;
        if call.released {
            self.refused_open -= usize::from(call.is_refused);
            self.calls.remove(&id);
        }
        if may_send {
            self.next_request();
        }
    }

    /// The time at which [`expire`](Machine::expire) may have something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.soonest
    }

    /// Ends the calls with a deadline that is not after `now`.
    pub fn expire(&mut self, now: Instant) {
        if self.soonest.is_none_or(|at| at > now) {
            return;
        }
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let briefs = self.briefs.iter().filter(|(_, brief)| is_due(brief.deadline));
        let due = self.calls.iter().filter(|(_, call)| is_due(call.deadline));
        let mut due: Vec<u32> = due.map(|(id, _)| *id).chain(briefs.map(|(id, _)| id)).collect();
        due.sort_unstable();
        due.into_iter().for_each(|id| self.late(id));
        let briefs = self.briefs.iter().filter_map(|(_, brief)| brief.deadline);
        self.soonest = self.calls.values().filter_map(|call| call.deadline).chain(briefs).min();
    }

    /// The deadline of a call has passed.
    fn late(&mut self, id: u32) {
        self.grow(id);
        let is_own = self.is_own(id);
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        call.deadline = None;
        if !is_own {
            return self.cut_off(id, Cancelled::Deadline, abort::DEADLINE);
        }
        if call.incoming.ended {
            return;
        }
        let sent = !call.is_unsent();
        if !std::mem::replace(&mut call.silent, true) {
            self.lists.events.push_back(Event::Expired { id, sent });
        }
        self.change(id, |call, window| window.take(call.incoming.discard()));
        self.cancel(id);
    }

    /// A call of the peer is over, whatever its handler does: its direction takes no more, and the reply ends
    /// with this code.
    pub(super) fn cut_off(&mut self, id: u32, why: Cancelled, code: u16) {
        self.grow(id);
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        if call.opening.take().is_some() {
            // The application does not know of it.
            (call.silent, call.released) = (true, true);
        } else if !std::mem::replace(&mut call.silent, true) {
            self.lists.events.push_back(Event::Cancelled { id, why });
        }
        if !call.incoming.ended {
            self.stop(id);
        }
        self.abort(id, code);
        self.settle(id);
    }

    /// The connection has ended: each call that the application has not released is reported as ended.
    pub fn close(&mut self) {
        let mut ids: Vec<u32> = self.calls.keys().copied().filter(|id| !is_lane(*id)).collect();
        ids.extend(self.briefs.iter().map(|(id, _)| id));
        ids.sort_unstable();
        for id in ids {
            self.grow(id);
            let is_own = self.is_own(id);
            let Some(call) = self.calls.get_mut(&id) else {
                continue;
            };
            if call.opening.take().is_some() {
                call.released = true;
            } else if !call.silent && is_own && !call.incoming.ended {
                let end = End::Closed { sent: !call.is_unsent() };
                self.lists.events.push_back(Event::Ended { id, end });
            } else if !call.silent && !is_own && !call.is_closed() {
                self.lists.events.push_back(Event::Cancelled { id, why: Cancelled::Closed });
            }
            call.deadline = None;
            self.change(id, |call, window| {
                call.outgoing.clear();
                call.outgoing.ended = true;
                window.take(call.incoming.cut_off());
            });
            self.settle(id);
        }
        self.soonest = None;
    }
}
