//! Calls of the peer: which are begun, and which are refused.

use super::brief::is_whole;
use super::lists::NotBegun;
use super::{Drain, Machine};
use crate::error::ErrorReply;
use crate::exchange::call::Call;
use crate::exchange::event::Event;
use crate::exchange::frame::{Frame, Kind};
use crate::exchange::ids::{Side, is_lane};
use crate::exchange::incoming::{Brought, Incoming};
use crate::exchange::metadata::Metadata;
use crate::exchange::outgoing::{Ending, Outgoing};
use crate::exchange::violation::Broken;
use std::time::{Duration, Instant};

impl NotBegun {
    pub(super) fn error(self) -> ErrorReply {
        match self {
            NotBegun::TooMany => ErrorReply::new(
                ErrorReply::TOO_MANY_REQUESTS,
                "too many requests of this connection are in flight: wait for replies",
            ),
            NotBegun::NoMemory => ErrorReply::new(
                ErrorReply::TOO_MANY_REQUESTS,
                "there is no memory for another request: wait for replies, and read them",
            ),
            NotBegun::Stopping => ErrorReply::new(ErrorReply::STOPPING, "the server stops"),
        }
    }
}

impl<T> Machine<T> {
    /// Sets whether there is no memory for more requests: they are refused then, and those that have not arrived
    /// wholly, unless they were admitted.
    pub(crate) fn set_full(&mut self, is_full: bool) {
        self.is_full = is_full;
        if !is_full || self.partials == 0 {
            return;
        }
        let is_refused = |call: &Call<T>| call.opening.is_some() && call.incoming.is_unadmitted();
        let calls = self.calls.iter().filter(|(_, call)| is_refused(call));
        let mut refused: Vec<u32> = calls.map(|(id, _)| *id).collect();
        refused.sort_unstable();
        for id in refused {
            if let Some(call) = self.calls.get_mut(&id) {
                call.opening = None;
                (call.silent, call.released) = (true, true);
                (call.is_refused, call.is_counted) = (true, false);
                call.outgoing.close(Ending::Error(NotBegun::NoMemory.error()));
                call.urgent.end = true;
                self.peer_open -= 1;
                self.refused_open += 1;
                self.refused = self.refused.saturating_add(1);
            }
            self.stop(id);
        }
    }

    /// The peer calls.
    pub(super) fn request(
        &mut self,
        frame: Frame,
        time: Option<Duration>,
        now: Instant,
    ) -> Result<(), Broken> {
        let id = frame.id;
        if Side::of(id) == self.side || is_lane(id) {
            return Err(Broken::WrongSide { id });
        }
        // Ids begin again after the last: an old call may still be there.
        let is_old = self.peer_ids.may_be_used(id) && self.is_known(id);
        if !self.peer_ids.is_new(id) || is_old {
            return Err(Broken::OldId { id });
        }
        self.peer_ids.opened(id);
        if let Some(why) = self.refusal() {
            return self.refuse(why, frame, now);
        }
        let deadline = time.map(|time| now + time);
        if !is_whole(&frame) {
            return self.partial_request(frame, deadline, now);
        }
        let event = self.whole_request(frame, deadline)?;
        self.report([event]);
        Ok(())
    }

    /// Why no new call of the peer is begun, if none is.
    pub(super) fn refusal(&self) -> Option<NotBegun> {
        match () {
            () if self.drain != Drain::No => Some(NotBegun::Stopping),
            () if self.is_full => Some(NotBegun::NoMemory),
            () if self.peer_open >= self.config.settings.calls as usize => Some(NotBegun::TooMany),
            () => None,
        }
    }

    /// A request of which more follows has arrived.
    fn partial_request(
        &mut self,
        frame: Frame,
        deadline: Option<Instant>,
        now: Instant,
    ) -> Result<(), Broken> {
        let id = frame.id;
        let method = match frame.kind {
            Kind::Request { method, .. } => method,
            _ => 0,
        };
        let mut incoming = Incoming::new(self.call_window(), true);
        let (last, metadata) = (frame.ends_stream, frame.metadata.clone());
        let has_message = frame.ends_message || frame.total.is_some();
        let largest = self.config.settings.body;
        self.piece_bytes += frame.body.len() as u64;
        let brought = incoming.receive(frame, &mut self.window, largest, now)?;
        let mut call = Call::new(None, Outgoing::new(self.peer.call_window), incoming);
        call.deadline = deadline;
        let event =
            |message, metadata| Event::Request { id, method, metadata, deadline, message, last };
        let event = match brought {
            Brought::Message(it) => Some(event(Some((it.body, it.charge)), it.metadata)),
            Brought::End | Brought::Nothing if !has_message => {
                Some(event(None, Metadata::decode(metadata)?))
            }
            Brought::Announced(size) => {
                call.opening = Some(method);
                Some(Event::Announced { id, size })
            }
            _ => {
                call.opening = Some(method);
                None
            }
        };
        self.report(event);
        self.note_deadline(deadline);
        self.peer_open += 1;
        self.held += call.held();
        self.partials += usize::from(call.incoming.is_owed());
        self.calls.insert(id, call);
        Ok(())
    }

    /// Answers a call of the peer with an error and does not begin it.
    fn refuse(&mut self, why: NotBegun, frame: Frame, now: Instant) -> Result<(), Broken> {
        let id = frame.id;
        self.refused = self.refused.saturating_add(1);
        let mut incoming = Incoming::new(self.call_window(), true);
        Metadata::decode(frame.metadata.clone())?;
        let _ = incoming.discard();
        let largest = self.config.settings.body;
        incoming.receive(frame, &mut self.window, largest, now)?;
        if incoming.ended {
            // Nothing more of it arrives: only the error is left.
            self.lists.refusals.push_back((id, why));
            return Ok(());
        }
        let limit = self.config.settings.calls.max(self.config.assumed.calls) as usize;
        if self.refused_open >= limit {
            return Err(Broken::TooManyRefused { open: self.refused_open, limit });
        }
        self.refused_open += 1;
        let mut call = Call::new(None, Outgoing::new(0), incoming);
        (call.silent, call.released) = (true, true);
        (call.is_refused, call.is_counted) = (true, false);
        call.outgoing.close(Ending::Error(why.error()));
        call.urgent.end = true;
        call.urgent.stop = true;
        self.held += call.held();
        self.partials += usize::from(call.incoming.is_owed());
        self.calls.insert(id, call);
        self.make_urgent(id);
        Ok(())
    }
}
