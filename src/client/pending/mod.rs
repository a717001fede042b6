//! The calls in flight of a client, and which of its threads has the lead.

mod guard;
mod serving;
mod slot;
mod state;
#[cfg(feature = "tokio")]
mod tasks;
#[cfg(all(test, feature = "tokio"))]
mod tasks_tests;
mod terms;
#[cfg(test)]
mod tests;
mod unasked;
mod uploads;
#[cfg(feature = "tokio")]
mod waiting;

pub(super) use slot::{Outcome, progress_of};
pub(super) use terms::{NotBegun, Terms};
pub(super) use unasked::{Asked, Item, Next, UNASKED};
pub(super) use uploads::{PartRefused, UPLOAD_MAX};
#[cfg(feature = "tokio")]
pub(super) use waiting::{Until, Waited};

use super::channel::Filler;
use super::counts::ClientCounts;
use super::lead::{Inbox, Put};
use crate::body::Body;
use crate::clock;
use crate::counts::CallEnd;
use crate::error::{CloseReason, ErrorReply};
use crate::exchange::{CONTROL_MAX, Config, Message, Metadata};
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::sync::{Mutex, thread};
use bytes::Bytes;
use guard::Guard;
use slot::{Slot, Who};
use state::State;
use std::sync::PoisonError;
use std::time::Instant;

/// The calls of a client.
#[derive(Debug)]
pub(super) struct Pending {
    state: Mutex<State>,
    /// The machine has something to send. The reading thread checks this without the lock.
    unsent: AtomicBool,
    /// The peer's settings have arrived.
    settled: AtomicBool,
    /// The largest body that the server takes, once that is known.
    limit: AtomicUsize,
}

impl Pending {
    pub fn new(config: Config) -> Pending {
        Pending {
            state: Mutex::new(State::new(config)),
            unsent: AtomicBool::new(true),
            settled: AtomicBool::new(false),
            limit: AtomicUsize::new(usize::MAX),
        }
    }

