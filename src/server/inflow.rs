//! The parts of a request on their way from the server's loop to the thread that takes them.

use super::changed::Changed;
use crate::clock;
use crate::exchange::{Charge, MESSAGE_COST};
use crate::sync::{Mutex, MutexGuard};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::PoisonError;
use std::time::Instant;

/// So many bytes of taken parts are given back together while more wait: the loop is not woken for each.
const GIVEN_BACK: u64 = 64 * 1024;

/// How a request of parts ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestEnd {
    Complete,
    /// The client gave up: the parts are incomplete.
    Incomplete,
    /// The call is over.
    Cancelled,
}

/// The next thing for the application.
#[derive(Debug)]
pub(super) enum Taken {
    Part(Bytes),
    End(RequestEnd),
    /// Not yet.
    Nothing,
}

/// What parts hold until they are taken, or are of no more use.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Held {
    pub charge: Charge,
    /// The bytes of memory.
    pub bytes: usize,
}

impl Held {
    /// What a part of so many bytes holds. `memory`: that its buffer takes.
    pub fn of(charge: Charge, memory: usize) -> Held {
        Held { charge, bytes: memory + MESSAGE_COST as usize }
    }

    fn add(&mut self, other: Held) {
        self.charge.add(other.charge);
        self.bytes += other.bytes;
    }
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Inflow {
    state: Mutex<State>,
    changed: Changed,
}

#[derive(Debug, Default)]
struct State {
    parts: VecDeque<(Bytes, Held)>,
    end: Option<RequestEnd>,
    /// What the parts held that were taken; the loop gives it back.
    freed: Held,
    /// The loop will look for it, and has not done it yet.
    is_told: bool,
    /// The application takes no more.
    is_left: bool,
    /// Nothing counts any more: the call is over.
    is_over: bool,
}

impl Inflow {
    /// A request of one message, of which nothing is counted.
    pub fn of_one(body: Bytes) -> Inflow {
        let inflow = Inflow::default();
        let mut state = inflow.lock();
        state.parts.push_back((body, Held::default()));
        (state.end, state.is_over) = (Some(RequestEnd::Complete), true);
        drop(state);
        inflow
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bytes of memory of the parts that wait.
    pub fn bytes(&self) -> usize {
        self.lock().parts.iter().map(|(_, held)| held.bytes).sum()
    }

    /// For the loop: a part has arrived. `false`: nobody takes it.
    pub fn push(&self, part: Bytes, held: Held) -> bool {
        let mut state = self.lock();
        if state.is_left || state.is_over {
            return false;
        }
        state.parts.push_back((part, held));
        drop(state);
        drop(self.changed.notify());
        true
    }

    /// For the loop: the request has ended. The first end counts.
    pub fn end(&self, end: RequestEnd) {
        self.lock().end.get_or_insert(end);
        drop(self.changed.notify());
    }

    /// For the loop: what the taken parts held, and whether no more are wanted.
    pub fn take_freed(&self) -> (Held, bool) {
        let mut state = self.lock();
        state.is_told = false;
        (std::mem::take(&mut state.freed), state.is_left)
    }

    /// For the loop: the call is over. Returns what all its parts hold.
    pub fn cancel(&self) -> Held {
        let mut state = self.lock();
        if std::mem::replace(&mut state.is_over, true) {
            return Held::default();
        }
        if !state.parts.is_empty() || state.end.is_none() {
            state.end = Some(RequestEnd::Cancelled);
        }
        let parts = std::mem::take(&mut state.parts);
        let mut held = std::mem::take(&mut state.freed);
        drop(state);
        drop(self.changed.notify());
        parts.iter().for_each(|(_, it)| held.add(*it));
        held
    }

    /// For the application: the next part or the end, if it is there. Returns whether the loop has to be told.
    pub fn take(&self) -> (Taken, bool) {
        self.lock().take()
    }

    /// For the application: as [`take`](Inflow::take), after waiting until then.
    pub fn wait(&self, until: Option<Instant>) -> (Taken, bool) {
        let mut state = self.lock();
        loop {
            let (taken, tells) = state.take();
            let left = until.map(|at| at.saturating_duration_since(clock::now()));
            if !matches!(taken, Taken::Nothing) || left.is_some_and(|left| left.is_zero()) {
                return (taken, tells);
            }
            state = match left {
                None => self.changed.wait(state),
                Some(left) => self.changed.wait_within(state, left),
            };
        }
    }

    /// For the application: as [`take`](Inflow::take); if there is nothing, this task is woken when there may be.
    #[cfg(feature = "tokio")]
    pub fn take_or_watch(&self, task: &std::task::Waker) -> (Taken, bool) {
        let mut state = self.lock();
        let taken = state.take();
        let before = match taken.0 {
            Taken::Nothing => self.changed.watch(task),
            _ => None,
        };
        drop(state);
        drop(before);
        taken
    }

    /// For the application: it takes no more. Returns whether the loop has to be told.
    pub fn leave(&self) -> bool {
        let mut state = self.lock();
        state.is_left = true;
        let parts = std::mem::take(&mut state.parts);
        parts.iter().for_each(|(_, it)| state.freed.add(*it));
        let tells = !state.is_over && !std::mem::replace(&mut state.is_told, true);
        drop(state);
        drop(parts); // not under the lock: they may be large
        tells
    }
}

impl State {
    fn take(&mut self) -> (Taken, bool) {
        let Some((part, held)) = self.parts.pop_front() else {
            return (self.end.map_or(Taken::Nothing, Taken::End), false);
        };
        if self.is_over {
            return (Taken::Part(part), false);
        }
        self.freed.add(held);
        let is_due = self.parts.is_empty() || self.freed.charge.connection >= GIVEN_BACK;
        let tells = is_due && !std::mem::replace(&mut self.is_told, true);
        (Taken::Part(part), tells)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(size: u64) -> Held {
        Held::of(Charge { call: size, connection: size }, size as usize)
    }

    fn part(inflow: &Inflow, size: u64) -> bool {
        inflow.push(vec![0; size as usize].into(), held(size))
    }

    #[test]
    fn parts_come_in_order_and_then_the_end() {
        let inflow = Inflow::default();
        assert!(matches!(inflow.take(), (Taken::Nothing, false)));
        assert!(part(&inflow, 1) && part(&inflow, 2));
        inflow.end(RequestEnd::Complete);
        inflow.end(RequestEnd::Incomplete);
        assert!(matches!(inflow.take().0, Taken::Part(it) if it.len() == 1));
        assert!(matches!(inflow.wait(None).0, Taken::Part(it) if it.len() == 2));
        for _ in 0..2 {
            assert!(matches!(inflow.wait(None), (Taken::End(RequestEnd::Complete), false)));
        }
    }

    #[test]
    fn the_loop_is_told_at_the_bound_and_when_nothing_waits() {
        for (size, tells) in [(GIVEN_BACK - 1, false), (GIVEN_BACK, true), (GIVEN_BACK + 1, true)] {
            let inflow = Inflow::default();
            assert!(part(&inflow, size) && part(&inflow, 1));
            assert_eq!(inflow.take().1, tells);
            assert_eq!(inflow.take().1, !tells, "nothing waits");
            let (freed, is_left) = inflow.take_freed();
            assert_eq!((freed.charge.call, is_left), (size + 1, false));
            assert!(part(&inflow, 1) && inflow.take().1, "it is told again");
        }
    }

    #[test]
    fn all_is_given_back_once() {
        for taken in 0..3 {
            let inflow = Inflow::default();
            assert!(part(&inflow, 10) && part(&inflow, 20));
            (0..taken).for_each(|_| drop(inflow.take()));
            let all = inflow.cancel();
            assert_eq!((all.charge.connection, all.bytes), (30, 30 + 2 * MESSAGE_COST as usize));
            assert_eq!(inflow.cancel().bytes + inflow.take_freed().0.bytes, 0);
            assert!(!part(&inflow, 1) && !inflow.leave());
            assert!(matches!(inflow.take().0, Taken::End(RequestEnd::Cancelled)));
        }
    }

    #[test]
    fn who_leaves_gives_all_back_and_gets_no_more() {
        let inflow = Inflow::default();
        assert!(part(&inflow, 10) && part(&inflow, 20));
        assert!(inflow.leave() && !part(&inflow, 30));
        let (freed, is_left) = inflow.take_freed();
        assert_eq!((freed.charge.call, is_left), (30, true));
    }

    #[test]
    fn who_waits_is_woken_by_a_part_an_end_and_a_cancel() {
        let inflow = Inflow::default();
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| inflow.wait(None).0);
            assert!(part(&inflow, 1));
            assert!(matches!(waits.join().unwrap(), Taken::Part(_)));
            let waits = scope.spawn(|| inflow.wait(None).0);
            let _ = inflow.cancel();
            assert!(matches!(waits.join().unwrap(), Taken::End(RequestEnd::Cancelled)));
        });
        let inflow = Inflow::default();
        assert!(matches!(inflow.wait(Some(clock::now())).0, Taken::Nothing));
    }
}
