//! The deadlines of connections: for the preface, a message, reading the queue, closing, and idleness. One
//! clock has all of them.

use super::connection::{Connection, Reading, Times};
use super::sending::RECHECK_PAUSE;
use super::{Connections, ServerStream};
use crate::error::CloseReason;
use crate::limits::Limits;
use crate::message_server::ConnectionId;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// When to check which connection. Each connection has at most one entry, which is not moved when a deadline
/// is extended: the check finds the new deadline. A connection without a deadline has no entry, as the system's
/// wait is cheaper without a timeout.
pub(super) type Clock = BTreeSet<(Instant, ConnectionId)>;

/// The extra time of a peer if its deadline passed while the application kept the server from polling. Several
/// polls may be needed to see what the peer did meanwhile, as a pipe's reads complete one by one.
pub(super) const GRACE: Duration = Duration::from_millis(100);

/// What to do at a deadline.
enum Due {
    /// Check whether the last bytes have been sent.
    Recheck,
    /// Send a goodbye and close.
    Close(CloseReason),
    /// End the connection at once.
    Abort(CloseReason),
}

impl<S> Connection<S> {
    /// The next deadline, and what to do then.
    fn due(&self, limits: &Limits) -> Option<(Instant, Due)> {
        let Times { connected, partial, last, waiting, recheck, .. } = self.times;
        let closing = self.closing.as_ref().map(|closing| closing.since);
        let slow = |from: Instant, what, waited: Duration| {
            (from + waited, Due::Close(CloseReason::Slow { what, waited }))
        };
        let is_open = closing.is_none();
        let is_served = is_open && !matches!(self.reading, Reading::WaitsForMemory(_));
        let awaits_preface = is_served && !self.inbound.has_begun();
        let preface = awaits_preface.then(|| slow(connected, "preface", limits.preface));
        // While the server does not read, the rest of the message may have arrived.
        let is_read = is_served && !awaits_preface && self.reading != Reading::Paused;
        let message = partial.filter(|_| is_read);
        let message = message.map(|from| slow(from, "message", limits.message_time));
        // A peer that is sending a message is not idle.
        let idle = limits.idle.filter(|_| is_served && partial.is_none());
        let idle = idle.map(|waited| (last + waited, Due::Close(CloseReason::Idle { waited })));
        let waited = limits.write_stall;
        let unread = waiting.filter(|_| !self.unread_allowed);
        let unread =
            unread.map(|since| (since + waited, Due::Abort(CloseReason::Unread { waited })));
        let closing = closing.map(|from| (from + limits.closing, Due::Abort(CloseReason::Local)));
        let recheck = recheck.map(|at| (at, Due::Recheck));
        let all = [preface, message, idle, unread, closing, recheck];
        all.into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// The extended deadline, if the one at `due` does not count yet: while more bytes are ready to be read,
    /// which may be the missing ones; and once, if the server did not poll at the deadline.
    fn grace(&mut self, due: Instant, now: Instant) -> Option<Instant> {
        if self.in_ready {
            return Some(now + RECHECK_PAUSE);
        }
        let late = now.saturating_duration_since(due) > RECHECK_PAUSE;
        let granted = late && !std::mem::replace(&mut self.times.had_grace, true);
        granted.then(|| now + GRACE)
    }
}

impl<S: ServerStream> Connections<S> {
    /// Sets the connection's entry in the clock to its next deadline; none if it has no deadline.
    pub(super) fn update_deadline(&mut self, id: ConnectionId) {
        let Some(connection) = self.table.get_mut(&id) else {
            return;
        };
        let due = connection.due(&self.limits).map(|(at, _)| at);
        let entry = connection.times.entry;
        // An entry that is too early is moved when it is due.
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

    /// Notes after decoding whether a message is incomplete. Its time begins with its first bytes.
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
        self.update_deadline(id);
    }

    /// Handles the entries that are due.
    pub(super) fn handle_deadlines(&mut self, now: Instant) {
        while let Some(&(at, id)) = self.clock.first().filter(|(at, _)| *at <= now) {
            self.clock.remove(&(at, id));
            let Some(connection) = self.table.get_mut(&id) else {
                continue;
            };
            connection.times.entry = None;
            match connection.due(&self.limits).filter(|(at, _)| *at <= now) {
                Some((_, Due::Recheck)) => self.after_flush(id, now),
                Some((_, Due::Abort(reason))) => self.abort_with(id, reason),
                Some((at, Due::Close(reason))) => match connection.grace(at, now) {
                    Some(until) => {
                        connection.times.entry = Some(until);
                        self.clock.insert((until, id));
                    }
                    None => self.close_with_goodbye(id, reason, now),
                },
                None => {
                    connection.times.had_grace = false;
                    self.update_deadline(id);
                }
            }
        }
    }

    /// Removes the entry of a connection that has ended.
    pub(super) fn remove_deadline(&mut self, id: ConnectionId, times: Times) {
        if let Some(at) = times.entry {
            self.clock.remove(&(at, id));
        }
    }
}
