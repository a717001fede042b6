//! Sending queues to peers, and closing connections.

use super::connection::{Closing, Connection, Reading, Writing};
use super::{Connections, FLUSH_MOST, ServerStream};
use crate::error::CloseReason;
use crate::framing::SendQueue;
use crate::message_server::{ConnectionId, Event};
use std::io::ErrorKind;
use std::time::{Duration, Instant};

/// The pause before the next check of a connection with an empty queue and last bytes that the system has not
/// taken yet. Only closing depends on it.
pub(super) const RECHECK_PAUSE: Duration = Duration::from_millis(10);

/// The least number of flushes in a turn; otherwise the number of connections. An application that sends more
/// whenever a queue shrinks must not keep the backend from polling.
pub(super) const FLUSHES_MIN: usize = 16;

/// The bytes that are sent in a turn before a connection that has been sent something waits for the next turn: two parts of
/// the usual size. To a peer that reads as fast as it is sent to, sending would never stop, and the requests that arrive
/// meanwhile would wait. Every connection is sent something in its turn, so that no deadline finds a peer blocked that is not.
pub(super) const FLUSHED_MAX: usize = 128 * 1024;

/// The same for a connection with small messages beside large ones: one part.
pub(super) const FLUSHED_BESIDE: usize = 64 * 1024;

impl<S: ServerStream> Connections<S> {
    /// The next connection to flush in this turn.
    pub(super) fn next_unsent(&mut self) -> Option<ConnectionId> {
        let next = self.unsent.front().and_then(|id| self.table.get(id));
        let again = next.filter(|it| it.flushed_in == self.turn_number);
        let most = |it: &Connection<S>| if it.has_small { FLUSHED_BESIDE } else { FLUSHED_MAX };
        if again.is_some_and(|it| self.flushed >= most(it)) {
            return None;
        }
        self.flushes = self.flushes.checked_sub(1)?;
        let next = self.unsent.pop_front();
        if let Some(connection) = next.and_then(|id| self.table.get_mut(&id)) {
            connection.in_unsent = false;
        }
        next
    }

    /// Has a connection flushed, once, in this turn or the next.
    pub(super) fn flush_later(&mut self, id: ConnectionId) {
        let connection = self.table.get_mut(&id);
        if connection.is_some_and(|it| !std::mem::replace(&mut it.in_unsent, true)) {
            self.unsent.push_back(id);
        }
    }

