//! Calls of one message each way. Most calls are such, so they have a small entry, their messages are not queued,
//! and a body that is sent need not be owned. If anything else happens to one, it becomes a [`Call`].

use super::Machine;
use super::briefs::Brief;
use super::schedule::milliseconds;
use crate::exchange::call::Call;
use crate::exchange::credit::{MESSAGE_COST, largest};
use crate::exchange::event::Event;
use crate::exchange::frame::{ENVELOPE_LEN, Frame, Kind};
use crate::exchange::ids::is_lane;
use crate::exchange::incoming::{Arrived, Charge, Incoming};
use crate::exchange::metadata::Metadata;
use crate::exchange::outgoing::Outgoing;
use crate::exchange::violation::{Broken, Violation};
use crate::exchange::whole::Whole;
use bytes::{Buf, Bytes};
use std::time::{Duration, Instant};

/// Whether the frame is a whole message, the only one of its direction.
pub(super) fn is_whole(frame: &Frame) -> bool {
    frame.ends_message && frame.ends_stream && frame.total.is_none()
}

/// What a frame of a brief call has brought.
pub(crate) enum BriefEvent<'a, T> {
    /// The request of a new call of the peer.
    Request { id: u32, method: u32, deadline: Option<Instant>, charge: Charge },
    /// The reply to a call of this side, with what is kept for it.
    Reply { id: u32, owner: Option<&'a mut T> },
    /// It is another frame, and nothing was done.
    Nothing,
}

