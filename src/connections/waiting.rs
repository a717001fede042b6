//! Waiting for memory: which connection reads on when memory becomes free, and which one is closed if none does.
//!
//! A large message is granted its whole memory before its rest is read. With partial grants, several messages
//! could hold the memory that the others wait for, and none would be completed (deadlock).

use super::connection::{Class, Connection, Entry, LARGE, PeerClosed, Reading, Writing};
use super::{Connections, ServerStream};
use crate::account::Account;
use crate::error::CloseReason;
use crate::message_server::{ConnectionId, Event};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long a connection may make no progress while others wait for the memory that it holds. A running
/// program makes progress within milliseconds.
pub(super) const STALLED: Duration = Duration::from_secs(1);

/// The pause after closing a connection before the next one is closed, if others still wait.
const CLOSE_PAUSE: Duration = Duration::from_millis(100);

/// The connections that wait for memory.
#[derive(Default)]
pub(super) struct Waiting {
    entries: BTreeMap<Entry, ConnectionId>,
    next: u64,
    /// The account's counter of releases at the last check.
    releases_seen: u64,
    /// A connection was skipped because of those resumed before it: the next turn knows how much they have
    /// taken.
    has_skipped: bool,
    /// When to check which connection must be closed.
    check_at: Option<Instant>,
}

impl Waiting {
    /// Adds a connection at the end of its class, unless it is there.
    pub fn add<S>(&mut self, id: ConnectionId, connection: &mut Connection<S>, class: Class) {
        let share = connection.held.share();
        let group = share.group();
        if class == Class::Large && connection.parked.is_none() {
            connection.parked = Some(share.park(connection.inbound.kept()).into());
        }
        let entry = (group, class, self.next);
        match (class, connection.reading, connection.writing) {
            (Class::Sending, _, Writing::WaitsForMemory(_)) => return,
            (Class::Sending, ..) => connection.writing = Writing::WaitsForMemory(entry),
            (_, Reading::WaitsForMemory(_), _) => return,
            _ => connection.reading = Reading::WaitsForMemory(entry),
        }
        self.next += 1;
        self.entries.insert(entry, id);
    }

    /// Removes a connection from all lists.
    pub fn remove<S>(&mut self, connection: &mut Connection<S>) {
        self.resume_reading(connection);
        self.resume_writing(connection);
    }

    /// Removes a connection from the list of those that wait for memory to read.
    fn resume_reading<S>(&mut self, connection: &mut Connection<S>) {
        if let Reading::WaitsForMemory(entry) = connection.reading {
            self.entries.remove(&entry);
            connection.reading = Reading::Open;
        }
        connection.parked = None;
    }

    /// From now on a connection waits for its queue to become shorter, unless it does. It waits for memory no more: what is
    /// in the queue may be what holds it, or may let other connections go on that hold it.
    pub fn wait_for_queue<S>(&mut self, connection: &mut Connection<S>, waits: Writing) {
        match connection.writing {
            Writing::WaitsForMemory(entry) => drop(self.entries.remove(&entry)),
            Writing::Open => {}
            _ => return,
        }
        connection.writing = waits;
    }

    /// Removes a connection from the list of those that wait for memory to send. Returns whether
    /// `Event::Writable` was owed.
    pub fn resume_writing<S>(&mut self, connection: &mut Connection<S>) -> bool {
        match connection.writing {
            Writing::Open | Writing::Failed => return false,
            Writing::Full | Writing::WaitsForRoom => {}
            Writing::WaitsForMemory(entry) => drop(self.entries.remove(&entry)),
        }
        connection.writing = Writing::Open;
        true
    }

    pub fn begin_turn(&mut self, now: Instant) {
        if std::mem::take(&mut self.has_skipped) {
            self.releases_seen = self.releases_seen.wrapping_sub(1);
        }
        match self.entries.is_empty() {
            true => self.check_at = None,
            false => drop(self.check_at.get_or_insert(now + STALLED)),
        }
    }

    /// Whether the next turn must check the waiting connections.
    pub fn is_busy(&self, account: &Account) -> bool {
        // The stall time begins with the first waiting connection; the next turn sets it.
        let begins = self.check_at.is_none() && !self.entries.is_empty();
        self.has_skipped || begins || self.has_freed_memory(account)
    }

