//! Which frame is sent next: settings, then control frames, then messages in turn.

use super::{Drain, Machine, PIECE_OF_LARGE};
use crate::exchange::call::{Place, Urgent};
use crate::exchange::credit::MESSAGE_COST;
use crate::exchange::errors;
use crate::exchange::event::Event;
use crate::exchange::frame::{Frame, Kind};
use crate::exchange::ids::is_lane;
use crate::exchange::outgoing::Next;
use std::time::Instant;

impl<T> Machine<T> {
    /// The next frame to be sent. `None`: there is nothing that may be sent now.
    pub fn transmit(&mut self, now: Instant) -> Option<Frame> {
        self.transmit_with(|| now)
    }

    /// As [`transmit`](Machine::transmit). The time is asked for only if something depends on it.
    pub(crate) fn transmit_with(&mut self, now: impl Fn() -> Instant) -> Option<Frame> {
        if let Some(frame) = self.control() {
            return Some(frame);
        }
        let credited = self.credited();
        while let Some(&id) = self.lists.ready.front() {
            if let Some(frame) = self.message(id, &now, credited == Some(id)) {
                return Some(frame);
            }
            self.leave_front(id);
        }
        None
    }

    /// Whether [`transmit`](Machine::transmit) may return a frame.
    pub fn has_unsent(&self) -> bool {
        self.unsent_settings
            || self.unsent_grease
            || self.drain == Drain::Asked
            || self.window.is_due()
            || !self.lists.refusals.is_empty()
            || !self.lists.urgent.is_empty()
            || !self.lists.ready.is_empty()
            || self.lists.waiting.front().is_some_and(|id| self.has_credit(*id))
    }

    /// Whether the connection has the credit for the next message of a call, or the call does not wait for it
    /// any more.
    fn has_credit(&self, id: u32) -> bool {
        let window = self.is_settled.then_some(self.peer.call_window);
        let call = self.calls.get(&id).filter(|call| call.place == Place::Waiting);
        call.is_none_or(|call| match call.outgoing.next(window) {
            Next::Begin(charge) => self.credit.covers(charge),
            _ => true,
        })
    }

    /// The next frame that needs no credit.
    fn control(&mut self) -> Option<Frame> {
        if std::mem::take(&mut self.unsent_settings) {
            let body = self.config.settings.encode();
            return Some(Frame { body, ..Frame::new(Kind::Settings, 0) });
        }
        if std::mem::take(&mut self.unsent_grease) {
            let kind = self.config.settings.grease.map_or(0, |grease| grease as u8) | 0x80;
            return Some(Frame::new(Kind::Ignorable { kind }, 0));
        }
        if self.window.is_due() {
            return Some(Frame::new(Kind::ConnectionCredit { limit: self.window.grant() }, 0));
        }
        if self.drain == Drain::Asked {
            self.drain = Drain::Said;
            return Some(Frame::new(Kind::Drain, 0));
        }
        if let Some((id, why)) = self.lists.as_mut()?.refusals.pop_front() {
            return Some(errors::encode(id, &why.error(), self.largest_frame));
        }
        while let Some(&id) = self.lists.urgent.front() {
            if let Some(frame) = self.urgent_of(id) {
                return Some(frame);
            }
            self.lists.urgent.pop_front();
            if let Some(call) = self.calls.get_mut(&id) {
                call.in_urgent = false;
            }
        }
        None
    }

    /// The next control frame of a call.
    fn urgent_of(&mut self, id: u32) -> Option<Frame> {
        // Of a call that the peer does not know of nothing else is sent.
        let call = self.calls.get_mut(&id).filter(|call| !call.is_unsent())?;
        let Urgent { stop, credit, admit, cancel, abort, end } = std::mem::take(&mut call.urgent);
        let (reads, wants_more) = (!call.incoming.ended, call.incoming.wants_more());
        let later = Urgent { stop, credit, admit, ..Urgent::default() };
        let frame = if cancel {
            call.outgoing.ended = true;
            // It says all that a stop would.
            call.urgent = Urgent { stop: false, ..later };
            Some(Frame::new(Kind::Cancel, id))
        } else if let Some(code) = abort.filter(|_| !call.outgoing.ended) {
            call.outgoing.ended = true;
            call.urgent = later;
            Some(Frame::new(Kind::Abort { code }, id))
        } else if end && !call.outgoing.ended {
            call.urgent = later;
            call.outgoing.end(id, self.largest_frame)
        } else if stop && reads {
            Some(Frame::new(Kind::Stop, id))
        } else if admit && wants_more {
            call.urgent.credit = credit;
            Some(Frame::new(Kind::Admit, id))
        } else if credit && wants_more {
            Some(Frame::new(Kind::Credit { limit: call.incoming.window.grant() }, id))
        } else {
            None
        };
        self.settle(id);
        frame
    }