    fn lock(&self) -> Guard<'_> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        Guard::new(state, &self.unsent)
    }

    /// Checks that `count` calls may begin.
    pub fn check(&self, count: usize) -> Result<(), NotBegun> {
        let state = self.lock();
        match &state.closed {
            Some(reason) => Err(NotBegun::Closed(reason.clone())),
            None => state.check_room(count),
        }
    }

    /// Begins a call for each request and queues the requests, or as much of them as may be sent now. On failure
    /// none is begun; the index of the request that failed is returned with the reason.
    pub fn begin<'a>(
        &self,
        requests: &[Body<'a>],
        terms: Terms<'_>,
        filler: &mut Filler<'_, 'a>,
    ) -> Result<Vec<u32>, (usize, NotBegun)> {
        let mut state = self.lock();
        if terms.is_kept {
            state.place_is_used();
        }
        if let Some(reason) = &state.closed {
            return Err((0, NotBegun::Closed(reason.clone())));
        }
        if let Err(why) = state.check_room(requests.len()) {
            return Err((state.machine.room(), why));
        }
        let mut begun = Vec::with_capacity(requests.len());
        for (at, body) in requests.iter().enumerate() {
            match state.begin(body, terms, filler) {
                Ok(id) => begun.push(id),
                Err(why) => {
                    // The queue is dropped by the caller, so nothing of these is sent.
                    for (id, body) in begun.iter().zip(requests).rev() {
                        drop(state.machine.undo_open(*id, body.len()));
                        state.counts.calls.begun -= 1;
                    }
                    return Err((at, why));
                }
            }
        }
        Ok(begun)
    }

    pub fn counts(&self) -> ClientCounts {
        let state = self.lock();
        let waiting = state.unasked.as_ref().map_or(0, |unasked| unasked.len());
        ClientCounts { waiting, ..state.counts }
    }

    /// How many calls may begin now.
    pub fn room(&self) -> usize {
        self.lock().machine.room()
    }

    /// How many calls of this client are open.
    pub fn own_open(&self) -> usize {
        self.lock().machine.own_open()
    }

    /// Whether the server's limits are known.
    pub fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Acquire)
    }

    /// The largest body that the server takes, as far as is known.
    pub fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Abandons a call: its outcome will not be collected, and the server is told. Returns the position at which its
    /// request ends, which is `u64::MAX` if its rest will not be sent, and whether something has to be sent.
    pub fn abandon(&self, id: u32) -> (u64, bool) {
        let mut state = self.lock();
        let abandoned = state.machine.release(id);
        if abandoned.as_ref().is_some_and(|slot| slot.outcome.is_none()) {
            state.counts.calls.ends(CallEnd::Cancelled);
        }
        let has_unsent = state.machine.has_unsent();
        drop(state);
        // Not dropped under the lock: it may hold a large reply.
        (abandoned.map_or(u64::MAX, |slot| slot.end), has_unsent)
    }

    /// Leaves a call to itself: it goes on, and its reply is dropped.
    pub fn detach(&self, id: u32) {
        self.lock().detach(id);
    }

    /// Returns the outcome of a call that has ended, once, and the position at which its request ends. Also returns
    /// whether something has to be sent.
    pub fn collect(&self, id: u32) -> Option<(Outcome, u64, bool)> {
        let mut state = self.lock();
        let slot = state.machine.release_if(id, Slot::is_over)?;
        #[cfg(feature = "tokio")]
        state.wake_callers();
        Some((slot.outcome?, slot.end, state.machine.has_unsent()))
    }

    /// Takes the next part of a reply that has arrived. Also returns whether something has to be sent for that.
    pub fn next_part(&self, id: u32) -> Option<(Bytes, bool)> {
        let mut state = self.lock();
        let part = state.next_part(id)?;
        Some((part, state.machine.has_unsent()))
    }

    /// Whether the outcome of one of these calls, or a part of a reply, can be taken.
    pub fn is_ready(&self, ids: &[u32]) -> bool {
        self.lock().is_any_ready(ids)
    }

    /// Queues a notification to the server.
    pub fn notify(&self, message: Message) -> Result<(), NotBegun> {
        let mut state = self.lock();
        if let Some(reason) = &state.closed {
            return Err(NotBegun::Closed(reason.clone()));
        }
        state.notify(message)
    }

    /// Whether one more notification is taken.
    pub fn may_notify(&self) -> bool {
        self.lock().may_notify()
    }

    /// Keeps from now on what the server sends unasked. `false`: somebody else takes it already.
    pub fn listen(&self) -> bool {
        let mut state = self.lock();
        let is_free = state.unasked.is_none();
        state.unasked.get_or_insert_default();
        is_free
    }

    /// Whether something waits that was sent unasked, or there is nothing more to wait for.
    pub fn has_unasked(&self) -> bool {
        self.is_ready(&[UNASKED])
    }

    /// Keeps it no more. Returns whether something has to be sent.
    pub fn stop_listening(&self) -> bool {
        let mut state = self.lock();
        state.stop_listening();
        state.machine.has_unsent()
    }

    /// The next of what the server has sent unasked, and whether something has to be sent for that.
    pub fn next_unasked(&self) -> (Next, bool) {
        let mut state = self.lock();
        let now = (state.clock)();
        let next = state.next_unasked(now);
        (next, state.machine.has_unsent())
    }

    /// Answers a call of the server. `limit`: the largest reply that this side sends.
    pub fn answer(&self, id: u32, answer: Result<Bytes, ErrorReply>, limit: usize) {
        let answer = match answer {
            Ok(body) if body.len() > limit => {
                let text = format!("the reply was over the limit of {limit} bytes");
                Err(ErrorReply::new(ErrorReply::REPLY_TOO_LARGE, text))
            }
            answer => answer,
        };
        self.lock().answer_asked(id, answer);
    }

    /// Whether nobody waits for the answer to a call of the server any more.
    pub fn is_cut_off(&self, asked: &Asked) -> bool {
        let state = self.lock();
        let is_late = asked.deadline.is_some_and(|at| at <= (state.clock)());
        is_late || state.closed.is_some() || state.machine.is_cut_off(asked.id)
    }

    /// What the server has sent beside a reply, as far as it has arrived.
    pub fn metadata(&self, id: u32) -> Metadata {
        let mut state = self.lock();
        let slot = state.machine.owner(id);
        slot.and_then(|slot| slot.metadata.as_deref().cloned()).unwrap_or_default()
    }

    /// Ends the calls with passed deadlines.
    pub fn expire(&self, now: Instant) {
        let mut state = self.lock();
        state.machine.expire(now);
        state.hear();
    }

    /// The reason why the connection has ended, if it has.
    pub fn is_draining(&self) -> bool {
        self.lock().is_draining
    }

    pub fn closed(&self) -> Option<CloseReason> {
        self.lock().closed.clone()
    }

    /// Ends all calls, and refuses later ones.
    fn close(&self, reason: &CloseReason) {
        self.lock().close(reason);
    }

    /// Takes the lead, or follows: waits until something can be taken of one of these calls, until the lead was
    /// released, or until the deadline. `true`: this thread has the lead.
    pub fn lead_or_follow(&self, ids: &[u32], deadline: Option<Instant>) -> bool {
        let Some(&first) = ids.first() else {
            return false;
        };
        let mut state = self.lock();
        if !state.led {
            state.led = true;
            return true;
        }
        state.followers.push_back(first);
        drop(state);
        self.follow(ids, deadline);
        let mut state = self.lock();
        state.followers.retain(|follower| *follower != first);
        if state.led {
            return false;
        }
        // A thread that was offered the lead takes it or passes the offer on, under this one lock: an offer
        // that is dropped leaves the others without a leader.
        let is_over = deadline.is_some_and(|at| at <= clock::now());
        if is_over || state.is_any_ready(ids) {
            state.offer_lead();
            return false;
        }
        state.led = true;
        true
    }

    /// Waits until something can be taken of one of these calls, until this thread is offered the lead with the first
    /// of them, or until the deadline.
    fn follow(&self, ids: &[u32], deadline: Option<Instant>) {
        loop {
            let mut state = self.lock();
            let is_any_ready = state.is_any_ready(ids);
            let mut is_offered = false;
            for waiter in ids {
                if let Some(waiter) = state.waiting(*waiter) {
                    waiter.who = None;
                    is_offered |= std::mem::take(&mut waiter.lead);
                }
            }
            let now = clock::now();
            if is_any_ready || is_offered || deadline.is_some_and(|at| at <= now) {
                return;
            }
            for waiter in ids {
                if let Some(waiter) = state.waiting(*waiter) {
                    waiter.who = Some(Who::Thread(thread::current()));
                }
            }
            drop(state);
            match deadline {
                Some(at) => thread::park_timeout(at - now),
                None => thread::park(),
            }
        }
    }
}