impl<T> Machine<T> {
    /// A frame has arrived. If it is a request or a reply of a brief call, it is handled, `message` is its body then,
    /// and there is no event. Any other is for [`receive`](Machine::receive). The time is asked for only if
    /// something depends on it.
    pub(crate) fn receive_brief(
        &mut self,
        message: &mut Bytes,
        now: impl FnOnce() -> Instant,
    ) -> Result<BriefEvent<'_, T>, Violation> {
        let whole = Whole::read(message).filter(|_| self.is_settled);
        let size = message.len().saturating_sub(ENVELOPE_LEN);
        match whole {
            Some(Whole::Request { id, method, time }) if self.takes_new(id) => {
                let cost = self.charge_whole(id, size, 0)?;
                message.advance(ENVELOPE_LEN);
                self.peer_ids.opened(id);
                let time = (time > 0).then(|| Duration::from_millis(time.into()));
                let deadline = time.map(|time| now() + time);
                self.begin_brief(id, deadline);
                let charge = Charge { call: cost, connection: cost };
                Ok(BriefEvent::Request { id, method, deadline, charge })
            }
            Some(Whole::Reply { id }) if self.is_awaited(id) => {
                let cost = self.charge_whole(id, size, 0)?;
                message.advance(ENVELOPE_LEN);
                Ok(BriefEvent::Reply { id, owner: self.end_brief(id, cost) })
            }
            _ => Ok(BriefEvent::Nothing),
        }
    }

    /// Whether a new call of the peer with this id is begun.
    fn takes_new(&self, id: u32) -> bool {
        self.refusal().is_none()
            && !self.is_own(id)
            && !is_lane(id)
            && self.peer_ids.is_new(id)
            && !(self.peer_ids.may_be_used(id) && self.is_known(id))
    }

    /// Whether this is a call of this side that waits for its reply.
    fn is_awaited(&self, id: u32) -> bool {
        self.is_own(id) && self.briefs.get(id).is_some_and(|brief| !brief.is_over)
    }

    /// Opens a call with a request of `size` bytes. `put` gets the bytes to be sent before them, and returns what is
    /// kept for the call; if it fails, none is opened. `None`: the request cannot be sent at once, or not at all;
    /// [`open`](Machine::open) says which.
    pub(crate) fn open_now<E>(
        &mut self,
        method: u32,
        size: usize,
        deadline: Option<Instant>,
        now: Instant,
        put: impl FnOnce([u8; ENVELOPE_LEN]) -> Result<T, E>,
    ) -> Option<Result<u32, E>> {
        let is_allowed = !self.peer_drains && self.room() > 0 && self.may_open();
        if !is_allowed || !self.lists.unsent.is_empty() || !self.may_send_now(size) {
            return None;
        }
        let id = self.next_id();
        let time = deadline.map_or(0, |at| milliseconds(at, now));
        let owner = match put(Whole::Request { id, method, time }.head()) {
            Ok(owner) => owner,
            Err(error) => return Some(Err(error)),
        };
        self.own_ids.opened(id);
        self.credit.spend(size as u64 + MESSAGE_COST);
        self.note_deadline(deadline);
        self.own_open += 1;
        self.own_sent += 1;
        self.briefs.insert(id, Brief { owner: Some(owner), deadline, is_over: false });
        Some(Ok(id))
    }

    /// The request of a call that was just opened was not sent, and will not be.
    pub(crate) fn undo_open(&mut self, id: u32, size: usize) -> Option<T> {
        let Some(brief) = self.briefs.remove(id) else {
            return self.release(id);
        };
        self.credit.regain(size as u64 + MESSAGE_COST);
        self.own_open -= 1;
        self.own_sent -= 1;
        brief.owner
    }

    /// Answers a call of the peer with a reply of `size` bytes and returns the frame that they belong to. The call
    /// is released. `None`: it cannot be sent at once; [`send`](Machine::send) says what else there is.
    pub(crate) fn answer_now(&mut self, id: u32, size: usize) -> Option<(Whole, Option<T>)> {
        if self.is_own(id) || !self.may_send_now(size) {
            return None;
        }
        let brief = self.remove_brief(id)?;
        self.credit.spend(size as u64 + MESSAGE_COST);
        self.peer_open -= 1;
        Some((Whole::Reply { id }, brief.owner))
    }

    /// Removes the entry of a brief call. The calls of idle peers hold no memory.
    pub(super) fn remove_brief(&mut self, id: u32) -> Option<Brief<T>> {
        let brief = self.briefs.remove(id)?;
        self.briefs.free_if_empty(self.is_own(id));
        Some(brief)
    }

    /// Releases a call, if what is kept for it says that it is done.
    pub(crate) fn release_if(&mut self, id: u32, is_done: impl Fn(&T) -> bool) -> Option<T> {
        match self.briefs.get(id) {
            Some(brief) if brief.is_over && brief.owner.as_ref().is_some_and(&is_done) => {
                self.remove_brief(id)?.owner
            }
            _ => {
                is_done(self.owner(id)?).then_some(())?;
                self.release(id)
            }
        }
    }

    /// Whether a message of this size can be sent now, as one frame, without overtaking any.
    fn may_send_now(&self, size: usize) -> bool {
        let charge = size as u64 + MESSAGE_COST;
        !self.unsent_settings
            && self.lists.ready.is_empty()
            && self.lists.waiting.is_empty()
            && size <= self.peer.body as usize
            && size <= self.config.piece_alone
            && size + ENVELOPE_LEN <= self.largest_frame
            && charge <= largest(self.peer.call_window)
            && self.credit.covers(charge)
    }

    /// A new request has arrived wholly.
    pub(super) fn whole_request(
        &mut self,
        frame: Frame,
        deadline: Option<Instant>,
    ) -> Result<Event, Broken> {
        let id = frame.id;
        let cost = self.charge_whole(id, frame.body.len(), frame.metadata.len())?;
        let method = match frame.kind {
            Kind::Request { method, .. } => method,
            _ => 0,
        };
        let metadata = Metadata::decode(frame.metadata)?;
        self.begin_brief(id, deadline);
        let message = Some((frame.body, Charge { call: cost, connection: cost }));
        Ok(Event::Request { id, method, metadata, deadline, message, last: true })
    }

    fn begin_brief(&mut self, id: u32, deadline: Option<Instant>) {
        self.note_deadline(deadline);
        self.peer_open += 1;
        self.briefs.insert(id, Brief { owner: None, deadline, is_over: false });
    }

    /// A frame with data has arrived. If it is the whole reply to a call of this side, this is its event.
    pub(super) fn whole_reply(&mut self, frame: &mut Frame) -> Result<Option<Event>, Broken> {
        let id = frame.id;
        let is_reply = is_whole(frame) && frame.kind == Kind::Data { method: 0 };
        if !is_reply || !self.is_awaited(id) {
            return Ok(None);
        }
        let cost = self.charge_whole(id, frame.body.len(), frame.metadata.len())?;
        let metadata = Metadata::decode(std::mem::take(&mut frame.metadata))?;
        self.end_brief(id, cost);
        let (body, charge) =
            (std::mem::take(&mut frame.body), Charge { call: cost, connection: 0 });
        let arrived = Arrived { metadata, method: 0, body, charge, last: true };
        Ok(Some(Event::Message { id, arrived }))
    }

    /// The reply of a brief call has arrived.
    fn end_brief(&mut self, id: u32, cost: u64) -> Option<&mut T> {
        self.window.take(cost);
        self.own_open -= 1;
        self.own_sent -= 1;
        if !self.lists.unsent.is_empty() {
            self.next_request();
        }
        let brief = self.briefs.get_mut(id)?;
        (brief.is_over, brief.deadline) = (true, None);
        brief.owner.as_mut()
    }

    /// Charges a whole message, the first of its call, with so many bytes of body and metadata.
    fn charge_whole(&mut self, id: u32, body: usize, metadata: usize) -> Result<u64, Broken> {
        let (total, limit) = (body as u64, u64::from(self.config.settings.body));
        if total > limit {
            return Err(Broken::TooLarge { total, limit });
        }
        let (cost, granted) = (total + metadata as u64 + MESSAGE_COST, self.call_window());
        if cost > granted {
            return Err(Broken::CallCredit { id, received: cost, granted });
        }
        self.window.receive(cost).map_err(|over| Broken::ConnectionCredit {
            received: over.received,
            granted: over.granted,
        })?;
        Ok(cost)
    }

    /// Makes a [`Call`] of a brief one.
    pub(super) fn grow(&mut self, id: u32) {
        if self.briefs.is_empty() {
            return;
        }
        let Some(Brief { owner, deadline, is_over }) = self.remove_brief(id) else {
            return;
        };
        let is_own = self.is_own(id);
        let mut outgoing = Outgoing::new(self.peer.call_window);
        (outgoing.closed, outgoing.ended) = (is_own, is_own);
        let mut incoming = Incoming::new(self.call_window(), !is_own);
        incoming.ended = !is_own || is_over;
        let mut call = Call::new(owner, outgoing, incoming);
        (call.deadline, call.is_sent, call.is_counted) = (deadline, is_own, !is_over);
        self.calls.insert(id, call);
    }
}
