//! From readiness to messages.
//!
//! One read for each ready connection in turn, so that a busy one does not keep the others
//! waiting; its messages are handed out one by one, so that the answers to the first ones count
//! before the next is looked at.

use super::{Connections, ServerStream};
use crate::error::CloseReason;
use crate::framing::FramingError;
use crate::message_server::{ConnectionId, Event};
use std::io::ErrorKind;
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
        let room = buffer.capacity() - buffer.len();
        let outcome = connection.stream.read(&mut buffer);
        if let Ok(1..) = outcome {
            let more = connection.ended || outcome.is_ok_and(|read| read == room);
            self.current = Some((id, buffer));
            if more {
                self.readable(id, false);
            }
            return;
        }
        connection.inbound.put_back(buffer, &mut self.shared);
        match outcome {
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
                self.current = Some((id, input));
                return Some(Event::Message(id, message));
            }
            Ok(None) => {
                connection.inbound.put_back(input, &mut self.shared);
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
        if let (Some(code), Some(connection)) = (error.goodbye_code(), self.table.get_mut(&id)) {
            connection.outbound.goodbye(code, &error.to_string());
        }
        self.begin_close(id, error.into(), now);
    }
}
