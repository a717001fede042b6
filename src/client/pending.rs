//! The calls in flight of a client, and which of its threads has the lead.

use super::lead::Inbox;
use crate::error::{CloseReason, ErrorReply};
use crate::exchange::{Calls, Envelope, Kind, TooMany};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::Instant;

/// How a call ended.
#[derive(Debug)]
pub(super) enum Outcome {
    Reply(Bytes),
    Error(ErrorReply),
    Deadline,
    Closed(CloseReason),
}

/// The state of one call's caller.
#[derive(Debug, Default)]
struct Slot {
    outcome: Option<Outcome>,
    /// The thread that waits as a follower.
    waiter: Option<Thread>,
    /// The lead is offered to the waiter.
    lead: bool,
}

impl Slot {
    fn finish(&mut self, outcome: Outcome) {
        self.outcome = Some(outcome);
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(waiter) = self.waiter.take() {
            waiter.unpark();
        }
    }
}

/// The calls of a client.
#[derive(Debug)]
pub(super) struct Pending {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    calls: Calls<Slot>,
    /// A thread has the lead.
    led: bool,
    /// The calls of threads that wait for the leader.
    followers: VecDeque<u32>,
    closed: Option<CloseReason>,
}

/// Why a call was not begun.
#[derive(Debug)]
pub(super) enum NotBegun {
    TooMany(TooMany),
    Closed(CloseReason),
}

