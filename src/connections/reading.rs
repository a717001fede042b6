//! From readiness to messages: the turns of connections.
//!
//! Each ready connection gets one turn, then the next one: a number of messages or an amount of the
//! application's time, whichever is used up first. Further bytes wait for its next turn. Messages are
//! returned one by one, so that the replies to the first ones count before the next is decoded.

use super::connection::Connection;
use super::{Connections, ServerStream};
use crate::client_stream::ReadOutcome;
use crate::error::CloseReason;
use crate::framing::{Carrier, FramingError};
use crate::message_server::{ConnectionId, Event};
use bytes::BytesMut;
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

/// The most messages of a turn. With a handler that takes no time, they take about as long as [`TURN_TIME`].
pub(super) const TURN_MESSAGES: usize = 256;

/// The longest time of a turn, the application's time with the messages included. Some ten times the cost of a
/// change between connections; and the most that one connection adds to the time of another's call, if a
/// handler takes less.
pub(super) const TURN_TIME: Duration = Duration::from_micros(100);

/// The turn of one connection: its time slice.
pub(super) struct Turn {
    id: ConnectionId,
    /// Bytes that have been read and not decoded yet.
    input: BytesMut,
    began: Instant,
    messages: usize,
}

impl Turn {
    fn new(id: ConnectionId, input: BytesMut, now: Instant) -> Turn {
        Turn { id, input, began: now, messages: 0 }
    }

    fn is_over(&self, now: Instant) -> bool {
        let time = now.saturating_duration_since(self.began);
        self.messages >= TURN_MESSAGES || (self.messages > 0 && time >= TURN_TIME)
    }
}

impl<S: ServerStream> Connections<S> {
    /// Reads once from a connection, and begins its turn.
    pub(super) fn read(&mut self, id: ConnectionId, now: Instant) {
        let Some(connection) = self.table.get_mut(&id) else {
            return;
        };
        connection.in_ready = false;
        if connection.finished {
            // Only its end can still arrive.
            if connection.hung_up || connection.unwritable {
                self.begin_close(id, CloseReason::Finished, now);
            }
            return;
        }
        if connection.closing.is_some() || connection.paused || connection.waits.is_some() {
            return;
        }
        if !self.may_read(id) {
            return;
        }
        let Some(connection) = self.table.get_mut(&id) else {
            return;
        };
        let mut buffer = connection.inbound.read_buffer(&mut self.buffers);
        if std::mem::take(&mut connection.undecoded) {
            self.current = Some(Turn::new(id, buffer, now));
            return self.readable(id, false);
        }
        let outcome = match self.carrier {
            Carrier::Stream => read_bytes(connection, &mut buffer),
            // After a message there may be another: only `WouldBlock` says that there is none.
            Carrier::Messages => {
                let limit = self.framing.limit();
                let read = connection.stream.read_message(&mut buffer, limit);
                read.map(|read| (ReadOutcome::from(read), true))
            }
        };
        if let Ok((ReadOutcome::Some, more)) = outcome {
            connection.times.arrived = now;
            self.current = Some(Turn::new(id, buffer, now));
            if more {
                self.readable(id, false);
            }
            return;
        }
        connection.inbound.put_back(buffer, &mut self.buffers);
        match outcome {
            Ok((ReadOutcome::TooLarge(size), _)) => {
                let limit = self.framing.limit();
                self.give_up(id, FramingError::TooLarge { size, limit }.into(), now);
            }
            Ok(_) => match connection.inbound.finish() {
                Ok(()) if self.half_close && !connection.hung_up && !connection.unwritable => {
                    connection.finished = true;
                    self.events.push_back(Event::Finished(id));
                }
                Ok(()) => self.begin_close(id, CloseReason::Finished, now),
                Err(cut_off) => self.begin_close(id, cut_off.into(), now),
            },
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => self.readable(id, false),
            Err(error) => self.begin_close(id, error.into(), now),
        }
    }

    /// The next message of the connection that has the turn. When no message is left, or the turn is over, the
    /// queued replies are sent and the rest of the bytes is kept.
    pub(super) fn next_message(&mut self, now: Instant) -> Option<Event> {
        let mut turn = self.current.take()?;
        let id = turn.id;
        if self.table.get(&id).is_none_or(|connection| connection.closing.is_some()) {
            // Closed during its turn.
            self.buffers.give_back(turn.input, 0);
            return None;
        }
        if turn.is_over(now) && !turn.input.is_empty() {
            self.put_off(turn);
            self.readable(id, false);
            self.flush(id, now);
            return None;
        }
        if self.must_pause(id, now) {
            self.table.get_mut(&id)?.paused = true;
            self.put_off(turn);
            return None;
        }
        // Memory that the application holds for the messages before it counts too.
        if turn.messages > 0 && !turn.input.is_empty() && !self.may_begin(id) {
            self.put_off(turn);
            self.flush(id, now);
            return None;
        }
        let connection = self.table.get_mut(&id)?;
        match connection.inbound.decode(&mut turn.input) {
            Ok(Some(message)) => {
                connection.times.last = now;
                connection.times.partial = None;
                if connection.granted > 0 {
                    connection.granted = 0;
                    connection.settle();
                }
                turn.messages += 1;
                self.current = Some(turn);
                return Some(Event::Message(id, message));
            }
            Ok(None) => {
                connection.inbound.put_back(turn.input, &mut self.buffers);
                connection.keep(self.limits.message);
                self.note_partial(id, now);
                self.flush(id, now);
            }
            Err(error) => {
                turn.input.clear();
                connection.inbound.put_back(turn.input, &mut self.buffers);
                self.give_up(id, error.into(), now);
            }
        }
        None
    }

    /// Keeps the rest of a turn's bytes: they are decoded before the next read.
    fn put_off(&mut self, turn: Turn) {
        if let Some(connection) = self.table.get_mut(&turn.id) {
            connection.undecoded = true;
            connection.inbound.put_back(turn.input, &mut self.buffers);
            connection.settle();
        }
    }

    /// Backpressure: whether so much is queued for this peer that its next message must wait.
    fn must_pause(&mut self, id: ConnectionId, now: Instant) -> bool {
        let line = self.limits.queued / 2;
        let over = |connections: &Self| {
            connections
                .table
                .get(&id)
                .is_some_and(|c| c.closing.is_none() && c.outbound.queue.len() > line)
        };
        if over(self) {
            self.flush(id, now);
        }
        over(self)
    }
}

/// Reads bytes; also returns whether more may have arrived without new readiness.
fn read_bytes<S: ServerStream>(
    connection: &mut Connection<S>,
    buffer: &mut BytesMut,
) -> io::Result<(ReadOutcome, bool)> {
    let room = buffer.capacity() - buffer.len();
    let read = connection.stream.read(buffer)?;
    let more = connection.ended || read == room || connection.stream.stopped_short();
    Ok((ReadOutcome::of_bytes(read), more))
}
