//! The parts of a reply, or the notifications for a client, on their way from the threads that make them to the
//! server's loop.

use super::changed::Changed;
use crate::account::{Charge, Share};
use crate::clock;
use crate::error::ErrorReply;
use crate::exchange::Message;
use crate::sync::{Mutex, MutexGuard};
use std::collections::VecDeque;
use std::sync::PoisonError;
use std::time::Instant;

/// The bytes of parts of one reply that wait for the server's loop: several parts of 64 KiB, so that neither
/// thread waits for the other at each part. One part may always wait, of any size and uncharged: without that its
/// thread would hold it.
pub(super) const WAITING_MAX: usize = 512 * 1024;

/// How a reply of parts ends.
#[derive(Debug)]
pub(super) enum Ending {
    Complete,
    Failed(Box<ErrorReply>),
    /// Its sender gave up: the parts are incomplete.
    Broken,
}

/// The next thing that the loop takes.
#[derive(Debug)]
pub(super) enum Next {
    Part(Message),
    End(Ending),
    /// It is told of more.
    Nothing,
    /// It does not take it now.
    Later,
}

/// Why a part was not taken.
#[derive(Debug)]
pub(super) enum Refused {
    /// Nobody waits for parts any more.
    Gone,
    Full(Message),
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Flow {
    state: Mutex<State>,
    changed: Changed,
}

#[derive(Debug)]
struct State {
    parts: VecDeque<Message>,
    /// The cost of all of them.
    bytes: usize,
    /// The loop has the first part, which keeps its place: no other one may wait uncharged.
    keeps_place: bool,
    /// But the newest does, which nobody waits to send: see [`push_over`](Flow::push_over).
    has_one_over: bool,
    /// The parts but for the first count as memory of the client.
    charge: Charge,
    ending: Option<Ending>,
    is_gone: bool,
    /// No thread is to wait any more.
    is_stopping: bool,
    /// How many threads wait for room.
    waiters: usize,
    /// The loop will look for parts, and has not done it yet.
    is_told: bool,
}

/// What a part costs.
fn cost(part: &Message) -> usize {
    part.charge() as usize
}

impl Flow {
    pub fn new(share: Share) -> Flow {
        let state = State {
            parts: VecDeque::new(),
            bytes: 0,
            keeps_place: false,
            has_one_over: false,
            charge: Charge::new(share),
            ending: None,
            is_gone: false,
            is_stopping: false,
            waiters: 0,
            is_told: false,
        };
        Flow { state: Mutex::new(state), changed: Changed::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a part. `waits`: until there is room. Returns whether the loop has to be told.
    pub fn push(&self, part: Message, waits: bool) -> Result<bool, Refused> {
        self.push_until(part, waits, None)
    }

    /// As [`push`](Flow::push). It waits until then at the latest.
    pub fn push_until(
        &self,
        part: Message,
        waits: bool,
        until: Option<Instant>,
    ) -> Result<bool, Refused> {
        let mut state = self.lock();
        while !state.is_gone && state.ending.is_none() && !state.has_room(&part) {
            if waits && state.is_stopping {
                return Err(Refused::Gone);
            }
            let left = until.map(|until| until.saturating_duration_since(clock::now()));
            if !waits || left.is_some_and(|left| left.is_zero()) {
                return Err(Refused::Full(part));
            }
            state.waiters += 1;
            state = match left {
                None => self.changed.wait(state),
                Some(left) => self.changed.wait_within(state, left),
            };
            state.waiters -= 1;
        }
        if state.is_gone || state.ending.is_some() {
            return Err(Refused::Gone);
        }
        Ok(state.add(part))
    }

    /// Adds a part, as [`push`](Flow::push); if there is no room this task is woken when there may be. A server that stops
    /// is to be waited for no more.
    #[cfg(feature = "tokio")]
    pub fn push_or_watch(&self, part: Message, task: &std::task::Waker) -> Result<bool, Refused> {
        let mut state = self.lock();
        if state.is_gone || state.ending.is_some() {
            return Err(Refused::Gone);
        }
        if state.has_room(&part) {
            return Ok(state.add(part));
        }
        if state.is_stopping {
            return Err(Refused::Gone);
        }
        let before = self.changed.watch(task);
        drop(state);
        drop(before);
        Err(Refused::Full(part))
    }

    /// Adds a part, for which the oldest that wait are dropped if there is no room. Returns whether the loop has to be
    /// told, and how many were dropped. If the loop has the first one, the newest waits all the same, as it says what
    /// the state is. It is not charged: who reads nothing would take the memory that others need.
    pub fn push_over(&self, part: Message) -> Result<(bool, usize), Refused> {
        let mut dropped = Vec::new();
        let mut state = self.lock();
        if state.is_gone {
            return Err(Refused::Gone);
        }
        while !state.has_room(&part) {
            let Some(oldest) = state.take_first(false) else {
                state.has_one_over = true;
                break;
            };
            dropped.push(oldest);
        }
        let tells = state.add(part);
        drop(state);
        Ok((tells, dropped.len()))
    }

    /// Ends the reply after the parts that wait. Returns whether the loop has to be told.
    pub fn end(&self, ending: Ending) -> bool {
        let mut state = self.lock();
        state.ending = Some(ending);
        let tells = !std::mem::replace(&mut state.is_told, true);
        drop(state);
        drop(self.changed.notify());
        tells
    }

    /// For the loop. `takes`: whether it takes something that costs so much, 0 for what is no part, and whether the part
    /// keeps its place: if there is no memory for it elsewhere, its place is free only after
    /// [`free_place`](Flow::free_place). It is asked under the lock, so that it is asked about what is taken.
    pub fn next(&self, takes: impl FnOnce(usize) -> Option<bool>) -> Next {
        let mut state = self.lock();
        let Some(keeps_place) = takes(state.parts.front().map_or(0, cost)) else {
            return Next::Later;
        };
        if let Some(part) = state.take_first(keeps_place) {
            if !keeps_place {
                self.tell_of_room(state);
            }
            return Next::Part(part);
        }
        if let Some(ending) = state.ending.take() {
            return Next::End(ending);
        }
        state.is_told = false;
        Next::Nothing
    }

    /// The part that kept its place has been handed over for sending.
    pub fn free_place(&self) {
        let mut state = self.lock();
        state.keeps_place = false;
        state.settle();
        self.tell_of_room(state);
    }

    fn tell_of_room(&self, state: MutexGuard<'_, State>) {
        // Not for each part: a thread that is woken sends several.
        let has_room = state.bytes <= WAITING_MAX / 4;
        if has_room && (state.waiters > 0 || self.changed.has_task()) {
            drop(state);
            drop(self.changed.notify());
        }
    }

    /// Threads that wait for room are told that there is none any more: the server stops.
    pub fn stop_waiting(&self) {
        self.lock().is_stopping = true;
        drop(self.changed.notify());
    }

    /// Whether nobody waits for parts any more.
    pub fn is_gone(&self) -> bool {
        self.lock().is_gone
    }

    /// Nobody waits for parts any more: those that wait are dropped, and who waits to send is told.
    pub fn close(&self) {
        let mut state = self.lock();
        state.is_gone = true;
        let dropped = std::mem::take(&mut state.parts);
        (state.bytes, state.has_one_over) = (0, false);
        state.settle();
        drop(state);
        drop(self.changed.notify());
        drop(dropped); // not under the lock: they may be large
    }
}

impl State {
    fn has_room(&self, part: &Message) -> bool {
        let is_small = self.bytes + cost(part) <= WAITING_MAX;
        let is_first = self.parts.is_empty() && !self.keeps_place;
        is_first || is_small && !self.charge.share().is_half_used()
    }

    /// Returns whether the loop has to be told.
    fn add(&mut self, part: Message) -> bool {
        self.bytes += cost(&part);
        self.parts.push_back(part);
        self.settle();
        !std::mem::replace(&mut self.is_told, true)
    }

    fn take_first(&mut self, keeps_place: bool) -> Option<Message> {
        let first = self.parts.pop_front()?;
        self.keeps_place |= keeps_place;
        self.bytes -= cost(&first);
        self.has_one_over = false;
        self.settle();
        Some(first)
    }

    fn settle(&mut self) {
        let is_free = !self.keeps_place || self.has_one_over;
        let first = self.parts.front().filter(|_| is_free).map_or(0, cost);
        self.charge.set(self.bytes - first);
    }
}