    /// Whether memory became free since the last check.
    pub fn has_freed_memory(&self, account: &Account) -> bool {
        !self.entries.is_empty() && account.releases() != self.releases_seen
    }

    pub fn check_at(&self) -> Option<Instant> {
        self.check_at.filter(|_| !self.entries.is_empty())
    }

    /// The first entry at or after `from`.
    fn first(&self, from: Entry) -> Option<(Entry, ConnectionId)> {
        self.entries.range(from..).next().map(|(entry, id)| (*entry, *id))
    }

    /// Whether a connection of this group waits.
    fn has(&self, group: u64) -> bool {
        self.first((group, Class::Small, 0)).is_some_and(|(entry, _)| entry.0 == group)
    }
}

impl<S: ServerStream> Connections<S> {
    /// Whether there is memory to read from a connection; if not, it waits.
    pub(super) fn may_read(&mut self, id: ConnectionId) -> bool {
        let (largest, memory_to_begin) = (self.limits.message, self.memory_to_begin());
        let Some(connection) = self.table.get_mut(&id) else {
            return false;
        };
        let large = connection.message_size(largest) > LARGE;
        let class = if large { Class::Large } else { Class::Small };
        // A disconnected peer sends no more than the system already holds.
        let has_gone = connection.peer_closed == PeerClosed::Both;
        let is_needed = connection.keeps_going && !large;
        let may = has_gone || is_needed || connection.grant(class, largest, memory_to_begin);
        if !may {
            self.waiting.add(id, connection, class);
        }
        may
    }

    /// See [`MessageServer::wait_for_memory`](crate::MessageServer::wait_for_memory).
    pub fn wait_for_memory(&mut self, id: ConnectionId) {
        // If more than that is owed, `Event::Writable` follows in any case.
        let connection = self.table.get_mut(&id).filter(|c| c.closing.is_none());
        if let Some(connection) = connection.filter(|c| c.writing == Writing::Open) {
            self.waiting.add(id, connection, Class::Sending);
        }
    }

    /// See [`MessageServer::keep_going`](crate::MessageServer::keep_going).
    pub fn keep_going(&mut self, id: ConnectionId, keeps_going: bool) {
        let Some(connection) = self.table.get_mut(&id) else {
            return;
        };
        connection.keeps_going = keeps_going;
        if keeps_going && matches!(connection.reading, Reading::WaitsForMemory(_)) {
            self.stop_waiting(id);
        }
    }

    /// It does not wait for memory to read any more, whether there is some or not.
    pub(super) fn stop_waiting(&mut self, id: ConnectionId) {
        let Some(connection) = self.table.get_mut(&id) else {
            return;
        };
        self.waiting.resume_reading(connection);
        // The time of its incomplete message did not count meanwhile.
        connection.times.restart(self.polled_at);
        self.readable(id, false);
        self.update_deadline(id);
    }

    /// The memory that must be free before another message is read: its reply may have the largest size.
    pub(super) fn memory_to_begin(&self) -> usize {
        self.limits.message.min(self.account.memory() / 8).max(1)
    }

    /// Memory has become free: resumes connections in the order in which they began to wait. One that needs more
    /// memory than there is blocks those of the same user and class behind it, and no others.
    pub(super) fn resume(&mut self) {
        self.waiting.releases_seen = self.account.releases();
        let (largest, memory_to_begin) = (self.limits.message, self.memory_to_begin());
        let mut from = (0, Class::Small, 0);
        // The memory that the connections resumed just now may take.
        let mut promised = 0;
        while let Some((entry, id)) = self.waiting.first(from) {
            let (group, class, number) = entry;
            if (group, class) != (from.0, from.1) {
                promised = 0;
            }
            let Some(connection) = self.table.get_mut(&id) else {
                self.waiting.entries.remove(&entry);
                continue;
            };
            if !connection.grant(class, largest, memory_to_begin + promised) {
                self.waiting.has_skipped |= promised > 0;
                from = (group, class, u64::MAX);
                continue;
            }
            from = (group, class, number + 1);
            if class == Class::Sending {
                self.waiting.resume_writing(connection);
                self.events.push_back(Event::Writable(id));
            } else {
                promised += if class == Class::Small { memory_to_begin } else { 0 };
                self.stop_waiting(id);
            }
        }
    }