impl Inbox for Pending {
    fn try_lead(&self) -> bool {
        let mut state = self.lock();
        !std::mem::replace(&mut state.led, true)
    }

    fn stop_leading(&self) {
        let mut state = self.lock();
        state.led = false;
        state.offer_lead();
    }

    fn ended(&self) -> Option<CloseReason> {
        self.closed()
    }

    fn end(&self, reason: &CloseReason) {
        self.close(reason);
    }

    fn deliver(&self, messages: &mut Vec<Bytes>) -> Result<(), CloseReason> {
        let mut state = self.lock();
        for message in messages.drain(..) {
            state.receive(message).map_err(CloseReason::from)?;
        }
        if state.machine.refusals() >= CONTROL_MAX {
            // A client cannot stop reading without stopping its own calls.
            let text = "the server calls on and on, over its limit, and does not read the answers";
            return Err(CloseReason::Protocol(text.to_owned()));
        }
        if let Some(peer) = state.machine.peer_settings().filter(|_| !self.is_settled()) {
            self.limit.store(peer.body as usize, Ordering::Relaxed);
            self.settled.store(true, Ordering::Release);
        }
        Ok(())
    }

    fn fill(&self, put: &mut Put<'_>) -> bool {
        self.lock().fill(put)
    }

    fn has_more(&self) -> bool {
        self.unsent.load(Ordering::SeqCst)
    }

    fn set_largest(&self, bytes: usize) {
        self.lock().machine.set_largest_frame(bytes);
    }
}