    /// Sends as much of a peer's queue as possible, and handles the outcome.
    pub(super) fn flush(&mut self, id: ConnectionId, now: Instant) {
        let Some(connection) = self.table.get_mut(&id) else {
            return;
        };
        if std::mem::take(&mut connection.sent) {
            connection.times.last = now;
        }
        if !connection.outbound.queue.is_empty() {
            match connection.stream.write(&mut connection.outbound.queue) {
                Ok(sent) => {
                    self.flushed = self.flushed.saturating_add(sent);
                    connection.flushed_in = self.turn_number;
                    connection.times.waiting = None;
                    if sent >= FLUSH_MOST && !connection.outbound.queue.is_empty() {
                        self.flush_later(id);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => self.flush_later(id),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => {
                    if !has_gone(&error) {
                        return self.finish(id, error.into());
                    }
                    connection.outbound.queue = SendQueue::default();
                    if self.waiting.resume_writing(connection) {
                        self.events.push_back(Event::Writable(id));
                    }
                    connection.writing = Writing::Failed;
                    // Bytes that it sent before are still read; then reading finds the end.
                    if connection.stream.has_gone() {
                        self.hung_up(id);
                    }
                    self.readable(id, false);
                }
            }
        }
        self.after_flush(id, now);
    }

    pub(super) fn after_flush(&mut self, id: ConnectionId, now: Instant) {
        let Some(connection) = self.table.get_mut(&id) else {
            return;
        };
        let queued = connection.outbound.queue.len();
        if queued == 0 {
            connection.outbound.queue.take_back(&mut self.send_memory);
        }
        connection.settle();
        connection.times.recheck = None;
        let has_failed = connection.writing == Writing::Failed;
        if queued > 0 || !(has_failed || connection.stream.is_sent()) {
            connection.outbound.queue.copy_shared();
            connection.times.waiting.get_or_insert(now);
            // No readiness reports that the last bytes have been sent.
            connection.times.recheck = (queued == 0).then(|| now + RECHECK_PAUSE);
            self.update_deadline(id);
        } else {
            connection.times.waiting = None;
            if let Some(closing) = connection.closing.take() {
                return self.finish(id, closing.reason);
            }
        }
        let Some(connection) = self.table.get_mut(&id) else {
            return;
        };
        if queued > self.limits.queued / 2 || connection.closing.is_some() {
            return;
        }
        if connection.writing == Writing::WaitsForRoom {
            if queued > self.limits.schedule_queue(connection.has_small) / 2 {
                return;
            }
            connection.writing = Writing::Full;
        }
        if connection.writing == Writing::Full {
            connection.writing = Writing::Open;
            self.events.push_back(Event::Writable(id));
        }
        self.read_again(id, now);
    }

    /// Reads a connection again that was paused.
    fn read_again(&mut self, id: ConnectionId, now: Instant) {
        let paused = self.table.get_mut(&id).filter(|it| it.reading == Reading::Paused);
        if let Some(connection) = paused {
            connection.reading = Reading::Open;
            // The time of its incomplete message did not count meanwhile.
            connection.times.restart(Some(now));
            self.readable(id, false);
            self.update_deadline(id);
        }
    }

    /// See [`MessageServer::allow_unread`](crate::MessageServer::allow_unread).
    pub fn allow_unread(&mut self, id: ConnectionId, allowed: bool, now: Instant) {
        let open = self.table.get_mut(&id).filter(|it| it.closing.is_none());
        if let Some(connection) = open.filter(|it| it.unread_allowed != allowed) {
            connection.unread_allowed = allowed;
            // The time in which it was allowed does not count.
            connection.times.waiting = connection.times.waiting.map(|_| now);
            if allowed {
                self.read_again(id, now);
            }
            self.update_deadline(id);
        }
    }

    /// See [`MessageServer::limit_in_transit`](crate::MessageServer::limit_in_transit).
    pub fn limit_in_transit(&mut self, id: ConnectionId, limited: bool) {
        if let Some(connection) = self.table.get_mut(&id) {
            connection.has_small = limited;
            connection.stream.limit_in_transit(limited);
        }
    }

    /// Ends a connection once its queue has been sent.
    pub(super) fn begin_close(&mut self, id: ConnectionId, reason: CloseReason, now: Instant) {
        if let Some(connection) = self.table.get_mut(&id) {
            connection.closing.get_or_insert_with(|| Closing { reason, since: now }.into());
            // Nothing more is read: free the kept bytes now, before the queue has been sent.
            connection.inbound.discard();
            connection.granted = 0;
            self.waiting.remove(connection);
            self.update_deadline(id);
            self.flush(id, now);
        }
    }

    /// Sends a goodbye and closes a connection.
    pub(super) fn close_with_goodbye(
        &mut self,
        id: ConnectionId,
        reason: CloseReason,
        now: Instant,
    ) {
        if let (Some(why), Some(connection)) = (reason.goodbye(), self.table.get_mut(&id)) {
            connection.outbound.goodbye(why.code, &why.text);
        }
        self.begin_close(id, reason, now);
    }

    /// Ends a connection at once and drops its queue.
    pub(super) fn abort_with(&mut self, id: ConnectionId, reason: CloseReason) {
        if let Some(connection) = self.table.get_mut(&id) {
            connection.stream.abort();
            self.finish(id, reason);
        }
    }

    /// Drops the connection and queues its `Closed` event. If it was being closed, the reason for that counts.
    fn finish(&mut self, id: ConnectionId, reason: CloseReason) {
        let Some(mut connection) = self.table.remove(&id) else {
            return;
        };
        self.waiting.remove(&mut connection);
        self.remove_deadline(id, connection.times);
        let reason = connection.closing.map_or(reason, |closing| closing.reason);
        self.closed_peers.insert(id, connection.peer);
        self.events.push_back(Event::Closed(id, reason));
    }
}

/// Whether an error of writing means that the peer has closed.
fn has_gone(error: &std::io::Error) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected)
}
