//! Peers that take too long: with their preface, with a message, with reading, with their end, or
//! with anything at all. One clock for all of it.

use super::connection::{Connection, Times};
use super::sending::LOOK_AGAIN;
use super::{Connections, ServerStream};
use crate::error::CloseReason;
use crate::limits::Limits;
use crate::message_server::ConnectionId;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// When to look at which connection. Each stands here once at most, and is not moved when the time
/// begins anew: the look finds the next time then. A connection of which nothing is waited for is taken
/// out, as the system's wait is cheaper without an end.
pub(super) type Clock = BTreeSet<(Instant, ConnectionId)>;

/// How much longer a peer has whose time was over while the application kept the server from looking:
/// what it did meanwhile may take several looks to be seen, as a pipe's reads end one by one.
pub(super) const REPRIEVE: Duration = Duration::from_millis(100);

/// What is to be done when a time is over.
enum Due {
    /// To look whether the last bytes have left.
    Look,
    /// To close it and to say why.
    GiveUp(CloseReason),
    /// To end it at once.
    CutOff(CloseReason),
}

impl<S> Connection<S> {
    /// The next time that will be over, and what is to be done then.
    fn due(&self, limits: &Limits) -> Option<(Instant, Due)> {
        let Times { connected, partial, last, waiting, closing, look, .. } = self.times;
        let slow = |from: Instant, what, waited: Duration| {
            (from + waited, Due::GiveUp(CloseReason::Slow { what, waited }))
        };
        let is_open = closing.is_none();
        let is_let_in = is_open && self.waits.is_none();
        let unsaid = is_let_in && !self.inbound.has_begun();
        let preface = unsaid.then(|| slow(connected, "preface", limits.preface));
        // While it is not read, it cannot be blamed for what is not read.
        let is_read = is_let_in && !unsaid && !self.paused;
        let message = partial.filter(|_| is_read);
        let message = message.map(|from| slow(from, "message", limits.message_time));
        // One that is sending a message is not idle.
        let idle = limits.idle.filter(|_| is_let_in && partial.is_none());
        let idle = idle.map(|waited| (last + waited, Due::GiveUp(CloseReason::Idle { waited })));
        let waited = limits.write_stall;
        let unread =
            waiting.map(|since| (since + waited, Due::CutOff(CloseReason::Unread { waited })));
        let closing = closing.map(|from| (from + limits.closing, Due::CutOff(CloseReason::Local)));
        let look = look.map(|at| (at, Due::Look));
        let all = [preface, message, idle, unread, closing, look];
        all.into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// Until when it is let be although its time was over at `due`: as long as there is more to be
    /// read, perhaps just what it is waited for; and once, if nobody looked when its time was over.
    fn reprieve(&mut self, due: Instant, now: Instant) -> Option<Instant> {
        if self.in_ready {
            return Some(now + LOOK_AGAIN);
        }
        let late = now.saturating_duration_since(due) > LOOK_AGAIN;
        let granted = late && !std::mem::replace(&mut self.times.reprieved, true);
        granted.then(|| now + REPRIEVE)
    }
}

impl<S: ServerStream> Connections<S> {
    /// Sees to it that the connection is looked at when its next limit is over, and not at all if
    /// nothing of it is waited for.
    pub(super) fn watch(&mut self, id: ConnectionId) {
        let Some(connection) = self.table.get_mut(&id) else {
            return;
        };
        let due = connection.due(&self.limits).map(|(at, _)| at);
        let entry = connection.times.entry;
        // An entry that comes too early is moved when its time has come.
        if due.is_some_and(|at| entry.is_some_and(|entry| entry <= at)) {
            return;
        }
        connection.times.entry = due;
        if let Some(entry) = entry {
            self.clock.remove(&(entry, id));
        }
        if let Some(at) = due {
            self.clock.insert((at, id));
        }
    }

    /// What has been read of a connection has been cut: the time of an incomplete message begins with
    /// its first bytes.
    pub(super) fn note_partial(&mut self, id: ConnectionId, now: Instant) {
        let Some(connection) = self.table.get_mut(&id) else {
            return;
        };
        if connection.inbound.finish().is_ok() {
            connection.times.partial = None;
        } else if connection.times.partial.is_none() {
            connection.times.partial = Some(now);
        } else {
            return;
        }
        self.watch(id);
    }

    /// Sees to those whose time is over.
    pub(super) fn ring(&mut self, now: Instant) {
        while let Some(&(at, id)) = self.clock.first().filter(|(at, _)| *at <= now) {
            self.clock.remove(&(at, id));
            let Some(connection) = self.table.get_mut(&id) else {
                continue;
            };
            connection.times.entry = None;
            match connection.due(&self.limits).filter(|(at, _)| *at <= now) {
                Some((_, Due::Look)) => self.after_flush(id, now),
                Some((_, Due::CutOff(reason))) => self.cut_off(id, reason),
                Some((at, Due::GiveUp(reason))) => match connection.reprieve(at, now) {
                    Some(until) => {
                        connection.times.entry = Some(until);
                        self.clock.insert((until, id));
                    }
                    None => self.give_up(id, reason, now),
                },
                None => {
                    connection.times.reprieved = false;
                    self.watch(id);
                }
            }
        }
    }

    /// Takes a connection that has ended out of the clock.
    pub(super) fn unwatch(&mut self, id: ConnectionId, times: Times) {
        if let Some(at) = times.entry {
            self.clock.remove(&(at, id));
        }
    }
}
