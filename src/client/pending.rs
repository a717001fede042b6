//! What the threads that share a client share: the calls that wait, and whose turn it is to read.

use super::lead::Inbox;
use crate::error::{CloseReason, ErrorReply};
use crate::exchange::{Calls, Envelope, Kind, TooMany};
use bytes::Bytes;
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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

/// Where a call's outcome is put, and who waits for it.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// There is an outcome, or was before it was taken. Set with the state locked.
    finished: AtomicBool,
    /// Where in the stream its request ends; 0 as long as it is not queued.
    end: AtomicU64,
    state: Mutex<SlotState>,
}

#[derive(Debug, Default)]
struct SlotState {
    outcome: Option<Outcome>,
    /// The thread that waits without reading.
    waiter: Option<Thread>,
    /// Nobody reads any more: the waiter should.
    lead: bool,
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, SlotState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its request has been queued and ends there.
    pub fn queued(&self, end: u64) {
        self.end.store(end, Ordering::Relaxed);
    }

    /// Where its request ends; behind everything if it was never queued.
    pub fn end(&self) -> u64 {
        match self.end.load(Ordering::Relaxed) {
            0 => u64::MAX,
            end => end,
        }
    }

    pub fn take(&self) -> Option<Outcome> {
        self.lock().outcome.take()
    }

    pub fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Acquire)
    }

    fn finish(&self, outcome: Outcome) {
        let mut state = self.lock();
        state.outcome = Some(outcome);
        self.finished.store(true, Ordering::Release);
        if let Some(waiter) = state.waiter.take() {
            drop(state);
            waiter.unpark();
        }
    }

    /// Asks whoever waits, or is about to, to read from now on; `false` if the call has ended.
    fn offer_lead(&self) -> bool {
        let mut state = self.lock();
        if self.is_finished() {
            return false;
        }
        state.lead = true;
        if let Some(waiter) = state.waiter.take() {
            drop(state);
            waiter.unpark();
        }
        true
    }

    /// Waits until there is an outcome, until this thread should read, or until the deadline.
    fn wait(&self, deadline: Option<Instant>) {
        let mut state = self.lock();
        while !self.is_finished() && !std::mem::take(&mut state.lead) {
            let now = Instant::now();
            if deadline.is_some_and(|at| at <= now) {
                break;
            }
            state.waiter = Some(thread::current());
            drop(state);
            match deadline {
                Some(at) => thread::park_timeout(at - now),
                None => thread::park(),
            }
            state = self.lock();
        }
        state.waiter = None;
    }
}

/// The calls of a client.
#[derive(Debug)]
pub(super) struct Pending {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    calls: Calls<Arc<Slot>>,
    /// A thread reads.
    led: bool,
    /// Calls whose threads wait for the one that reads.
    followers: VecDeque<Arc<Slot>>,
    closed: Option<CloseReason>,
}

/// Why a call cannot begin.
pub(super) enum NotBegun {
    TooMany(TooMany),
    Closed(CloseReason),
}

