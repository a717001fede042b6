//! Commands of the application: calls, messages, and giving credit back.

use super::{Drain, Machine};
use crate::error::ErrorReply;
use crate::exchange::call::{Call, Place};
use crate::exchange::ids::Ids;
use crate::exchange::incoming::{Charge, Incoming};
use crate::exchange::metadata::Metadata;
use crate::exchange::outgoing::{Ending, Message, Outgoing, Request};
use std::time::Instant;

/// A call to be opened.
#[derive(Clone, Debug, Default)]
pub struct Opening {
    /// The number of the method, 0 for none.
    pub method: u32,
    /// When this side stops waiting.
    pub deadline: Option<Instant>,
    /// Of the call, if it has no message yet.
    pub metadata: Metadata,
    /// The first message, perhaps the only one.
    pub message: Option<Message>,
}

/// Why a call was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The limit of open calls is reached.
    #[error("{limit} calls are open, the limit")]
    TooMany {
        /// [`Config::opens`](super::Config::opens).
        limit: usize,
    },
    /// The peer begins no more calls.
    #[error("the peer begins no more calls")]
    Draining,
    /// The body is over the peer's limit.
    #[error("the body is over the peer's limit of {limit} bytes")]
    TooLarge {
        /// [`Settings::body`](super::super::Settings::body) of the peer.
        limit: usize,
    },
}

/// Why a message was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// This side has ended its direction, the peer takes no more of it, or there is no such call.
    #[error("this direction of the call has ended")]
    Closed,
    /// The body is over the peer's limit.
    #[error("the body is over the peer's limit of {limit} bytes")]
    TooLarge {
        /// [`Settings::body`](super::super::Settings::body) of the peer.
        limit: usize,
    },
    /// So much is queued that no more is taken. [`Event::Drained`](super::super::Event::Drained) follows.
    #[error("the queue of the call is full")]
    Full,
}

impl<T> Machine<T> {
    /// How many calls this side may open now.
    pub fn room(&self) -> usize {
        self.config.opens.saturating_sub(self.own_open)
    }

    fn check_size(&self, body: usize) -> Result<(), usize> {
        let limit = self.peer.body as usize;
        if body <= limit { Ok(()) } else { Err(limit) }
    }

    /// The id of the call that is opened next.
    pub fn next_id(&self) -> u32 {
        let mut id = self.own_ids.next();
        // After two billion calls an old one may still be in the table: its id is passed over.
        while self.own_ids.may_be_used(id) && self.is_known(id) {
            id = Ids::after(id);
        }
        id
    }

