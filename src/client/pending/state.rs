//! The state of a client's calls: the machine of the protocol, and who waits for what.

use super::slot::{Outcome, Slot, Waiter, Woken};
use super::terms::{NotBegun, Terms};
use super::unasked::{Asked, UNASKED, Unasked};
use crate::body::Body;
use crate::client::channel::Filler;
use crate::client::counts::ClientCounts;
use crate::client::lead::Put;
use crate::clock;
use crate::counts::CallEnd;
use crate::error::{CloseReason, ErrorReply, Progress};
use crate::exchange::{
    Arrived, BriefEvent, Charge, Config, ENVELOPE_LEN, End, Event, Machine, Message, Metadata,
    Opening, SendError, Side, Violation, abort,
};
use bytes::Bytes;
use std::collections::VecDeque;
use std::time::Instant;

#[derive(Debug)]
pub(super) struct State {
    pub machine: Machine<Slot>,
    /// A thread has the lead.
    pub led: bool,
    /// The calls of threads that wait for the leader.
    pub followers: VecDeque<u32>,
    pub closed: Option<CloseReason>,
    /// The server begins no more calls.
    pub is_draining: bool,
    /// What the server has sent unasked; `None`: nobody listens.
    pub unasked: Option<Box<Unasked>>,
    pub counts: ClientCounts,
    /// The bytes of requests of the server, and of notifications to it, that may wait.
    pub limit: usize,
    /// To be woken when the lock is released.
    pub woken: Woken,
    #[cfg(feature = "tokio")]
    pub tasks: super::waiting::Tasks,
    /// What this client's deadlines are measured with.
    pub clock: fn() -> Instant,
}

impl State {
    pub fn new(config: Config) -> State {
        let limit = config.queue;
        State {
            machine: Machine::new(Side::Client, config),
            led: false,
            followers: VecDeque::new(),
            closed: None,
            is_draining: false,
            unasked: None,
            counts: ClientCounts::default(),
            limit,
            woken: Vec::new(),
            #[cfg(feature = "tokio")]
            tasks: super::waiting::Tasks::default(),
            clock: clock::now,
        }
    }

    /// Offers the lead to a thread that waits or is about to wait.
    pub fn offer_lead(&mut self) {
        while let Some(follower) = self.followers.pop_front() {
            let mut woken = std::mem::take(&mut self.woken);
            let offered = self.waiting(follower).map(|waiter| {
                waiter.lead = true;
                waiter.wake(&mut woken);
            });
            self.woken = woken;
            if offered.is_some() {
                return;
            }
        }
    }

    /// The connection has ended, unless it had before.
    pub fn close(&mut self, reason: &CloseReason) {
        self.closed.get_or_insert_with(|| reason.clone());
        self.machine.close();
        self.hear();
        if let Some(unasked) = &mut self.unasked {
            unasked.waiter.wake(&mut self.woken);
        }
        #[cfg(feature = "tokio")]
        self.wake_all_tasks();
    }

    /// A call begins in a place that was kept for it.
    pub fn place_is_used(&mut self) {
        #[cfg(feature = "tokio")]
        {
            self.tasks.kept -= 1;
        }
    }

    pub fn check_room(&self, count: usize) -> Result<(), NotBegun> {
        #[cfg(feature = "tokio")]
        let kept = self.tasks.kept;
        #[cfg(not(feature = "tokio"))]
        let kept = 0;
        match self.machine.room() {
            room if count + kept <= room => Ok(()),
            room => Err(NotBegun::TooMany { limit: room + self.machine.own_open() }),
        }
    }