    /// The first of the calls that wait for credit of the connection, if its message has it now: it is the first
    /// that is ready then.
    fn credited(&mut self) -> Option<u32> {
        while let Some(id) = self.lists.waiting.front().copied().filter(|id| self.has_credit(*id)) {
            self.lists.waiting.pop_front();
            if let Some(call) = self.calls.get_mut(&id).filter(|call| call.place == Place::Waiting)
            {
                call.place = Place::Ready;
                self.lists.ready.push_front(id);
                self.turn = self.config.piece;
                return Some(id);
            }
        }
        None
    }

    /// The next frame with a message of this call. `None`: it has none that may be sent.
    /// `is_credited`: it has waited for credit of the connection longest.
    fn message(&mut self, id: u32, now: &impl Fn() -> Instant, is_credited: bool) -> Option<Frame> {
        let is_alone = self.lists.ready.len() == 1;
        let window = self.is_settled.then_some(self.peer.call_window);
        let call = self.calls.get_mut(&id).filter(|call| call.place == Place::Ready)?;
        let request = call.outgoing.request.as_ref().map(|request| Kind::Request {
            method: request.method,
            time: call.deadline.map_or(0, |at| milliseconds(at, now())),
        });
        let most = match is_alone {
            true if call.outgoing.is_whole(self.config.piece_alone) => self.config.piece_alone,
            true => self.config.piece_alone.min(PIECE_OF_LARGE),
            false => self.config.piece,
        };
        let room = self.largest_frame.saturating_sub(call.outgoing.head_len());
        let most = most.min(room).max(1);
        let queued = call.outgoing.queued();
        let frame = match call.outgoing.next(window) {
            Next::Begin(charge)
                if (is_credited || self.lists.waiting.is_empty()) && self.credit.covers(charge) =>
            {
                self.credit.spend(charge);
                call.outgoing.piece(id, request, most)
            }
            Next::Begin(_) => {
                call.place = Place::Waiting;
                self.lists.waiting.push_back(id);
                return None;
            }
            Next::Piece => call.outgoing.piece(id, request, most),
            Next::Announce => call.outgoing.announce(id, request),
            Next::Nothing if call.outgoing.has_bare_request() => {
                call.outgoing.bare_request(id, request)
            }
            Next::Nothing | Next::Blocked => return None,
        };
        self.held -= queued - call.outgoing.queued();
        if call.outgoing.request.take().is_some() {
            call.is_sent = true;
            self.own_sent += 1;
            self.next_request();
        }
        self.after(id, frame.body.len());
        Some(frame)
    }

    /// A frame of this call, the first that is ready, has been taken.
    fn after(&mut self, id: u32, bytes: usize) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        if call.outgoing.is_empty() {
            if std::mem::take(&mut call.is_full) && !call.silent {
                self.lists.events.push_back(Event::Drained { id });
            }
            call.urgent.end |= call.outgoing.has_bare_end();
        }
        let (has_more, is_urgent) = (!call.outgoing.is_empty(), !call.urgent.is_empty());
        if is_urgent {
            self.make_urgent(id);
        }
        // The turn ends before the piece that would be over its bytes.
        self.turn = self.turn.saturating_sub(bytes + MESSAGE_COST as usize);
        let next = self.calls.get(&id).map_or(0, |call| call.outgoing.next_len(self.config.piece));
        if !has_more {
            self.leave_front(id);
        } else if self.turn < next + MESSAGE_COST as usize {
            self.lists.ready.rotate_left(1);
            self.turn = self.config.piece;
        }
        if !is_lane(id) {
            self.settle(id);
        }
    }

    /// The first that is ready has nothing to send.
    fn leave_front(&mut self, id: u32) {
        self.lists.ready.pop_front();
        self.turn = self.config.piece;
        if let Some(call) = self.calls.get_mut(&id).filter(|call| call.place == Place::Ready) {
            call.place = Place::Nowhere;
        }
    }
}

/// The time that is left, in whole milliseconds, at least one.
pub(super) fn milliseconds(deadline: Instant, now: Instant) -> u32 {
    let left = deadline.saturating_duration_since(now);
    // Not in nanoseconds: a division of 128 bits takes longer than all else about a small call.
    let whole = left.as_secs().saturating_mul(1000);
    let left = whole.saturating_add(left.subsec_nanos().div_ceil(1_000_000).into());
    u32::try_from(left).unwrap_or(u32::MAX).max(1)
}
