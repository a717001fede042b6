//! Memory for large messages: who has announced one waits until there is memory for all of it, in order.

use super::caller::Caller;
use crate::ids::IdMap;
use crate::message_server::ConnectionId;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long a client that has memory reserved may send nothing of its message while others wait for memory.
const STALLED: Duration = Duration::from_secs(1);

/// The announced messages that wait for memory, in order.
#[derive(Default)]
pub(super) struct Rooms {
    waiting: VecDeque<(ConnectionId, u32, usize)>,
    /// Some of them wait for memory, and not only for another message of the same client.
    lacks_memory: bool,
}

impl Rooms {
    /// A message of this size was announced.
    pub fn ask(&mut self, connection: ConnectionId, id: u32, size: usize) {
        self.waiting.push_back((connection, id, size));
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Admits messages for which there is memory now, the first first. Returns the connections.
    pub fn admit(
        &mut self,
        callers: &mut IdMap<ConnectionId, Box<Caller>>,
        now: Instant,
    ) -> Vec<ConnectionId> {
        let (mut admitted, mut full) = (Vec::new(), Vec::new());
        self.lacks_memory = false;
        for (connection, id, size) in std::mem::take(&mut self.waiting) {
            let caller = callers.get_mut(&connection);
            // The call may be over by now.
            let Some(caller) = caller.filter(|caller| caller.machine.is_announced(id)) else {
                continue;
            };
            let user = caller.share().group();
            if caller.reserved > 0 {
                // One large message of a client at a time.
                self.waiting.push_back((connection, id, size));
                continue;
            }
            if caller.share().room_for_large() < size || full.contains(&user) {
                // Who comes later does not overtake, unless it is another user, with memory of its own.
                full.push(user);
                self.lacks_memory = true;
                self.waiting.push_back((connection, id, size));
                continue;
            }
            caller.machine.admit(id);
            (caller.reserved, caller.progress) = (size, Some(now));
            caller.settle();
            admitted.push(connection);
        }
        admitted
    }

    /// The clients that wait.
    pub fn waiting(&self) -> impl Iterator<Item = ConnectionId> {
        self.waiting.iter().map(|(connection, ..)| *connection)
    }

    /// How long the rest of a message may take to arrive.
    pub fn patience(&self, message_time: Duration) -> Duration {
        if self.lacks_memory { message_time.min(STALLED) } else { message_time }
    }

    /// The clients of whose incomplete messages nothing has arrived for that long.
    pub fn stalled(
        &self,
        callers: &IdMap<ConnectionId, Box<Caller>>,
        patience: Duration,
        now: Instant,
    ) -> Vec<ConnectionId> {
        let is_stalled = |caller: &Caller| caller.progress.is_some_and(|at| at + patience <= now);
        callers.iter().filter(|(_, caller)| is_stalled(caller)).map(|(id, _)| *id).collect()
    }
}
