//! Memory for large messages: who has announced one waits until there is memory for all of it, in order.

use super::caller::Caller;
use crate::ids::IdMap;
use crate::message_server::ConnectionId;
use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

/// The clients that have announced a message and wait for memory: of each user, in order. A client is in it once,
/// however many messages it has announced.
#[derive(Default)]
pub(super) struct Rooms {
    waiting: BTreeMap<u64, VecDeque<ConnectionId>>,
}

impl Rooms {
    /// A client has announced a message, or has finished the one before.
    pub fn wait(&mut self, connection: ConnectionId, caller: &mut Caller) {
        if !caller.waits_for_room && caller.reserved == 0 && caller.next_announced().is_some() {
            caller.waits_for_room = true;
            self.waiting.entry(caller.share().group()).or_default().push_back(connection);
        }
    }

    /// A client has gone.
    pub fn remove(&mut self, connection: ConnectionId, caller: &Caller) {
        let group = caller.share().group();
        if let Some(waiting) = self.waiting.get_mut(&group).filter(|_| caller.waits_for_room) {
            waiting.retain(|it| *it != connection);
            if waiting.is_empty() {
                self.waiting.remove(&group);
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether clients of this user wait.
    pub fn has(&self, group: u64) -> bool {
        self.waiting.contains_key(&group)
    }

    /// The first of each user's clients.
    pub fn first(&self) -> impl Iterator<Item = ConnectionId> {
        self.waiting.values().filter_map(|waiting| waiting.front().copied())
    }

    /// Admits messages for which there is memory now. Who comes later does not overtake, unless it is another user,
    /// with memory of its own. Returns the connections.
    pub fn admit(
        &mut self,
        callers: &mut IdMap<ConnectionId, Box<Caller>>,
        now: Instant,
    ) -> Vec<ConnectionId> {
        let mut admitted = Vec::new();
        self.waiting.retain(|_, waiting| {
            while let Some(&connection) = waiting.front() {
                let Some(caller) = callers.get_mut(&connection) else {
                    waiting.pop_front();
                    continue;
                };
                // Its calls may be over by now.
                if let Some((id, size)) = caller.next_announced() {
                    if caller.share().room_for_large() < size {
                        return true;
                    }
                    caller.admit(id, size, now);
                    admitted.push(connection);
                }
                caller.waits_for_room = false;
                waiting.pop_front();
            }
            false
        });
        admitted
    }
}
