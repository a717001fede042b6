//! From readiness to messages.
//!
//! One read for each ready connection in turn, so that a busy one does not keep the others
//! waiting; its messages are handed out one by one, so that the answers to the first ones count
//! before the next is looked at.

use super::connection::Connection;
use super::{Connections, ServerStream};
use crate::client_stream::ReadMessage;
use crate::error::CloseReason;
use crate::framing::{Carrier, FramingError};
use crate::message_server::{ConnectionId, Event};
use bytes::BytesMut;
use std::io::{self, ErrorKind};
use std::time::Instant;

impl<S: ServerStream> Connections<S> {
    /// Reads once from a connection; the bytes become the current ones.
    pub(super) fn read(&mut self, id: ConnectionId, now: Instant) {
        let Some(connection) = self.table.get_mut(&id) else {
            return;
        };
        connection.in_ready = false;
        if connection.closing.is_some() || connection.paused {
            return;
        }
        let mut buffer = connection.inbound.read_buffer(&mut self.shared);
        if std::mem::take(&mut connection.undecoded) {
            self.current = Some((id, buffer));
            return self.readable(id, false);
        }
        let outcome = match self.carrier {
            Carrier::Stream => read_bytes(connection, &mut buffer),
            // After a message there may be another; that there is none is said by no other sign.
            Carrier::Messages { limit } => {
                connection.stream.read_message(&mut buffer, limit).map(|read| (read, true))
            }
        };
        if let Ok((ReadMessage::Whole, more)) = outcome {
            self.current = Some((id, buffer));
            if more {
                self.readable(id, false);
            }
            return;
        }
        connection.inbound.put_back(buffer, &mut self.shared);
        match outcome {
            Ok((ReadMessage::TooLarge(size), _)) => {
                let limit = self.framing.limit();
                self.peer_failed(id, FramingError::TooLarge { size, limit }, now);
            }
            Ok(_) => match connection.inbound.finish() {
                Ok(()) => self.begin_close(id, CloseReason::Finished, now),
                Err(cut_off) => self.begin_close(id, cut_off.into(), now),
            },
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => self.readable(id, false),
            Err(error) => self.begin_close(id, error.into(), now),
        }
    }

    /// The next message among the current bytes. When there is none left, what they were answered
    /// with is sent, and what is left of them kept.
    pub(super) fn next_message(&mut self, now: Instant) -> Option<Event> {
        let (id, mut input) = self.current.take()?;
        if self.must_pause(id, now) {
            let connection = self.table.get_mut(&id)?;
            connection.paused = true;
            connection.undecoded = true;
            connection.inbound.put_back(input, &mut self.shared);
            return None;
        }
        let Some(connection) = self.table.get_mut(&id).filter(|c| c.closing.is_none()) else {
            // Closed while its messages were being handed out.
            input.clear();
            self.shared = input;
            return None;
        };
        match connection.inbound.decode(&mut input) {
            Ok(Some(message)) => {
                connection.times.last = now;
                connection.times.partial = None;
                self.current = Some((id, input));
                return Some(Event::Message(id, message));
            }
            Ok(None) => {
                connection.inbound.put_back(input, &mut self.shared);
                self.note_partial(id, now);
                self.flush(id, now);
            }
            Err(error) => {
                input.clear();
                connection.inbound.put_back(input, &mut self.shared);
                self.peer_failed(id, error, now);
            }
        }
        None
    }

    /// Whether so much waits for this peer that its next message has to wait too.
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

    /// The peer broke the rules, or said goodbye: it is told which rule, and closed.
    fn peer_failed(&mut self, id: ConnectionId, error: FramingError, now: Instant) {
        self.give_up(id, error.into(), now);
    }
}

/// Reads bytes; also says whether there may be more to be read without a sign.
fn read_bytes<S: ServerStream>(
    connection: &mut Connection<S>,
    buffer: &mut BytesMut,
) -> io::Result<(ReadMessage, bool)> {
    let room = buffer.capacity() - buffer.len();
    let read = connection.stream.read(buffer)?;
    let more = connection.ended || read == room || connection.stream.stopped_short();
    Ok((if read == 0 { ReadMessage::End } else { ReadMessage::Whole }, more))
}
