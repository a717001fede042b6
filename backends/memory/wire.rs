//! The wire: two queues of bytes between a client and a server, and their faults.

use crate::clock;
use crate::sync::{Condvar, Mutex, MutexGuard};
use bytes::{Buf, BufMut, BytesMut};
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind};
use std::sync::PoisonError;

/// The injected faults of a connection.
///
/// ```
/// let mut faults = msgpipe::memory::Faults::default();
/// faults.chunk = 1; // bytes arrive one at a time
/// faults.capacity = 8; // and writes soon block
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Faults {
    /// The most bytes of one read or write. At least 1. Default: no limit.
    pub chunk: usize,
    /// The bytes in flight in each direction before a write would block. At least 1. Default: 64 KiB, about
    /// the buffer of a socket.
    pub capacity: usize,
    /// The bytes that the client sends before the connection is reset. Default: never.
    pub reset_after: Option<u64>,
}

impl Default for Faults {
    fn default() -> Faults {
        Faults { chunk: usize::MAX, capacity: 64 * 1024, reset_after: None }
    }
}

/// The state of one connection.
#[derive(Debug, Default)]
pub(super) struct Wire {
    to_server: BytesMut,
    to_client: BytesMut,
    sent_by_client: u64,
    faults: Faults,
    client_gone: bool,
    server_gone: bool,
    stalled: bool,
    reset: bool,
    /// The client's pending or next wait must return: that of the thread that reads, and of the one that writes.
    pub woken: [bool; 2],
    /// The task that waits to read at the client, and the one that waits to write there.
    #[cfg(feature = "test-util")]
    pub tasks: [Option<std::task::Waker>; 2],
}

/// An end of a wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Client,
    Server,
}

/// What a read finds. Both the read and the readiness use it, so that they cannot disagree: a reader that is
/// reported as ready and would block retries for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Incoming {
    Nothing,
    Bytes,
    End,
    Broken,
}

/// What a write finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outgoing {
    Full,
    Room(usize),
    Gone,
    Broken,
}

impl Wire {
    pub fn new(mut faults: Faults) -> Wire {
        // A read of zero bytes would mean the end of the stream.
        faults.chunk = faults.chunk.max(1);
        faults.capacity = faults.capacity.max(1);
        Wire { faults, ..Wire::default() }
    }

    /// What a read at `end` finds.
    fn incoming(&self, end: End) -> Incoming {
        let (queue, closed_here, peer_gone) = match end {
            End::Client => (&self.to_client, self.client_gone, self.server_gone),
            End::Server => (&self.to_server, self.server_gone, self.client_gone),
        };
        if closed_here {
            Incoming::End
        } else if self.stalled {
            // Nothing arrives while stalled, not even the peer's close. Only a reset is noticed.
            if self.reset { Incoming::Broken } else { Incoming::Nothing }
        } else if !queue.is_empty() {
            Incoming::Bytes
        } else if self.reset {
            Incoming::Broken
        } else if peer_gone {
            Incoming::End
        } else {
            Incoming::Nothing
        }
    }

    /// Appends bytes that have arrived at `end` to the spare capacity of `buffer`.
    pub fn read(&mut self, end: End, buffer: &mut BytesMut) -> io::Result<usize> {
        match self.incoming(end) {
            Incoming::Bytes => {}
            Incoming::Nothing => return Err(ErrorKind::WouldBlock.into()),
            Incoming::Broken => return Err(ErrorKind::ConnectionReset.into()),
            Incoming::End => return Ok(0),
        }
        let queue = if end == End::Client { &mut self.to_client } else { &mut self.to_server };
        let room = buffer.capacity() - buffer.len();
        let moved = queue.len().min(room).min(self.faults.chunk);
        buffer.put_slice(&queue[..moved]);
        queue.advance(moved);
        Ok(moved)
    }

    /// What a write at `end` finds.
    fn outgoing(&self, end: End) -> Outgoing {
        let queue = if end == End::Client { &self.to_server } else { &self.to_client };
        let room = self.faults.capacity.saturating_sub(queue.len());
        if self.reset {
            Outgoing::Broken
        } else if self.server_gone || self.client_gone {
            Outgoing::Gone
        } else if self.stalled || room == 0 {
            Outgoing::Full
        } else {
            Outgoing::Room(room)
        }
    }

    /// Writes some of `bytes` at `end`.
    pub fn write(&mut self, end: End, bytes: &[u8]) -> io::Result<usize> {
        let room = match self.outgoing(end) {
            Outgoing::Room(room) => room,
            Outgoing::Full => return Err(ErrorKind::WouldBlock.into()),
            Outgoing::Gone => return Err(ErrorKind::BrokenPipe.into()),
            Outgoing::Broken => return Err(ErrorKind::ConnectionReset.into()),
        };
        let mut moved = bytes.len().min(room).min(self.faults.chunk);
        if let Some(after) = self.faults.reset_after.filter(|_| end == End::Client) {
            let left = after.saturating_sub(self.sent_by_client);
            moved = moved.min(usize::try_from(left).unwrap_or(usize::MAX));
            self.reset = moved as u64 == left;
        }
        let queue = if end == End::Client { &mut self.to_server } else { &mut self.to_client };
        queue.put_slice(&bytes[..moved]);
        if end == End::Client {
            self.sent_by_client += moved as u64;
        }
        Ok(moved)
    }

