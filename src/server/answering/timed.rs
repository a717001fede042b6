//! What a running server does because of the time: deadlines of requests, and large messages that wait for memory
//! or do not arrive.

use super::Answering;
use crate::framing::GoodbyeCode;
use crate::goodbye::Goodbye;
use crate::message_server::{ConnectionId, MessageServer};
use crate::server::caller::Caller;
use std::time::{Duration, Instant};

/// The least pause between two checks for messages that do not arrive.
const CHECK_PAUSE: Duration = Duration::from_millis(10);

/// What depends on the time.
impl<M: MessageServer> Answering<M> {
    /// A part of a message has arrived, or the last of those that were incomplete.
    pub(super) fn arriving(&mut self, connection: ConnectionId) {
        let now = Instant::now();
        self.tend(connection, |caller, _| {
            let is_arriving = caller.machine.partials() > 0;
            caller.progress = is_arriving.then_some(now);
            if !is_arriving {
                caller.reserved = 0;
            }
        });
        // The request that it belongs to may have a deadline.
        let deadline = self.callers.get(&connection).and_then(|it| it.machine.next_deadline());
        self.check_at = self.check_at.into_iter().chain(deadline).min();
        self.check_messages(now);
        self.admit();
    }

    /// Messages may be late after this.
    fn check_messages(&mut self, now: Instant) {
        let late = now + self.rooms.patience(self.limits.message_time);
        self.check_at = self.check_at.into_iter().chain([late]).min();
    }

    /// Lets large messages begin for which there is memory.
    pub(super) fn admit(&mut self) {
        if self.rooms.is_empty() {
            return;
        }
        let now = Instant::now();
        for connection in self.rooms.admit(&mut self.callers, now) {
            self.tend(connection, |_, _| {});
        }
        self.rooms.waiting().for_each(|connection| self.messages.wait_for_memory(connection));
        self.check_messages(now);
    }

    /// Ends what is over its time: requests, and messages that do not arrive.
    pub(super) fn check(&mut self, now: Instant) {
        let patience = self.rooms.patience(self.limits.message_time);
        for connection in self.rooms.stalled(&self.callers, patience, now) {
            let text = "a message that had begun was not finished in time";
            self.messages.close(connection, Goodbye::new(GoodbyeCode::TOO_SLOW, text));
        }
        let is_due = |caller: &Caller| caller.machine.next_deadline().is_some_and(|at| at <= now);
        let due = self.callers.iter().filter(|(_, caller)| is_due(caller));
        let due: Vec<ConnectionId> = due.map(|(id, _)| *id).collect();
        for connection in due {
            self.tend(connection, |caller, _| caller.machine.expire(now));
            while let Some(event) = self.next_event(connection) {
                self.happened(connection, event);
            }
        }
        self.admit();
        let next = |caller: &Caller| {
            let late = caller.progress.map(|at| (at + patience).max(now + CHECK_PAUSE));
            caller.machine.next_deadline().into_iter().chain(late).min()
        };
        self.check_at = self.callers.values().filter_map(|caller| next(caller)).min();
    }
}
