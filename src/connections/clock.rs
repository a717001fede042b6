//! Peers that take too long: with their preface, with a message, or with anything at all.

use super::connection::Connection;
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

/// What of a connection the time limits are counted from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    connected: Instant,
    /// When what has arrived of an incomplete message began to be waited for.
    pub partial: Option<Instant>,
    /// When the last message came or went.
    pub last: Instant,
    /// The connection's entry in the clock.
    entry: Option<Instant>,
    /// It has had its [`REPRIEVE`].
    reprieved: bool,
}

impl Times {
    pub fn new(now: Instant) -> Times {
        Times { connected: now, partial: None, last: now, entry: None, reprieved: false }
    }
}

impl<S> Connection<S> {
    /// The next time limit that will be over, and why it then ends.
    fn due(&self, limits: &Limits) -> Option<(Instant, CloseReason)> {
        let slow = |from: Instant, what, waited: Duration| {
            (from + waited, CloseReason::Slow { what, waited })
        };
        let unsaid = !self.inbound.has_begun();
        let preface = unsaid.then(|| slow(self.times.connected, "preface", limits.preface));
        let partial = self.times.partial.filter(|_| !unsaid && !self.paused);
        let message = partial.map(|from| slow(from, "message", limits.message_time));
        // One that is sending a message is not idle.
        let idle = limits.idle.filter(|_| self.times.partial.is_none());
        let idle = idle.map(|waited| (self.times.last + waited, CloseReason::Idle { waited }));
        let all = [preface, message, idle];
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
        let Some(connection) = self.table.get_mut(&id).filter(|c| c.closing.is_none()) else {
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

    /// Ends those whose time is over.
    pub(super) fn ring(&mut self, now: Instant) {
        while let Some(&(at, id)) = self.clock.first().filter(|(at, _)| *at <= now) {
            self.clock.remove(&(at, id));
            let Some(connection) = self.table.get_mut(&id) else {
                continue;
            };
            connection.times.entry = None;
            match connection.due(&self.limits).filter(|(at, _)| *at <= now) {
                Some((at, reason)) if connection.closing.is_none() => {
                    match connection.reprieve(at, now) {
                        Some(until) => {
                            connection.times.entry = Some(until);
                            self.clock.insert((until, id));
                        }
                        None => self.give_up(id, reason, now),
                    }
                }
                _ => {
                    connection.times.reprieved = false;
                    self.watch(id);
                }
            }
        }
    }

    /// Closes a connection and tells its peer why.
    pub(super) fn give_up(&mut self, id: ConnectionId, reason: CloseReason, now: Instant) {
        if let (Some(why), Some(connection)) = (reason.goodbye(), self.table.get_mut(&id)) {
            connection.outbound.goodbye(why.code, &why.text);
        }
        self.begin_close(id, reason, now);
    }

    /// Takes a connection that has ended out of the clock.
    pub(super) fn unwatch(&mut self, id: ConnectionId, times: Times) {
        if let Some(at) = times.entry {
            self.clock.remove(&(at, id));
        }
    }
}