impl Pending {
    pub fn new(limit: usize) -> Pending {
        let calls = Calls::new(limit);
        Pending {
            state: Mutex::new(State {
                calls,
                led: false,
                followers: VecDeque::new(),
                closed: None,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn begin(&self, deadline: Option<Instant>) -> Result<(u32, Arc<Slot>), NotBegun> {
        let mut state = self.lock();
        if let Some(reason) = &state.closed {
            return Err(NotBegun::Closed(reason.clone()));
        }
        let slot = Arc::new(Slot::default());
        let id = state.calls.register(deadline, slot.clone()).map_err(NotBegun::TooMany)?;
        Ok((id, slot))
    }

    /// Whether there is no place for another call.
    pub fn is_full(&self) -> bool {
        self.lock().calls.is_full()
    }

    /// Nobody will ask for this call's outcome.
    pub fn abandon(&self, id: u32) {
        self.lock().calls.abandon(id);
    }

    /// The call's request was not sent, and will not be.
    pub fn withdraw(&self, id: u32, outcome: Outcome) {
        let withdrawn = self.lock().calls.withdraw(id);
        if let Some(slot) = withdrawn {
            slot.finish(outcome);
        }
    }

    /// Ends the calls whose time is over.
    pub fn expire(&self, now: Instant) {
        let expired = self.lock().calls.expire(now);
        expired.iter().for_each(|slot| slot.finish(Outcome::Deadline));
    }

    /// Why the connection has ended, if it has.
    pub fn closed(&self) -> Option<CloseReason> {
        self.lock().closed.clone()
    }

    /// Ends all calls, and every later one.
    fn close(&self, reason: &CloseReason) {
        let mut state = self.lock();
        state.closed.get_or_insert_with(|| reason.clone());
        let waiting = state.calls.close();
        drop(state);
        // For a connection it is a normal end; for a call that was open it is not.
        let ended = match reason {
            CloseReason::Finished => {
                let text = "the server went with this call open";
                io::Error::new(io::ErrorKind::UnexpectedEof, text).into()
            }
            reason => reason.clone(),
        };
        waiting.iter().for_each(|slot| slot.finish(Outcome::Closed(ended.clone())));
    }

    /// Takes the right to read, or waits while another thread has it: until that thread has put an
    /// outcome into `slot` or stopped reading, or until the deadline. `true`: the right was taken.
    pub fn lead_or_follow(&self, slot: &Arc<Slot>, deadline: Option<Instant>) -> bool {
        let mut state = self.lock();
        if !state.led {
            state.led = true;
            return true;
        }
        state.followers.push_back(slot.clone());
        drop(state);
        slot.wait(deadline);
        let mut state = self.lock();
        state.followers.retain(|follower| !Arc::ptr_eq(follower, slot));
        // Whoever was asked to read but leaves passes the question on.
        if !state.led && (slot.is_finished() || deadline.is_some_and(|at| at <= Instant::now())) {
            state.offer_lead();
        }
        false
    }
}

impl State {
    fn offer_lead(&mut self) {
        while let Some(follower) = self.followers.pop_front() {
            if follower.offer_lead() {
                return;
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

    fn deliver(&self, mut message: Bytes) -> Result<(), String> {
        let envelope = Envelope::decode(&mut message).map_err(|error| error.to_string())?;
        let outcome = match envelope.kind {
            Kind::Reply => Outcome::Reply(message),
            Kind::Error { code } => {
                let text = String::from_utf8_lossy(&message).into_owned();
                Outcome::Error(ErrorReply::new(code, text))
            }
            Kind::Request => return Err(format!("request {} to a client", envelope.id)),
        };
        let completed = self.lock().calls.complete(envelope.id);
        if let Some(slot) = completed.map_err(|error| error.to_string())? {
            slot.finish(outcome);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn begun(pending: &Pending) -> Arc<Slot> {
        pending.begin(None).map(|(_, slot)| slot).unwrap_or_else(|_| panic!("no place"))
    }

    #[test]
    fn who_stops_waiting_is_forgotten() {
        let pending = Pending::new(8);
        let (leader, follower) = (begun(&pending), begun(&pending));
        assert!(pending.lead_or_follow(&leader, None));
        for _ in 0..3 {
            let soon = Instant::now() + Duration::from_millis(1);
            assert!(!pending.lead_or_follow(&follower, Some(soon)));
            assert!(pending.lock().followers.is_empty());
        }
    }

    /// It stands in the list, and its thread has not come to wait yet.
    #[test]
    fn who_is_about_to_wait_is_asked_too() {
        let pending = Pending::new(8);
        let (leader, follower) = (begun(&pending), begun(&pending));
        assert!(pending.lead_or_follow(&leader, None));
        pending.lock().followers.push_back(follower.clone());
        pending.stop_leading();
        let deadline = Instant::now() + Duration::from_secs(60);
        follower.wait(Some(deadline));
        assert!(Instant::now() < deadline, "it was not asked");
    }

    #[test]
    fn the_right_to_read_passes_to_one_who_waits() {
        let pending = Arc::new(Pending::new(8));
        let (leader, follower) = (begun(&pending), begun(&pending));
        assert!(pending.lead_or_follow(&leader, None));
        let waiting = thread::spawn({
            let pending = pending.clone();
            move || while !pending.lead_or_follow(&follower, None) {}
        });
        while pending.lock().followers.is_empty() {
            thread::yield_now();
        }
        pending.stop_leading();
        waiting.join().unwrap();
        assert!(pending.lock().led && pending.lock().followers.is_empty());
    }
}
