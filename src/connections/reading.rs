//! From readiness to messages: the turns of connections.
//!
//! Each ready connection gets one turn, then the next one: a number of messages or an amount of the
//! application's time, whichever is used up first. Further bytes wait for its next turn. Messages are
//! returned one by one, so that the replies to the first ones count before the next is decoded.

use super::connection::{Class, Connection, PeerClosed, Reading};
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

    /// Why the next message cannot be returned now, if it cannot.
    fn stop<S>(
        &self,
        connection: &Connection<S>,
        now: Instant,
        pause_above: usize,
        memory_to_begin: usize,
    ) -> Option<Stop> {
        let has_more = !self.input.is_empty();
        if has_more && self.is_over(now) {
            return Some(Stop::IsOver);
        }
        if connection.has_unread(pause_above) {
            return Some(Stop::Unread);
        }
        // What the application holds for the messages before it counts too.
        let is_first = self.messages == 0;
        (has_more && !is_first && !connection.may_begin(memory_to_begin)).then_some(Stop::NoMemory)
    }
}

/// Why a turn stops with messages left.
enum Stop {
    /// The turn has used up its messages or its time.
    IsOver,
    /// More than half of a full queue waits for the peer.
    Unread,
    /// There is no memory for the reply to its next message.
    NoMemory,
}

impl<S: ServerStream> Connections<S> {
    /// The peer has closed both directions. Bytes that it sent can still be read.
    pub fn hung_up(&mut self, id: ConnectionId) {
        let Some(connection) = self.table.get_mut(&id) else {
            return;
        };
        connection.peer_closed = PeerClosed::Both;
        match connection.reading {
            Reading::HalfClosed => self.readable(id, true),
            // What it waits for may be what is held for it, which only its end frees.
            Reading::WaitsForMemory(_) => self.stop_waiting(id),
            Reading::Open | Reading::Paused => {}
        }
    }

    /// Reads once from a connection, and begins its turn.
    pub(super) fn read(&mut self, id: ConnectionId, now: Instant) {
        let Some(connection) = self.table.get_mut(&id) else {
            return;
        };
        connection.in_ready = false;
        if connection.closing.is_some() {
            return;
        }
        match connection.reading {
            Reading::Open => {}
            Reading::Paused | Reading::WaitsForMemory(_) => return,
            // Only its end can still arrive.
            Reading::HalfClosed if connection.is_reachable() => return,
            Reading::HalfClosed => return self.begin_close(id, CloseReason::PeerClosed, now),
        }
        if !self.may_read(id) {
            return;
        }
        let Some(connection) = self.table.get_mut(&id) else {
            return;
        };
        if std::mem::take(&mut connection.undecoded) {
            let input = connection.inbound.take_undecoded();
            self.current = Some(Turn::new(id, input, now));
            return self.readable(id, false);
        }
        let mut buffer = connection.inbound.read_buffer(&mut self.buffers);
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
                self.close_with_goodbye(id, FramingError::TooLarge { size, limit }.into(), now);
            }
            Ok(_) => match connection.inbound.finish() {
                Ok(()) if self.half_close && connection.is_reachable() => {
                    connection.reading = Reading::HalfClosed;
                    self.events.push_back(Event::HalfClosed(id));
                }
                Ok(()) => self.begin_close(id, CloseReason::PeerClosed, now),
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
        let (pause_above, memory_to_begin) = (self.limits.queued / 2, self.memory_to_begin());
        let turn = self.current.as_mut()?;
        let id = turn.id;
        let Some(connection) = self.table.get_mut(&id).filter(|c| c.closing.is_none()) else {
            // Closed while its messages were returned.
            let input = self.current.take()?.input;
            self.buffers.give_back(input, 0);
            return None;
        };
        if let Some(stop) = turn.stop(connection, now, pause_above, memory_to_begin) {
            self.stop_turn(stop, now);
            return None;
        }
        match connection.inbound.decode(&mut turn.input) {
            Ok(Some(message)) => {
                connection.times.last = now;
                connection.times.partial = None;
                if connection.granted > 0 {
                    connection.granted = 0;
                    connection.settle();
                }
                turn.messages += 1;
                return Some(Event::Message(id, message));
            }
            Ok(None) => {
                connection.inbound.put_back(self.current.take()?.input, &mut self.buffers);
                connection.update_grant(self.limits.message);
                self.note_partial(id, now);
                self.flush(id, now);
            }
            Err(error) => {
                let mut input = self.current.take()?.input;
                input.clear();
                connection.inbound.put_back(input, &mut self.buffers);
                self.close_with_goodbye(id, error.into(), now);
            }
        }
        None
    }

    /// Stops the turn: what is left of its bytes is kept.
    fn stop_turn(&mut self, stop: Stop, now: Instant) {
        let Some(turn) = self.current.take() else {
            return;
        };
        let id = turn.id;
        match stop {
            Stop::IsOver => {
                self.keep_rest(turn);
                self.readable(id, false);
                self.flush(id, now);
            }
            Stop::Unread => {
                self.flush(id, now);
                let pause_above = self.limits.queued / 2;
                match self.table.get_mut(&id) {
                    Some(connection) if connection.has_unread(pause_above) => {
                        connection.reading = Reading::Paused;
                        self.keep_rest(turn);
                    }
                    _ => self.current = Some(turn),
                }
            }
            Stop::NoMemory => {
                if let Some(connection) = self.table.get_mut(&id) {
                    self.waiting.add(id, connection, Class::Small);
                }
                self.keep_rest(turn);
                self.flush(id, now);
            }
        }
    }

    /// Keeps what is left of a turn's bytes: they are decoded before the next read.
    fn keep_rest(&mut self, turn: Turn) {
        if let Some(connection) = self.table.get_mut(&turn.id) {
            connection.undecoded = true;
            connection.inbound.put_back(turn.input, &mut self.buffers);
            connection.settle();
        }
    }
}

/// Reads bytes; also returns whether more may have arrived without new readiness.
fn read_bytes<S: ServerStream>(
    connection: &mut Connection<S>,
    buffer: &mut BytesMut,
) -> io::Result<(ReadOutcome, bool)> {
    let room = buffer.capacity() - buffer.len();
    let read = connection.stream.read(buffer)?;
    let has_end = connection.peer_closed != PeerClosed::Neither;
    let more = has_end || read == room || connection.stream.stopped_short();
    Ok((ReadOutcome::of_bytes(read), more))
}
