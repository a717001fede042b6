//! How a server stops: it takes nothing new, answers what it has begun, and closes its connections.

use super::Answering;
use super::given::GIVEN_AT_ONCE;
use crate::clock;
use crate::error::CloseReason;
use crate::framing::GoodbyeCode;
use crate::goodbye::Goodbye;
use crate::message_server::{ConnectionId, MessageServer};
use crate::server::hooks::Draining;

impl<M: MessageServer> Answering<M> {
    pub(super) fn say_goodbye(&mut self, connection: ConnectionId) {
        let why = Goodbye::new(GoodbyeCode::STOPPING, "the server stops");
        self.messages.close(connection, why);
    }

    /// The time for draining is over: the connections that are left end with the server.
    pub(super) fn close_rest(&mut self) {
        let rest: Vec<ConnectionId> = self.callers.keys().copied().collect();
        rest.into_iter().for_each(|connection| self.closed(connection, &CloseReason::Local));
    }

    /// Whether a stopped server has drained. The first call stops accepting clients and requests; once all
    /// requests are answered, it closes the connections.
    pub(super) fn is_stopped(&mut self) -> bool {
        let now = clock::now();
        if self.stopping.is_none() {
            let until = now + self.limits.drain;
            self.stopping = Some(until);
            self.hooks.tell_draining(Draining::Begins(until));
            self.messages.stop_accepting();
            self.outbox.stops();
            let all: Vec<ConnectionId> = self.callers.keys().copied().collect();
            all.into_iter().for_each(|it| self.tend(it, |caller, _| caller.drain()));
        }
        let is_late = self.stopping.is_some_and(|until| until <= now);
        if is_late {
            self.hooks.tell_draining(Draining::IsLate);
            self.given.extend(self.outbox.take());
            // Not what comes meanwhile: it might not end.
            let turns = self.given.len() / GIVEN_AT_ONCE + 1;
            (0..turns).for_each(|_| self.take_given());
        }
        if is_late || (self.open == 0 && !self.says_goodbye) {
            self.says_goodbye = true;
            let done = self.callers.iter().filter(|(_, it)| is_late || it.is_idle());
            let done: Vec<ConnectionId> = done.map(|(&id, _)| id).collect();
            done.into_iter().for_each(|connection| self.say_goodbye(connection));
        }
        is_late || self.callers.is_empty()
    }
}