    /// Of those that wait for memory to read: which ones have peers that have gone.
    fn look_for_ends(&mut self) {
        let waiting =
            self.waiting.entries.iter().filter(|((_, class, _), _)| *class != Class::Sending);
        let waiting: Vec<ConnectionId> = waiting.map(|(_, id)| *id).collect();
        for id in waiting {
            if self.table.get_mut(&id).is_some_and(|connection| connection.stream.has_gone()) {
                self.hung_up(id);
            }
        }
    }

    /// While others wait for memory: of the stalled connections that hold more than their even part, closes those
    /// that hold most, until there is enough memory to begin a message.
    pub(super) fn close_stalled(&mut self, now: Instant) {
        if self.waiting.check_at().is_none_or(|at| at > now) {
            return;
        }
        self.waiting.check_at = Some(now + CLOSE_PAUSE);
        self.look_for_ends();
        // No connection waits for the common memory while half of it is free: so one holds more than this part.
        let part = self.account.memory() / 2 / self.table.len().max(1);
        let is_scarce_for_all = self.account.held() >= self.account.memory() / 2;
        let stalled = self.table.iter().filter_map(|(&id, connection)| {
            let bytes = connection.held.bytes();
            let share = connection.held.share();
            let is_in_the_way = is_scarce_for_all || self.waiting.has(share.group());
            let (since, reason) = connection.stalled()?;
            let goes =
                bytes > part.min(share.even_part()) && is_in_the_way && since + STALLED <= now;
            goes.then_some((bytes, id, reason))
        });
        let mut stalled: Vec<_> = stalled.collect();
        stalled.sort_by_key(|(bytes, id, _)| (*bytes, *id));
        let mut missing = self.memory_to_begin();
        while let Some((bytes, id, reason)) = stalled.pop().filter(|_| missing > 0) {
            missing = missing.saturating_sub(bytes);
            match reason {
                CloseReason::Unread { .. } => self.abort_with(id, reason),
                reason => self.close_with_goodbye(id, reason, now),
            }
        }
    }
}

impl<S> Connection<S> {
    /// Whether there is memory for the reply to its next message.
    pub(super) fn may_begin(&self, memory_to_begin: usize) -> bool {
        self.peer_closed == PeerClosed::Both
            || self.keeps_going
            || self.held.share().room() >= memory_to_begin
    }

    /// The size of the message that is arriving; 0 between messages. If the framing does not announce it:
    /// [`LARGE`] at first, and the largest size once more than that has arrived.
    fn message_size(&self, largest: usize) -> usize {
        match self.undecoded {
            true => 0,
            false if self.inbound.kept() > LARGE => self.inbound.message_size(largest),
            false => self.inbound.message_size(LARGE),
        }
    }

    /// Updates the grant after decoding. A small message has its memory from its first bytes on, so that only its
    /// sender can delay its end.
    pub(super) fn update_grant(&mut self, largest: usize) {
        match self.message_size(largest) {
            0 => self.granted = 0,
            size if size <= LARGE => self.granted = size,
            _ => {}
        }
        self.settle();
    }

    /// Whether there is memory for it to go on. A large message is granted that memory.
    fn grant(&mut self, class: Class, largest: usize, memory_to_begin: usize) -> bool {
        let size = self.message_size(largest);
        let share = self.held.share();
        match class {
            Class::Sending => share.room() > 0,
            _ if size > 0 && size <= self.granted => true,
            _ if size > LARGE => {
                let fits = size.saturating_sub(self.held.bytes()) <= share.room_for_large();
                if fits {
                    self.granted = size;
                    self.settle();
                }
                fits
            }
            _ if size > 0 => share.room() >= LARGE.min(memory_to_begin),
            _ => share.may_begin() && share.room() >= memory_to_begin,
        }
    }

    /// Since when the peer has made no progress, and the reason for closing it.
    fn stalled(&self) -> Option<(Instant, CloseReason)> {
        if let Some(since) = self.times.waiting {
            return Some((since, CloseReason::Unread { waited: STALLED }));
        }
        self.times.partial?;
        let is_read = !self.in_ready && self.reading == Reading::Open;
        let slow = CloseReason::Slow { what: "message", waited: STALLED };
        is_read.then_some((self.times.arrived, slow))
    }
}