    pub fn begin<'a>(
        &mut self,
        body: &Body<'a>,
        terms: Terms<'_>,
        filler: &mut Filler<'_, 'a>,
    ) -> Result<u32, NotBegun> {
        let (machine, size) = (&mut self.machine, body.len());
        let Terms { began, deadline, method, metadata, has_parts, .. } = terms;
        // What is queued cannot be overtaken any more.
        #[cfg(feature = "tokio")]
        let is_direct = !filler.is_full();
        #[cfg(not(feature = "tokio"))]
        let is_direct = true;
        let put = |head: [u8; ENVELOPE_LEN]| {
            let end = filler.put(&head, body.clone())?;
            Ok(Slot::new(end, has_parts))
        };
        if is_direct && metadata.is_empty() {
            if let Some(begun) = machine.open_now(method, size, deadline, began, put) {
                let id = begun.map_err(NotBegun::Refused)?;
                self.counts.calls.begun += 1;
                self.counts.sent.add(ENVELOPE_LEN + size);
                return Ok(id);
            }
        }
        // It waits for its turn or for credit. It is sent from the machine's queue, by the thread that is sending.
        let mut message = Message::new(body.clone().into_bytes(), true);
        message.metadata = metadata.clone();
        let opening = Opening { message: Some(message), deadline, method, ..Opening::default() };
        let id = machine.open(opening, Slot::new(u64::MAX, has_parts)).map_err(NotBegun::from)?;
        self.counts.calls.begun += 1;
        Ok(id)
    }

    /// Queues a notification to the server.
    pub fn notify(&mut self, message: Message) -> Result<(), NotBegun> {
        self.machine.notify(message).map_err(|error| match error {
            SendError::TooLarge { limit } => NotBegun::TooLarge { limit },
            _ => NotBegun::Full { limit: self.limit },
        })?;
        self.counts.notifications_sent += 1;
        Ok(())
    }

    /// Whether one more notification is taken. One may exceed the limit.
    pub fn may_notify(&self) -> bool {
        self.machine.queued(Side::Client.lane()) < self.limit.max(1)
    }

    /// Who may wait for a call of which nothing can be taken yet.
    pub fn waiting(&mut self, id: u32) -> Option<&mut Waiter> {
        if id == UNASKED {
            let unasked = self.unasked.as_mut().filter(|it| it.is_empty())?;
            return Some(&mut unasked.waiter).filter(|_| self.closed.is_none());
        }
        let slot = self.machine.owner(id).filter(|slot| !slot.is_ready())?;
        Some(&mut slot.waiter)
    }

    /// Whether there is something to take of one of these calls, or nothing to wait for.
    pub fn is_any_ready(&mut self, ids: &[u32]) -> bool {
        ids.iter().any(|id| self.waiting(*id).is_none())
    }

    /// Nobody waits for this call any more, but it goes on. Its reply is dropped when it arrives.
    pub fn detach(&mut self, id: u32) {
        match self.machine.owner(id) {
            Some(slot) if slot.outcome.is_none() => {
                slot.is_detached = true;
                slot.waiter.wake(&mut self.woken);
            }
            _ => drop(self.machine.release(id)),
        }
    }

    fn set_end(&mut self, id: u32, end: u64) {
        // A request of any number of parts is begun with its first frame.
        if let Some(slot) = self.machine.owner(id).filter(|it| !it.is_stream || it.end == u64::MAX)
        {
            slot.end = end;
        }
    }

    fn finish(&mut self, id: u32, outcome: Outcome) {
        let slot = self.machine.owner(id);
        if slot.as_ref().is_some_and(|slot| slot.outcome.is_none()) {
            self.counts.calls.ends((&outcome).into());
        }
        match slot {
            Some(slot) if slot.is_detached => drop(self.machine.release(id)),
            Some(slot) => slot.finish(outcome, &mut self.woken),
            None => {}
        }
    }

    /// Passes on the next frame; see [`Inbox::fill`].
    pub fn fill(&mut self, put: &mut Put<'_>) -> bool {
        let Some(frame) = self.machine.transmit_with(self.clock) else {
            return false;
        };
        let (head, id) = (frame.head(), frame.id());
        self.counts.sent.add(frame.size());
        let is_end = frame.ends_message() || self.machine.owner(id).is_some_and(|it| it.is_stream);
        let put = match frame.metadata().is_empty() {
            true => put(head.as_slice(), frame.into_body()),
            false => put(&[head.as_slice(), frame.metadata()].concat(), frame.into_body()),
        };
        if let Some(end) = put.filter(|_| is_end) {
            self.set_end(id, end);
        }
        true
    }

    /// Handles what has happened.
    pub fn hear(&mut self) {
        while let Some(event) = self.machine.next_event() {
            self.happened(event);
        }
    }

    /// Handles a message of the server.
    pub fn receive(&mut self, mut message: Bytes) -> Result<(), Violation> {
        self.counts.received.add(message.len());
        match self.machine.receive_brief(&mut message, self.clock)? {
            BriefEvent::Reply { id, owner } => {
                if owner.as_ref().is_some_and(|slot| slot.outcome.is_none()) {
                    self.counts.calls.ends(CallEnd::Replied);
                }
                match owner {
                    Some(slot) if slot.is_detached => drop(self.machine.release(id)),
                    // The call is over: the part holds no credit of it.
                    Some(slot) => {
                        slot.arrives(message, Charge::default(), true, &mut self.woken);
                    }
                    None => {}
                }
                return Ok(());
            }
            BriefEvent::Request { id, method, deadline, charge } => {
                let metadata = Metadata::default();
                self.called(Asked { id, method, metadata, deadline, body: message }, charge);
            }
            BriefEvent::Nothing => self.machine.receive((self.clock)(), message)?,
        }
        self.hear();
        Ok(())
    }

    fn happened(&mut self, event: Event) {
        match event {
            Event::Message { id, arrived } => self.arrived(id, arrived),
            Event::Ended { id, end } => self.ended(id, end),
            Event::Expired { id, .. } => self.expired(id),
            Event::Announced { id, size } => self.announced(id, size),
            Event::Draining => self.draining(),
            Event::Request { id, method, metadata, deadline, message, last } => match message {
                Some((body, charge)) if last => {
                    self.called(Asked { id, method, metadata, deadline, body }, charge);
                }
                part => self.called_in_parts(id, part.map(|(_, it)| it).unwrap_or_default()),
            },
            Event::Notification { arrived } => self.notified(arrived),
            _ => {}
        }
    }

    fn arrived(&mut self, id: u32, arrived: Arrived) {
        let Some(slot) = self.machine.owner(id).filter(|slot| !slot.is_detached) else {
            self.machine.taken(id, arrived.charge);
            return self.drop_rest(id, arrived.last);
        };
        if !arrived.metadata.is_empty() {
            slot.metadata.get_or_insert_with(|| arrived.metadata.into());
        }
        let Arrived { body, charge, last, .. } = arrived;
        if slot.parts.is_none() && (!last || slot.first.is_some()) {
            let is_second = slot.first.replace(body.into()).is_some();
            self.machine.taken(id, charge);
            if is_second {
                self.has_parts(id, last);
            }
            return;
        }
        if slot.outcome.is_none() && last {
            self.counts.calls.ends(CallEnd::Replied);
        }
        if let Some(charge) = slot.arrives(body, charge, last, &mut self.woken) {
            self.machine.taken(id, charge);
        }
    }

    /// The reply to a call for one message has several: one of them would be taken for all of it.
    fn has_parts(&mut self, id: u32, was_last: bool) {
        let text = "the reply has parts, and this call takes one message: take them with `stream`";
        let error = ErrorReply::new(ErrorReply::REPLY_IN_PARTS, text);
        self.finish(id, Outcome::Error(error.into()));
        if !was_last {
            self.machine.stop(id);
        }
    }

    /// A message for a call that nobody waits for was dropped. One of them is enough.
    fn drop_rest(&mut self, id: u32, was_last: bool) {
        match was_last {
            true => {
                if self.machine.release(id).is_some_and(|slot| slot.outcome.is_none()) {
                    self.counts.calls.ends(CallEnd::Replied);
                }
            }
            false => self.machine.stop(id),
        }
    }

    /// The server begins no more calls: what was not sent is not begun.
    fn draining(&mut self) {
        self.is_draining = true;
        for id in self.machine.unsent() {
            let error = ErrorReply::new(ErrorReply::STOPPING, "the server stops");
            self.finish(id, Outcome::Error(error.into()));
            self.machine.cancel(id);
        }
    }

    /// The deadline of a call has passed. What was not queued of its request is not sent any more.
    fn expired(&mut self, id: u32) {
        let progress = self.machine.owner(id).map_or(Progress::Unknown, |slot| slot.progress());
        self.finish(id, Outcome::Deadline(progress));
    }

    /// The next part of a reply.
    pub fn next_part(&mut self, id: u32) -> Option<Bytes> {
        let (part, charge) = self.machine.owner(id)?.parts.as_mut()?.waiting.pop_front()?;
        self.machine.taken(id, charge);
        Some(part)
    }

    fn ended(&mut self, id: u32, end: End) {
        let slot = self.machine.owner(id);
        let has_parts = slot.as_ref().is_some_and(|slot| slot.parts.is_some());
        let first = slot.and_then(|slot| slot.first.take()).map(|first| *first);
        let outcome = match end {
            End::Plain if has_parts => Outcome::End,
            // All of it was its first part.
            End::Plain => Outcome::Reply(first.unwrap_or_default()),
            End::Error(error) => Outcome::Error(error.into()),
            // On an open connection: a duplex call whose request was given up.
            End::Withdrawn if self.closed.is_none() => {
                let text = "its request was given up before it was sent";
                Outcome::Error(ErrorReply::new(ErrorReply::FAILED, text).into())
            }
            End::Closed { .. } | End::Withdrawn => {
                let reason = self.closed.clone().unwrap_or(CloseReason::Local);
                Outcome::Closed(reason.of_open_call().into())
            }
            // Its own deadline, which the server has seen first.
            End::Aborted { code: abort::DEADLINE } => Outcome::Deadline(Progress::Unknown),
            _ => {
                let text = "the server gave up the reply before its end";
                Outcome::Error(ErrorReply::new(ErrorReply::FAILED, text).into())
            }
        };
        self.finish(id, outcome);
    }
}
