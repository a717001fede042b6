//! From queues to peers, and the end of connections.

use super::{Connections, ServerStream};
use crate::error::CloseReason;
use crate::framing::SendQueue;
use crate::message_server::{ConnectionId, Event};
use std::io::ErrorKind;
use std::time::{Duration, Instant};

/// How soon a connection is looked at again that has nothing queued, but whose last bytes are still
/// on their way. Nobody waits for the answer but who closes it.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(10);

impl<S: ServerStream> Connections<S> {
    /// Sends what can be sent of all that has been queued.
    pub(super) fn flush_unsent(&mut self, now: Instant) {
        for id in std::mem::take(&mut self.unsent) {
            self.flush(id, now);
        }
    }

    /// Sends what can be sent to one peer, and sees to what follows from it.
    pub(super) fn flush(&mut self, id: ConnectionId, now: Instant) {
        let Some(connection) = self.table.get_mut(&id) else {
            return;
        };
        if std::mem::take(&mut connection.sent) {
            connection.times.last = now;
        }
        if !connection.outbound.queue.is_empty() {
            match connection.stream.write(&mut connection.outbound.queue) {
                Ok(_) => connection.waiting_since = None,
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => {
                    connection.outbound.queue = SendQueue::default();
                    connection.unwritable = true;
                    if has_gone(&error) {
                        // What it sent before it went is still read; reading then finds its end.
                        self.readable(id, false);
                    } else {
                        connection.closing.get_or_insert(error.into());
                    }
                }
            }
        }
        self.after_flush(id, now);
    }

    fn after_flush(&mut self, id: ConnectionId, now: Instant) {
        let Some(connection) = self.table.get_mut(&id) else {
            return;
        };
        let queued = connection.outbound.queue.len();
        if queued == 0 && (connection.unwritable || connection.stream.is_sent()) {
            connection.waiting_since = None;
            self.blocked.remove(&id);
            if connection.closing.is_some() {
                return self.finish(id);
            }
        } else {
            let since = *connection.waiting_since.get_or_insert(now);
            self.blocked.insert(id);
            let due = due(since + self.limits.write_stall, queued, now);
            self.sweep = Some(self.sweep.map_or(due, |at| at.min(due)));
        }
        if queued > self.limits.queued / 2 || connection.closing.is_some() {
            return;
        }
        if std::mem::take(&mut connection.refused) {
            self.events.push_back(Event::Drained(id));
        }
        if std::mem::take(&mut connection.paused) {
            // The time of what it has begun did not count meanwhile.
            connection.times.partial = connection.times.partial.map(|_| now);
            self.readable(id, false);
            self.watch(id);
        }
    }

    /// Ends a connection once all that was queued for it has left.
    pub(super) fn begin_close(&mut self, id: ConnectionId, reason: CloseReason, now: Instant) {
        if let Some(connection) = self.table.get_mut(&id) {
            connection.closing.get_or_insert(reason);
            self.flush(id, now);
        }
    }

    /// Ends those whose peers have taken nothing for too long, and looks whether others are done.
    pub(super) fn sweep(&mut self, now: Instant) {
        if self.sweep.is_none_or(|at| at > now) {
            return;
        }
        let waited = self.limits.write_stall;
        self.sweep = None;
        let (mut late, mut done) = (Vec::new(), Vec::new());
        for id in self.blocked.iter().copied().collect::<Vec<_>>() {
            let Some(connection) = self.table.get_mut(&id) else { continue };
            let Some(since) = connection.waiting_since else { continue };
            let queued = connection.outbound.queue.len();
            if queued == 0 && connection.stream.is_sent() {
                done.push(id);
            } else if since + waited <= now {
                late.push(id);
            } else {
                let due = due(since + waited, queued, now);
                self.sweep = Some(self.sweep.map_or(due, |at| at.min(due)));
            }
        }
        done.into_iter().for_each(|id| self.after_flush(id, now));
        for id in late {
            if let Some(connection) = self.table.get_mut(&id) {
                connection.stream.abort();
                connection.closing.get_or_insert(CloseReason::Unread { waited });
                self.finish(id);
            }
        }
    }

    /// Drops the connection and tells that it has ended.
    fn finish(&mut self, id: ConnectionId) {
        self.blocked.remove(&id);
        let Some(connection) = self.table.remove(&id) else {
            return;
        };
        self.unwatch(id, connection.times);
        if let Some(reason) = connection.closing {
            self.events.push_back(Event::Closed(id, reason));
        }
    }
}

/// Whether an error of writing says that the peer has gone.
fn has_gone(error: &std::io::Error) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected)
}

/// When to look at a connection again that has not sent all: at its deadline, or sooner where nothing
/// is queued any more, and so no readiness will tell that the last of it has gone.
fn due(deadline: Instant, queued: usize, now: Instant) -> Instant {
    if queued == 0 { deadline.min(now + LOOK_AGAIN) } else { deadline }
}
