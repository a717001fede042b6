//! What a running server does because of the time: deadlines of requests, and large messages that wait for memory
//! or do not arrive.

use super::Answering;
use crate::clock;
use crate::error::CloseReason;
use crate::message_server::{ConnectionId, MessageServer};
use crate::server::caller::Caller;
use std::time::{Duration, Instant};

/// How long a client that holds much may send nothing of its messages while there is no memory for others.
const STALLED: Duration = Duration::from_secs(1);

/// The pause between two checks while messages arrive: a part of the times that they have.
const CHECKS: u32 = 4;

/// The least pause between two checks, each of which looks at all clients.
const CHECK_PAUSE: Duration = Duration::from_millis(10);

impl<M: MessageServer> Answering<M> {
    /// How long the next poll may wait. Does what is due.
    pub(in crate::server) fn timeout(&mut self) -> Option<Duration> {
        if !self.given.is_empty() {
            return Some(Duration::ZERO);
        }
        // Requests that are answered at once need no clock.
        let is_timed = self.open > 0 || self.has_calls || self.expects_pieces;
        let check_at = self.check_at.filter(|_| is_timed);
        let check_at =
            check_at.map(|at| self.checked.map_or(at, |last| at.max(last + CHECK_PAUSE)));
        let next = self.stopping.into_iter().chain(check_at).min()?;
        let now = clock::now();
        if check_at.is_some_and(|at| at <= now) {
            self.check(now);
            return Some(Duration::ZERO);
        }
        Some(next.saturating_duration_since(now))
    }

    /// A piece of a message has arrived, or the number of incomplete messages has changed. `is_whole`: by a last piece.
    pub(super) fn arriving(&mut self, connection: ConnectionId, is_whole: bool) {
        let now = clock::now();
        self.tend(connection, |caller, _| caller.arrives(now, is_whole));
        if let Some(caller) = self.callers.get_mut(&connection) {
            // The request that it belongs to may have a deadline.
            let deadline = caller.next_deadline();
            self.check_at = self.check_at.into_iter().chain(deadline).min();
            self.rooms.wait(connection, caller);
        }
        self.expect_pieces(now);
        self.admit();
    }

    fn expect_pieces(&mut self, now: Instant) {
        self.expects_pieces = true;
        let next = now + self.limits.message_time.min(STALLED) / CHECKS;
        self.check_at = self.check_at.into_iter().chain([next]).min();
    }

    /// Lets large messages begin for which there is memory.
    pub(super) fn admit(&mut self) {
        if self.rooms.is_empty() {
            return;
        }
        let now = clock::now();
        for connection in self.rooms.admit(&mut self.callers, now) {
            self.tend(connection, |_, _| {});
        }
        self.rooms.first().for_each(|connection| self.messages.wait_for_memory(connection));
        self.expect_pieces(now);
    }

    /// Ends what is over its time: requests, and messages that do not arrive.
    fn check(&mut self, now: Instant) {
        self.checked = Some(now);
        for (connection, waited) in self.late(now).into_iter().chain(self.in_the_way(now)) {
            self.close_with(connection, CloseReason::Slow { what: "message", waited });
        }
        let is_due = |caller: &Caller| caller.next_deadline().is_some_and(|at| at <= now);
        let due = self.callers.iter().filter(|(_, caller)| is_due(caller));
        let due: Vec<ConnectionId> = due.map(|(id, _)| *id).collect();
        for connection in due {
            self.tend(connection, |caller, _| caller.expire(now));
            let begun = self.next_request(connection);
            debug_assert!(begun.is_none(), "a deadline begins no call");
        }
        self.has_calls = self.callers.values().any(|caller| caller.has_calls());
        let callers = self.callers.values();
        self.check_at = callers.filter_map(|caller| caller.next_deadline()).min();
        self.expects_pieces = self.callers.values().any(|caller| caller.arrival.is_some());
        if self.expects_pieces {
            self.expect_pieces(now);
        }
        self.admit();
    }

    /// The clients with a message that is over its time.
    fn late(&self, now: Instant) -> Vec<(ConnectionId, Duration)> {
        let time = self.limits.message_time;
        let is_late = |caller: &Caller| caller.lateness(now).unfinished >= time;
        let late = self.callers.iter().filter(|(_, caller)| is_late(caller));
        late.map(|(connection, _)| (*connection, time)).collect()
    }

    /// While there is no memory for others: of the clients that hold more than their even part and do not go on, those
    /// that hold most, until there is enough.
    fn in_the_way(&self, now: Instant) -> Vec<(ConnectionId, Duration)> {
        // As much as a connection waits for before it is read.
        let begin = self.limits.message.min(self.limits.memory / 8).max(1);
        let part = self.limits.memory / 2 / self.callers.len().max(1);
        let is_in_the_way = |caller: &Caller| {
            let share = caller.share();
            let is_scarce = self.rooms.has(share.group())
                || !self.rooms.is_empty() && share.is_half_used()
                || share.room() < begin;
            let is_stalled = caller.lateness(now).stalled >= STALLED;
            is_scarce && is_stalled && caller.held() > part.min(share.even_part())
        };
        let all = self.callers.iter().filter(|(_, caller)| is_in_the_way(caller));
        let mut all: Vec<_> = all.map(|(connection, it)| (it.held(), *connection)).collect();
        all.sort_unstable();
        let mut missing = self.limits.message;
        let mut most = Vec::new();
        while let Some((held, connection)) = all.pop().filter(|_| missing > 0) {
            missing = missing.saturating_sub(held);
            most.push((connection, STALLED));
        }
        most
    }
}