    /// Opens a call. `owner` stays with it until it is released.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(&mut self, opening: Opening, owner: T) -> Result<u32, OpenError> {
        let Opening { method, deadline, metadata, message } = opening;
        if self.peer_drains {
            return Err(OpenError::Draining);
        }
        if self.room() == 0 {
            return Err(OpenError::TooMany { limit: self.config.opens });
        }
        let body = message.as_ref().map_or(0, |message| message.body.len());
        self.check_size(body).map_err(|limit| OpenError::TooLarge { limit })?;
        let id = self.next_id();
        self.own_ids.opened(id);
        let mut outgoing = Outgoing::new(self.peer.call_window);
        outgoing.request = Some(Request { method, metadata });
        if let Some(message) = message {
            outgoing.push(message);
        }
        let incoming = Incoming::new(self.call_window(), false);
        let mut call = Call::new(Some(owner), outgoing, incoming);
        self.held += call.held();
        call.deadline = deadline;
        self.note_deadline(deadline);
        self.calls.insert(id, call);
        self.own_open += 1;
        self.lists.unsent.push_back(id);
        if self.lists.unsent.len() == 1 {
            self.next_request();
        }
        Ok(id)
    }

    /// Whether the peer takes the request of one more call: perhaps only to refuse it, but without closing the
    /// connection.
    pub(super) fn may_open(&self) -> bool {
        self.own_sent < self.peer.calls.max(self.config.assumed.calls) as usize
    }

    /// Lets the first request that was not sent be sent, if the peer takes another call.
    pub(super) fn next_request(&mut self) {
        let is_unsent = |id: &u32| self.calls.get(id).is_some_and(|call| call.is_unsent());
        while self.lists.unsent.front().is_some_and(|id| !is_unsent(id)) {
            self.lists.unsent.pop_front();
        }
        if let Some(&id) = self.lists.unsent.front().filter(|_| self.may_open()) {
            self.make_ready(id);
        }
    }

    /// This side's calls of which nothing was sent, in the order in which they were opened.
    pub fn unsent(&self) -> Vec<u32> {
        let is_unsent = |id: &u32| self.calls.get(id).is_some_and(Call::is_unsent);
        self.lists.unsent.iter().copied().filter(is_unsent).collect()
    }

    /// Queues a message for a call: a part of the request of this side's own, or of the reply to the peer's.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn send(&mut self, id: u32, mut message: Message) -> Result<(), SendError> {
        self.check_size(message.body.len()).map_err(|limit| SendError::TooLarge { limit })?;
        self.grow(id);
        let queue = self.config.queue;
        let Some(call) = self.calls.get_mut(&id).filter(|call| !call.outgoing.closed) else {
            return Err(SendError::Closed);
        };
        if !call.outgoing.is_empty() && call.outgoing.cost() >= queue {
            call.is_full = true;
            return Err(SendError::Full);
        }
        // The request goes with its first message if it was not sent before.
        if let Some(request) = call.outgoing.request.as_mut().filter(|it| !it.metadata.is_empty()) {
            message.metadata = std::mem::take(&mut request.metadata);
        }
        self.held += message.body.len() + message.metadata.len();
        call.outgoing.push(message);
        if !call.is_unsent() {
            self.make_ready(id);
        }
        Ok(())
    }

    /// The bytes that may wait to be sent in a call for whoever keeps no more than `most`: a queue with a smaller limit
    /// [refuses](SendError::Full) more.
    pub(crate) fn queue_limit(&self, most: usize) -> usize {
        most.min(self.config.queue)
    }

    /// Whether this side's direction of a call takes more messages: it has not ended, and the peer has not stopped it.
    pub(crate) fn takes_more(&self, id: u32) -> bool {
        self.calls.get(&id).is_some_and(|call| !call.outgoing.closed)
    }

    /// Changes the deadline of a call of this side; the peer keeps the one that it was told.
    pub(crate) fn set_deadline(&mut self, id: u32, deadline: Option<Instant>) {
        if let Some(call) = self.calls.get_mut(&id).filter(|call| !call.is_closed()) {
            call.deadline = deadline;
            self.note_deadline(deadline);
        }
    }

    /// Queues a notification.
    ///
    /// # Errors
    /// As [`send`](Machine::send).
    pub fn notify(&mut self, message: Message) -> Result<(), SendError> {
        let lane = self.side.lane();
        self.lane(lane);
        self.send(lane, message)
    }

    /// The lane of notifications, which is made when it is first used.
    pub(super) fn lane(&mut self, id: u32) -> &mut Call<T> {
        let (outgoing, window) = (self.peer.call_window, self.call_window());
        let is_own = self.is_own(id);
        self.calls.entry(id).or_insert_with(|| {
            let mut outgoing = Outgoing::new(outgoing);
            let mut incoming = Incoming::new(window, true);
            // Only its sender sends on it.
            (outgoing.closed, outgoing.ended) = (!is_own, !is_own);
            incoming.ended = is_own;
            let mut lane = Call::new(None, outgoing, incoming);
            lane.is_counted = false;
            lane
        })
    }

    /// Ends this side's direction of a call, after what is queued.
    ///
    /// # Errors
    /// [`SendError::Closed`] if it has ended.
    pub fn end(&mut self, id: u32) -> Result<(), SendError> {
        self.end_with(id, Ending::Plain)
    }

    /// Ends the reply to a call of the peer with an error, after what is queued.
    ///
    /// # Errors
    /// [`SendError::Closed`] if it has ended.
    pub fn fail(&mut self, id: u32, error: ErrorReply) -> Result<(), SendError> {
        self.end_with(id, Ending::Error(error))
    }

    fn end_with(&mut self, id: u32, ending: Ending) -> Result<(), SendError> {
        self.grow(id);
        let Some(call) = self.calls.get_mut(&id).filter(|call| !call.outgoing.closed) else {
            return Err(SendError::Closed);
        };
        call.outgoing.close(ending);
        if call.outgoing.has_bare_end() {
            call.urgent.end = true;
            self.make_urgent(id);
        }
        Ok(())
    }

    /// The application has taken a message: its sender may send more in this call.
    pub fn taken(&mut self, id: u32, charge: Charge) {
        let Some(call) = self.calls.get_mut(&id).filter(|call| !call.incoming.ended) else {
            return;
        };
        if call.incoming.window.take(charge.call) {
            call.urgent.credit = true;
            self.make_urgent(id);
        }
    }

    /// A message no longer counts as held for the connection: the application has taken it, or its memory is
    /// charged elsewhere.
    pub fn give_back(&mut self, charge: Charge) {
        self.window.take(charge.connection);
    }

    /// There is room for a message that was [announced](super::super::Event::Announced).
    pub fn admit(&mut self, id: u32) {
        if self.is_announced(id) {
            self.change(id, |call, _| {
                call.incoming.admit();
                call.urgent.admit = true;
            });
            self.make_urgent(id);
        }
    }

    /// Begins no more calls of the peer, and tells it.
    pub fn drain(&mut self) {
        if self.drain == Drain::No {
            self.drain = Drain::Asked;
        }
    }

    pub(super) fn make_urgent(&mut self, id: u32) {
        if let Some(call) = self.calls.get_mut(&id).filter(|call| !call.in_urgent) {
            call.in_urgent = true;
            self.lists.urgent.push_back(id);
        }
    }

    pub(super) fn make_ready(&mut self, id: u32) {
        if let Some(call) = self.calls.get_mut(&id).filter(|call| call.place == Place::Nowhere) {
            call.place = Place::Ready;
            self.lists.ready.push_back(id);
        }
    }

    pub(super) fn note_deadline(&mut self, deadline: Option<Instant>) {
        self.soonest = self.soonest.into_iter().chain(deadline).min();
    }
}