    /// Whether a read at `end` would not block.
    pub fn is_readable(&self, end: End) -> bool {
        self.incoming(end) != Incoming::Nothing
    }

    /// Whether a write at `end` would not block.
    pub fn is_writable(&self, end: End) -> bool {
        self.outgoing(end) != Outgoing::Full
    }

    /// Closes `end`. Bytes that it sent can still be read.
    pub fn close(&mut self, end: End) {
        match end {
            End::Client => self.client_gone = true,
            End::Server => self.server_gone = true,
        }
    }

    /// Whether the client has closed its own end.
    pub fn is_closed_here(&self) -> bool {
        self.client_gone
    }

    /// Nothing moves any more, or again.
    pub fn stall(&mut self, stalled: bool) {
        self.stalled = stalled;
    }

    /// Breaks the connection: bytes in flight are lost.
    pub fn reset(&mut self) {
        self.reset = true;
        self.to_server.clear();
        self.to_client.clear();
    }

    /// Whether both ends have closed.
    pub fn is_over(&self) -> bool {
        self.client_gone && self.server_gone
    }

    /// Whether the client has closed its end, or the connection was reset.
    pub fn is_ended(&self) -> bool {
        self.client_gone || self.reset
    }
}

/// The state that a server and its clients share.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    state: Mutex<State>,
    /// Notified when the state has changed.
    changed: Condvar,
    /// Only tasks of a simulation wait.
    #[cfg(feature = "test-util")]
    pub(super) is_simulated: bool,
    /// A task has waited: others are to be looked for.
    #[cfg(feature = "test-util")]
    pub(super) has_tasks: crate::sync::atomic::AtomicBool,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// Sorted, as tasks are woken in this order.
    pub wires: BTreeMap<u64, Wire>,
    /// Wires that the server has not accepted yet.
    pub backlog: VecDeque<u64>,
    /// Wires with changes that the server has not seen.
    pub touched: VecDeque<u64>,
    pub next: u64,
    /// The server accepts clients.
    pub listening: bool,
    pub woken: bool,
    /// The task of the server, which waits for events.
    #[cfg(feature = "test-util")]
    pub task: Option<std::task::Waker>,
}

impl State {
    /// Closes one end of a wire. When both are closed, removes the wire.
    pub fn close(&mut self, id: u64, end: End) {
        if let Some(wire) = self.wires.get_mut(&id) {
            wire.close(end);
            if wire.is_over() {
                self.wires.remove(&id);
            }
        }
    }
}

impl Exchange {
    pub fn new() -> Exchange {
        Exchange {
            #[cfg(feature = "test-util")]
            is_simulated: crate::simulation::is_here(),
            ..Exchange::default()
        }
    }

    /// Locks the state. A poisoned lock is used as it is: every change is complete before the next can panic.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes both sides.
    pub fn notify(&self) {
        #[cfg(feature = "test-util")]
        if self.wake_tasks() {
            return;
        }
        self.changed.notify_all();
    }

    /// Waits for a change of the state, until `deadline` at the latest. May return early.
    pub fn wait<'a>(
        &self,
        state: MutexGuard<'a, State>,
        deadline: Option<std::time::Instant>,
    ) -> MutexGuard<'a, State> {
        match deadline {
            None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(at) => {
                let left = at.saturating_duration_since(clock::now());
                self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPACITY: usize = 4;

    /// Every state of a wire: its flags, and the bytes in flight.
    fn all_states() -> Vec<Wire> {
        let mut states = Vec::new();
        for bits in 0..16_u8 {
            for (to_client, to_server) in [0, 1, CAPACITY].map(|fill| (fill, fill)) {
                for (to_client, to_server) in
                    [(to_client, 0), (0, to_server), (to_client, to_server)]
                {
                    states.push(Wire {
                        to_server: BytesMut::zeroed(to_server),
                        to_client: BytesMut::zeroed(to_client),
                        faults: Faults { capacity: CAPACITY, ..Faults::default() },
                        stalled: bits & 1 != 0,
                        reset: bits & 2 != 0,
                        client_gone: bits & 4 != 0,
                        server_gone: bits & 8 != 0,
                        ..Wire::default()
                    });
                }
            }
        }
        states
    }

    /// A caller that finds a ready end blocking retries for ever; a caller that is not notified of a ready end
    /// waits for ever.
    #[test]
    fn an_end_is_ready_exactly_if_a_read_or_write_would_not_block() {
        let would_block =
            |done: io::Result<usize>| done.is_err_and(|e| e.kind() == ErrorKind::WouldBlock);
        for wire in all_states() {
            let said = format!("{wire:?}");
            for end in [End::Client, End::Server] {
                let mut wire = Wire {
                    to_server: wire.to_server.clone(),
                    to_client: wire.to_client.clone(),
                    faults: wire.faults.clone(),
                    #[cfg(feature = "test-util")]
                    tasks: [None, None],
                    ..wire
                };
                let (readable, writable) = (wire.is_readable(end), wire.is_writable(end));
                let mut buffer = BytesMut::with_capacity(16);
                assert_eq!(readable, !would_block(wire.read(end, &mut buffer)), "{end:?}: {said}");
                assert_eq!(writable, !would_block(wire.write(end, b"x")), "{end:?}: {said}");
            }
        }
    }
}
