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
            charge: Charge::new(share),
            ending: None,
            is_gone: false,
            is_stopping: false,
            waiters: 0,
            is_told: false,
        };
        Flow { state: Mutex::new(state), changed: Changed::default() }
    }

    /// What the next part costs.
    pub fn next_cost(&self) -> usize {
        self.lock().parts.front().map_or(0, cost)
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
    /// told, and how many were dropped.
    pub fn push_over(&self, part: Message) -> Result<(bool, usize), Refused> {
        let mut dropped = Vec::new();
        let mut state = self.lock();
        if state.is_gone {
            return Err(Refused::Gone);
        }
        while !state.has_room(&part) {
            let oldest = state.parts.pop_front();
            state.bytes -= oldest.as_ref().map_or(0, cost);
            state.settle();
            dropped.extend(oldest);
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

    /// For the loop.
    pub fn next(&self) -> Next {
        let mut state = self.lock();
        if let Some(part) = state.parts.pop_front() {
            state.bytes -= cost(&part);
            state.settle();
            // Not for each part: a thread that is woken sends several.
            let has_room = state.bytes <= WAITING_MAX / 4;
            if has_room && (state.waiters > 0 || self.changed.has_task()) {
                drop(state);
                drop(self.changed.notify());
            }
            return Next::Part(part);
        }
        if let Some(ending) = state.ending.take() {
            return Next::End(ending);
        }
        state.is_told = false;
        Next::Nothing
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
        state.bytes = 0;
        state.settle();
        drop(state);
        drop(self.changed.notify());
        drop(dropped); // not under the lock: they may be large
    }
}

impl State {
    fn has_room(&self, part: &Message) -> bool {
        let is_small = self.bytes + cost(part) <= WAITING_MAX;
        self.parts.is_empty() || is_small && !self.charge.share().is_half_used()
    }

    /// Returns whether the loop has to be told.
    fn add(&mut self, part: Message) -> bool {
        self.bytes += cost(&part);
        self.parts.push_back(part);
        self.settle();
        !std::mem::replace(&mut self.is_told, true)
    }

    fn settle(&mut self) {
        let first = self.parts.front().map_or(0, cost);
        self.charge.set(self.bytes - first);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::MESSAGE_COST;
    use crate::{Account, Limits, Peer};

    fn flow() -> (Flow, Account) {
        let account = Account::new(Limits::default());
        (Flow::new(account.share(&Peer::default())), account)
    }

    fn part(cost: usize) -> Message {
        Message::new(vec![0; cost - MESSAGE_COST as usize].into(), false)
    }

    #[test]
    fn the_bytes_that_wait_have_a_limit_and_one_part_may_be_over_it() {
        for (second, fits) in
            [(WAITING_MAX / 2 - 1, true), (WAITING_MAX / 2, true), (WAITING_MAX / 2 + 1, false)]
        {
            let (flow, _) = flow();
            assert!(flow.push(part(WAITING_MAX / 2), false).unwrap(), "the loop is told");
            match flow.push(part(second), false) {
                Ok(tells) => assert!(fits && !tells),
                Err(refused) => assert!(!fits && matches!(refused, Refused::Full(_))),
            }
        }
        assert!(flow().0.push(part(10 * WAITING_MAX), false).is_ok());
    }

    #[test]
    fn what_waits_is_charged_until_it_is_taken_or_nobody_waits() {
        let (flow, account) = flow();
        flow.push(part(100), false).unwrap();
        flow.push(part(200), false).unwrap();
        flow.push(part(300), false).unwrap();
        assert_eq!(account.held(), 500, "all but the first");
        assert!(matches!(flow.next(), Next::Part(first) if first.body.len() == 36));
        assert_eq!(account.held(), 300);
        flow.close();
        assert_eq!(account.held(), 0);
        assert!(matches!(flow.push(part(100), true), Err(Refused::Gone)));
    }

    #[test]
    fn one_part_waits_if_half_of_the_memory_is_used() {
        let (flow, account) = flow();
        let share = account.share(&Peer::default());
        share.charge(Limits::default().memory / 2);
        flow.push(part(100), false).unwrap();
        assert!(matches!(flow.push(part(100), false), Err(Refused::Full(_))));
        share.release(1);
        flow.push(part(100), false).unwrap();
        share.release(Limits::default().memory / 2 - 1);
    }

    #[test]
    fn the_end_comes_after_the_parts_also_if_nobody_waits() {
        let (flow, _) = flow();
        flow.push(part(100), false).unwrap();
        assert!(!flow.end(Ending::Complete), "it was told of the part");
        assert!(matches!(flow.next(), Next::Part(_)));
        assert!(matches!(flow.next(), Next::End(Ending::Complete)));
        assert!(matches!(flow.next(), Next::Nothing));
        flow.close();
        assert!(flow.end(Ending::Broken));
        assert!(matches!(flow.next(), Next::End(Ending::Broken)));
    }

    #[test]
    fn who_waits_to_send_goes_on_when_there_is_room_and_when_nobody_waits() {
        let (flow, _) = flow();
        flow.push(part(WAITING_MAX), false).unwrap();
        std::thread::scope(|scope| {
            let sender = scope.spawn(|| flow.push(part(100), true));
            assert!(matches!(flow.next(), Next::Part(_)));
            assert!(sender.join().unwrap().is_ok());
            flow.push(part(WAITING_MAX - 100), false).unwrap();
            let sender = scope.spawn(|| flow.push(part(100), true));
            flow.close();
            assert!(matches!(sender.join().unwrap(), Err(Refused::Gone)));
        });
    }
}
