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
            Until::Room { id, bytes } => self.has_room(id, bytes),
        }
    }

    /// Passes on all tasks: the connection has ended.
    pub(super) fn wake_all_tasks(&mut self) {
        self.woken.extend(self.tasks.waiting.drain(..).map(|task| task.task));
    }

    /// Passes on the tasks for which something has come, or the deadline has passed.
    fn wake_tasks(&mut self, now: Instant) {
        if self.tasks.waiting.is_empty() {
            return;
        }
        let mut waiting = std::mem::take(&mut self.tasks.waiting);
        let mut at = 0;
        while let Some(task) = waiting.get(at) {
            let is_late = task.deadline.is_some_and(|deadline| deadline <= now);
            match is_late || self.is_met(task.until) {
                true => self.woken.push(waiting.swap_remove(at).task),
                false => at += 1,
            }
        }
        self.tasks.waiting = waiting;
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
        let known = key.and_then(|key| tasks.waiting.iter().position(|it| it.key == key));
        let before = match (&waited, known) {
            (Waited::NotYet, Some(at)) => {
                Some(std::mem::replace(&mut tasks.waiting[at].task, task.clone()))
            }
            (Waited::NotYet, None) => {
                tasks.last_key += 1;
                *key = Some(tasks.last_key);
                let key = tasks.last_key;
                tasks.waiting.push(Waiting { key, until, deadline, task: task.clone() });
                None
            }
            (_, known) => {
                *key = None;
                known.map(|at| tasks.waiting.swap_remove(at).task)
            }
        };
        drop(state);
        drop(before);
        waited
    }

    /// Nobody waits with this key any more.
    pub fn stop_waiting(&self, key: u64) {
        let mut state = self.lock();
        let waiting = &mut state.tasks.waiting;
        let known = waiting.iter().position(|it| it.key == key);
        let task = known.map(|at| waiting.swap_remove(at).task);
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
        let waiting = state.tasks.waiting.iter().filter_map(|task| task.deadline);
        waiting.chain(state.machine.next_deadline()).min()
    }

    /// How many tasks wait for something besides a reply.
    #[cfg(test)]
    pub fn waiting_tasks(&self) -> usize {
        self.lock().tasks.waiting.len()
    }
}