impl Pending {
    pub fn new(limit: usize) -> Pending {
        let calls = Calls::new(limit);
        let state = State { calls, led: false, followers: VecDeque::new(), closed: None };
        Pending { state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins `count` calls, or none. `begun` gets their ids.
    pub fn begin(
        &self,
        count: usize,
        deadline: Option<Instant>,
        mut begun: impl FnMut(u32),
    ) -> Result<(), NotBegun> {
        let mut state = self.lock();
        if let Some(reason) = &state.closed {
            return Err(NotBegun::Closed(reason.clone()));
        }
        state.calls.room_for(count).map_err(NotBegun::TooMany)?;
        for _ in 0..count {
            let id = state.calls.register(deadline, Slot::default());
            begun(id.map_err(NotBegun::TooMany)?);
        }
        Ok(())
    }

    /// How many calls may begin now.
    pub fn room(&self) -> usize {
        self.lock().calls.room()
    }

    /// Abandons a call: its outcome will not be collected.
    pub fn abandon(&self, id: u32) {
        let abandoned = self.lock().calls.abandon(id);
        drop(abandoned); // not under the lock: it may be a large reply
    }

    /// Removes a call with a request that was not sent and will not be.
    pub fn withdraw(&self, id: u32) {
        self.lock().calls.withdraw(id);
    }

    /// Returns the outcome of a call that has ended, once.
    pub fn collect(&self, id: u32) -> Option<Outcome> {
        self.lock().calls.collect(id)?.outcome
    }

    pub fn is_ended(&self, id: u32) -> bool {
        self.lock().calls.is_ended(id)
    }

    /// Ends the calls with passed deadlines.
    pub fn expire(&self, now: Instant) {
        self.lock().calls.expire(now, |slot| slot.finish(Outcome::Deadline));
    }

    /// The reason why the connection has ended, if it has.
    pub fn closed(&self) -> Option<CloseReason> {
        self.lock().closed.clone()
    }

    /// Ends all calls, and refuses later ones.
    fn close(&self, reason: &CloseReason) {
        let ended = reason.of_open_call();
        let mut state = self.lock();
        state.closed.get_or_insert_with(|| reason.clone());
        state.calls.close(|slot| slot.finish(Outcome::Closed(ended.clone())));
    }

    /// Takes the lead, or follows: waits until the leader has ended the call or released the lead, or until the
    /// deadline. `true`: this thread has the lead.
    pub fn lead_or_follow(&self, id: u32, deadline: Option<Instant>) -> bool {
        let mut state = self.lock();
        if !state.led {
            state.led = true;
            return true;
        }
        state.followers.push_back(id);
        drop(state);
        self.follow(id, deadline);
        let mut state = self.lock();
        state.followers.retain(|follower| *follower != id);
        if state.led {
            return false;
        }
        // A thread that was offered the lead takes it or passes the offer on, under this one lock: an offer
        // that is dropped leaves the others without a leader.
        let is_over = deadline.is_some_and(|at| at <= Instant::now());
        if is_over || state.calls.waiting(id).is_none() {
            state.offer_lead();
            return false;
        }
        state.led = true;
        true
    }

    /// Waits until the call has ended, until this thread is offered the lead, or until the deadline.
    fn follow(&self, id: u32, deadline: Option<Instant>) {
        loop {
            let mut state = self.lock();
            let Some(slot) = state.calls.waiting(id) else {
                return;
            };
            slot.waiter = None;
            let now = Instant::now();
            if std::mem::take(&mut slot.lead) || deadline.is_some_and(|at| at <= now) {
                return;
            }
            slot.waiter = Some(thread::current());
            drop(state);
            match deadline {
                Some(at) => thread::park_timeout(at - now),
                None => thread::park(),
            }
        }
    }
}

impl State {
    /// Offers the lead to a thread that waits or is about to wait.
    fn offer_lead(&mut self) {
        while let Some(follower) = self.followers.pop_front() {
            if let Some(slot) = self.calls.waiting(follower) {
                slot.lead = true;
                return slot.wake();
            }
        }
    }

    fn deliver(&mut self, mut message: Bytes) -> Result<(), String> {
        let envelope = Envelope::decode(&mut message).map_err(|error| error.to_string())?;
        let outcome = match envelope.kind {
            Kind::Reply => Outcome::Reply(message),
            Kind::Error { code } => {
                let text = String::from_utf8_lossy(&message).into_owned();
                Outcome::Error(ErrorReply::new(code, text))
            }
            Kind::Request => return Err(format!("request {} to a client", envelope.id)),
        };
        let completed = self.calls.complete(envelope.id);
        if let Some(slot) = completed.map_err(|error| error.to_string())? {
            slot.finish(outcome);
        }
        Ok(())
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

    fn deliver(&self, messages: &mut Vec<Bytes>) -> Result<(), String> {
        let mut state = self.lock();
        messages.drain(..).try_for_each(|message| state.deliver(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Duration;

    fn begun(pending: &Pending) -> u32 {
        let mut begun = None;
        pending.begin(1, None, |id| begun = Some(id)).unwrap();
        begun.unwrap()
    }

    #[test]
    fn a_thread_that_stops_waiting_is_removed() {
        let pending = Pending::new(8);
        let (leader, follower) = (begun(&pending), begun(&pending));
        assert!(pending.lead_or_follow(leader, None));
        for _ in 0..3 {
            let soon = Instant::now() + Duration::from_millis(1);
            assert!(!pending.lead_or_follow(follower, Some(soon)));
            assert!(pending.lock().followers.is_empty());
        }
    }

    /// The call is in the list, and its thread does not wait yet.
    #[test]
    fn a_thread_about_to_wait_gets_the_lead_too() {
        let pending = Pending::new(8);
        let (leader, follower) = (begun(&pending), begun(&pending));
        assert!(pending.lead_or_follow(leader, None));
        pending.lock().followers.push_back(follower);
        pending.stop_leading();
        let deadline = Instant::now() + Duration::from_secs(60);
        pending.follow(follower, Some(deadline));
        assert!(Instant::now() < deadline, "it was not offered the lead");
    }

    #[test]
    fn the_lead_passes_to_a_waiting_thread() {
        let pending = Arc::new(Pending::new(8));
        let (leader, follower) = (begun(&pending), begun(&pending));
        assert!(pending.lead_or_follow(leader, None));
        let waiting = thread::spawn({
            let pending = pending.clone();
            move || assert!(pending.lead_or_follow(follower, None), "the offer was dropped")
        });
        while pending.lock().followers.is_empty() {
            thread::yield_now();
        }
        pending.stop_leading();
        waiting.join().unwrap();
        assert!(pending.lock().led && pending.lock().followers.is_empty());
    }

    #[test]
    fn a_call_says_that_the_server_ended_while_it_was_open() {
        let reset = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        let other = std::io::Error::other("something else");
        let ended = "the server has ended while this call was open";
        let reasons = [
            (CloseReason::PeerClosed, format!("the connection broke: {ended}")),
            (reset.into(), format!("the connection broke: {ended}: ")),
            (other.into(), "the connection broke: something else".to_owned()),
        ];
        for (reason, text) in reasons {
            let pending = Pending::new(8);
            let call = begun(&pending);
            pending.close(&reason);
            let Some(Outcome::Closed(said)) = pending.collect(call) else { panic!("{reason}") };
            assert!(said.to_string().starts_with(&text), "{said}");
        }
    }

    #[test]
    fn calls_begin_together_or_not_at_all() {
        let pending = Pending::new(8);
        for (count, begins) in [(7, true), (2, false), (1, true), (1, false), (0, true)] {
            let mut ids = Vec::new();
            assert_eq!(pending.begin(count, None, |id| ids.push(id)).is_ok(), begins, "{count}");
            assert_eq!(ids.len(), if begins { count } else { 0 });
        }
    }
}
