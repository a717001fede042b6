//! The server's end: `crate::connections` on in-memory streams.

use super::client::this_process;
use super::wire::{End, Exchange};
use crate::clock;
use crate::connections::{Connections, ServerStream, is_over};
use crate::framing::{Framing, SendQueue};
use crate::goodbye::Goodbye;
use crate::message_server::{ConnectionId, Event, MessageServer, SendError, Waker};
use crate::peer::Peer;
use crate::{Error, Limits, Share};
use bytes::{Bytes, BytesMut};
use std::fmt;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An in-memory [`MessageServer`]; [`Hub::listen`](super::Hub::listen) returns it.
pub struct MemoryServer {
    exchange: Arc<Exchange>,
    connections: Connections<Accepted>,
    endpoint: Arc<str>,
}

/// The server's end of one wire.
struct Accepted {
    exchange: Arc<Exchange>,
    id: u64,
}

impl MemoryServer {
    pub(super) fn new(
        exchange: Arc<Exchange>,
        framing: Arc<dyn Framing>,
        limits: &Limits,
        endpoint: Arc<str>,
    ) -> MemoryServer {
        let connections = Connections::new(framing, limits);
        MemoryServer { exchange, connections, endpoint }
    }

    /// Reports to the connections what the clients have done since the last call.
    fn collect(&mut self) {
        let mut state = self.exchange.lock();
        if std::mem::take(&mut state.woken) {
            self.connections.push_event(Event::Woken);
        }
        let waiting = std::mem::take(&mut state.backlog);
        // A client over the limit of connections is closed at once, and its drop needs the lock.
        drop(state);
        for id in waiting {
            let stream = Accepted { exchange: self.exchange.clone(), id };
            let connection = ConnectionId::from_number(id);
            self.connections.add(connection, stream, this_process().clone(), true, clock::now());
        }
        let mut state = self.exchange.lock();
        while let Some(id) = state.touched.pop_front() {
            let connection = ConnectionId::from_number(id);
            let Some(wire) = state.wires.get(&id) else {
                continue;
            };
            if wire.is_readable(End::Server) {
                self.connections.readable(connection, wire.is_ended());
            }
            if wire.is_writable(End::Server) {
                self.connections.writable(connection);
            }
            if wire.is_ended() {
                self.connections.hung_up(connection);
            }
        }
        self.connections.begin_turn(clock::now());
    }
}

impl fmt::Debug for MemoryServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryServer").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl MessageServer for MemoryServer {
    fn poll(&mut self, timeout: Option<Duration>) -> Result<Option<Event>, Error> {
        let until = timeout.map(Limits::until);
        loop {
            self.collect();
            let now = clock::now();
            if let Some(event) = self.connections.next(now) {
                return Ok(Some(event));
            }
            let state = self.exchange.lock();
            let is_busy = self.connections.is_busy()
                || !state.touched.is_empty()
                || state.woken
                || !state.backlog.is_empty();
            if is_over(until, is_busy, now) {
                return Ok(None);
            }
            if is_busy {
                continue;
            }
            let deadline = [until, self.connections.deadline()].into_iter().flatten().min();
            drop(self.exchange.wait(state, deadline));
        }
    }

    fn send_with_head(
        &mut self,
        to: ConnectionId,
        head: &[u8],
        body: Bytes,
    ) -> Result<(), SendError> {
        self.connections.send(to, head, body)
    }

    fn close(&mut self, connection: ConnectionId, why: Goodbye) {
        self.connections.close(connection, &why, clock::now());
    }

    fn abort(&mut self, connection: ConnectionId) {
        self.connections.abort(connection);
    }

    fn is_reachable(&self, connection: ConnectionId) -> bool {
        self.connections.is_reachable(connection)
    }

    fn has_room(&mut self, to: ConnectionId) -> bool {
        self.connections.has_room(to)
    }

    fn wait_for_memory(&mut self, connection: ConnectionId) {
        self.connections.wait_for_memory(connection);
    }

    fn keep_going(&mut self, connection: ConnectionId, keeps_going: bool) {
        self.connections.keep_going(connection, keeps_going);
    }

    fn allow_unread(&mut self, connection: ConnectionId, allowed: bool) {
        self.connections.allow_unread(connection, allowed, clock::now());
    }

    fn largest_message(&self, to: ConnectionId) -> usize {
        self.connections.largest_message(to)
    }

    fn share(&self, connection: ConnectionId) -> Option<Share> {
        self.connections.share(connection)
    }

    fn peer(&self, connection: ConnectionId) -> Option<&Peer> {
        self.connections.peer(connection)
    }

    fn stop_accepting(&mut self) {
        let mut state = self.exchange.lock();
        state.listening = false;
        let waiting = std::mem::take(&mut state.backlog);
        for id in waiting {
            state.close(id, End::Server);
        }
        drop(state);
        self.exchange.notify();
    }

    /// When there is something to do without news of a client.
    fn poll_at(&self) -> Option<Instant> {
        match self.connections.is_busy() {
            true => Some(clock::now()),
            false => self.connections.deadline(),
        }
    }

    #[cfg(feature = "test-util")]
    fn watch(&self, task: &std::task::Waker) -> bool {
        self.exchange.watch(task);
        true
    }

    fn waker(&self) -> Waker {
        let exchange = self.exchange.clone();
        Waker::new(move || {
            exchange.lock().woken = true;
            exchange.notify();
        })
    }

    fn endpoint(&self) -> &str {
        &self.endpoint
    }
}

impl Drop for MemoryServer {
    fn drop(&mut self) {
        self.stop_accepting();
    }
}

impl ServerStream for Accepted {
    fn read(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        let mut state = self.exchange.lock();
        let wire = state.wires.get_mut(&self.id).ok_or(ErrorKind::NotConnected)?;
        let moved = wire.read(End::Server, buffer);
        // A short read does not mean that no bytes are left.
        if wire.is_readable(End::Server) {
            state.touched.push_back(self.id);
        }
        drop(state);
        self.exchange.notify();
        moved
    }

    fn write(&mut self, queue: &mut SendQueue) -> io::Result<usize> {
        let mut state = self.exchange.lock();
        let wire = state.wires.get_mut(&self.id).ok_or(ErrorKind::NotConnected)?;
        let mut moved = 0;
        let outcome = loop {
            let mut slices = [IoSlice::new(&[])];
            if queue.slices(&mut slices) == 0 {
                break Ok(moved);
            }
            match wire.write(End::Server, &slices[0]) {
                Ok(taken) => {
                    queue.advance(taken);
                    moved += taken;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock && moved > 0 => {
                    break Ok(moved);
                }
                Err(error) => break Err(error),
            }
        };
        drop(state);
        self.exchange.notify();
        outcome
    }
}

impl Drop for Accepted {
    fn drop(&mut self) {
        let mut state = self.exchange.lock();
        state.close(self.id, End::Server);
        drop(state);
        self.exchange.notify();
    }
}
