//! Requests of any number of parts.

use super::slot::Slot;
use super::state::State;
use super::{NotBegun, Pending, Terms};
use crate::exchange::{Message, Opening, SendError, abort};
use bytes::Bytes;
use std::time::Instant;

/// Once so many bytes of parts of one request wait here, no more are taken: a few system calls' worth, or a smaller
/// [`Limits::queued`](crate::Limits::queued). The last part may be over it, of any size.
pub(in crate::client) const UPLOAD_MAX: usize = 256 * 1024;

/// Why a part was not queued.
#[derive(Debug)]
pub(in crate::client) enum PartRefused {
    /// So much waits that there is no room for it now.
    Full(Bytes),
    /// It is over the server's limit.
    TooLarge { limit: usize, part: Bytes },
    /// The server takes no more, or the call is over.
    Over,
}

impl State {
    fn takes_parts(&self, id: u32) -> bool {
        self.closed.is_none() && self.machine.takes_more(id)
    }

    /// Whether fewer bytes of a request wait than `room`, or no more of it are taken.
    pub(super) fn has_room(&self, id: u32, room: usize) -> bool {
        self.machine.queued(id) < self.machine.queue_limit(room) || !self.takes_parts(id)
    }
}

impl Pending {
    /// Begins a call with a request of any number of parts.
    pub fn begin_stream(&self, terms: Terms<'_>) -> Result<u32, NotBegun> {
        let mut state = self.lock();
        if let Some(reason) = &state.closed {
            return Err(NotBegun::Closed(reason.clone()));
        }
        state.check_room(1)?;
        let Terms { deadline, method, metadata, has_parts, .. } = terms;
        let metadata = metadata.clone();
        let opening = Opening { message: None, deadline, method, metadata };
        let slot = Slot { is_stream: true, ..Slot::new(u64::MAX, has_parts) };
        let id = state.machine.open(opening, slot).map_err(NotBegun::from)?;
        state.counts.calls.begun += 1;
        Ok(id)
    }

    /// Queues a part of a request.
    pub fn send_part(&self, id: u32, part: Bytes) -> Result<(), PartRefused> {
        let mut state = self.lock();
        if !state.takes_parts(id) {
            return Err(PartRefused::Over);
        }
        if state.machine.queued(id) >= state.machine.queue_limit(UPLOAD_MAX) {
            return Err(PartRefused::Full(part));
        }
        state.machine.send(id, Message::new(part.clone(), false)).map_err(|error| match error {
            SendError::TooLarge { limit } => PartRefused::TooLarge { limit, part },
            SendError::Full => PartRefused::Full(part),
            SendError::Closed => PartRefused::Over,
        })
    }

    /// Whether fewer bytes of a request wait than `room`, or no more of it are taken.
    pub fn has_room(&self, id: u32, room: usize) -> bool {
        self.lock().has_room(id, room)
    }

    /// The position in the stream at which a request begins; `u64::MAX`: nothing of it was queued.
    pub fn begun_at(&self, id: u32) -> u64 {
        self.lock().machine.owner(id).map_or(u64::MAX, |slot| slot.end)
    }

    /// Ends a request; the reply may take until then.
    pub fn end_request(&self, id: u32, deadline: Option<Instant>) {
        let mut state = self.lock();
        // It has ended already if the server takes no more.
        let _ = state.machine.end(id);
        state.machine.set_deadline(id, deadline);
    }

    /// The request is incomplete, and stays so.
    pub fn give_up_request(&self, id: u32) {
        let mut state = self.lock();
        state.machine.abort(id, abort::FAILED);
        // If nothing of it was sent, its reply has ended.
        state.hear();
    }
}
