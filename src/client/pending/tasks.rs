//! Tasks of the async client: how they wait for calls, and for what the server lets them send.

use super::Pending;
use super::slot::Who;
use super::state::State;
use super::waiting::{Until, Waited, Waiting};
use crate::exchange::Config;
use std::task::Waker;
use std::time::Instant;

impl State {
    fn is_met(&self, until: Until) -> bool {
        match until {
            Until::Settled => self.machine.peer_settings().is_some(),
            Until::MayNotify => self.may_notify(),
            Until::MayCall => self.closed.is_none() && self.check_room(1).is_ok(),
            Until::Room { id, bytes } => self.has_room(id, bytes),
        }
    }

    /// Passes on all tasks: the connection has ended.
    pub(super) fn wake_all_tasks(&mut self) {
        let waiting = std::mem::take(&mut self.tasks.waiting);
        self.woken.extend(waiting.into_values().map(|wait| Who::Task(wait.task)));
    }

    /// Passes on the tasks that wait to call, if one may.
    pub(super) fn wake_callers(&mut self) {
        if self.tasks.waiting.is_empty() || self.check_room(1).is_err() {
            return;
        }
        let waiting = std::mem::take(&mut self.tasks.waiting);
        let calls = |wait: &Waiting| wait.until == Until::MayCall;
        let (over, left) = waiting.into_iter().partition(|(_, wait)| calls(wait));
        let over: std::collections::BTreeMap<u64, Waiting> = over;
        self.tasks.waiting = left;
        self.woken.extend(over.into_values().map(|wait| Who::Task(wait.task)));
    }

    /// Passes on the tasks for which something has come, or the deadline has passed.
    fn wake_tasks(&mut self, now: Instant) {
        let is_over =
            |wait: &Waiting| wait.deadline.is_some_and(|at| at <= now) || self.is_met(wait.until);
        let waiting = &self.tasks.waiting;
        let over: Vec<u64> =
            waiting.iter().filter(|(_, wait)| is_over(wait)).map(|(key, _)| *key).collect();
        let waiting = &mut self.tasks.waiting;
        let over = over.iter().filter_map(|key| waiting.remove(key));
        self.woken.extend(over.map(|wait| Who::Task(wait.task)));
    }
}

impl Pending {
    /// The calls of a client with another clock than the system's.
    pub fn with_clock(config: Config, clock: fn() -> Instant) -> Pending {
        let pending = Pending::new(config);
        pending.lock().clock = clock;
        pending
    }

    /// Has this task woken when something can be taken of a call, or of what the server sends unasked. `false`: it can be
    /// now. The task that watched before is not woken any more.
    pub fn watch(&self, id: u32, task: &Waker) -> bool {
        let mut state = self.lock();
        let Some(waiter) = state.waiting(id) else {
            return false;
        };
        let is_same = matches!(&waiter.who, Some(Who::Task(before)) if before.will_wake(task));
        // Not dropped under the lock, as all of others.
        let before = if is_same { None } else { waiter.who.replace(Who::Task(task.clone())) };
        drop(state);
        drop(before);
        true
    }

    /// Has this task woken when it need not wait any more. `key` is the wait's own; it is `None` before and after it.
    pub fn wait_until(
        &self,
        key: &mut Option<u64>,
        until: Until,
        deadline: Option<Instant>,
        task: &Waker,
    ) -> Waited {
        let mut state = self.lock();
        let now = deadline.map(|at| (at, (state.clock)()));
        let waited = match &state.closed {
            _ if state.is_met(until) => Waited::Met,
            Some(reason) => Waited::Closed(reason.clone()),
            None if now.is_some_and(|(at, now)| at <= now) => Waited::Late,
            None => Waited::NotYet,
        };
        let tasks = &mut state.tasks;
        tasks.kept += usize::from(matches!((&waited, until), (Waited::Met, Until::MayCall)));
        let before = match &waited {
            Waited::NotYet => {
                let key = *key.get_or_insert_with(|| {
                    tasks.last_key += 1;
                    tasks.last_key
                });
                tasks.waiting.insert(key, Waiting { until, deadline, task: task.clone() })
            }
            _ => key.take().and_then(|key| tasks.waiting.remove(&key)),
        };
        drop(state);
        drop(before);
        waited
    }

    /// The place of a call is not kept any more.
    #[cfg(feature = "tower")]
    pub fn give_back_place(&self) {
        let mut state = self.lock();
        state.tasks.kept -= 1;
        state.wake_callers();
    }

    /// Nobody waits with this key any more.
    pub fn stop_waiting(&self, key: u64) {
        let mut state = self.lock();
        let task = state.tasks.waiting.remove(&key);
        drop(state);
        drop(task);
    }

    /// Ends the calls with passed deadlines, and wakes the tasks that need not wait any more. Returns when there is more to
    /// end.
    pub fn tick(&self, now: Instant) -> Option<Instant> {
        let mut state = self.lock();
        state.machine.expire(now);
        state.hear();
        state.wake_tasks(now);
        let waiting = state.tasks.waiting.values().filter_map(|wait| wait.deadline);
        waiting.chain(state.machine.next_deadline()).min()
    }

    /// How many tasks wait for something besides a reply.
    #[cfg(test)]
    pub fn waiting_tasks(&self) -> usize {
        self.lock().tasks.waiting.len()
    }
}
