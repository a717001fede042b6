//! What the server sends unasked, and the application has not taken: notifications, and calls to this client.
//!
//! Its memory has limits that do not depend on what the application does. What waits here holds no credit of the
//! connection: that would stop the replies that somebody waits for. Notifications hold the credit of their lane until
//! they are taken, so that their sender waits. Calls are refused when too many bytes of them wait.

use super::slot::{Waiter, Woken};
use crate::error::{CloseReason, ErrorReply};
use crate::exchange::{Arrived, Charge, MESSAGE_COST, Machine, Metadata, Side};
use crate::framing::READ_CHUNK;
use bytes::Bytes;
use std::collections::VecDeque;
use std::time::Instant;

/// The id under which a thread waits for it: the lane of the server's notifications, which is no call.
pub(in crate::client) const UNASKED: u32 = Side::Server.lane();

/// Something that the server has sent unasked.
#[derive(Debug)]
pub(in crate::client) enum Item {
    Notification(Arrived),
    Request(Asked),
}

/// A call of the server to this client.
#[derive(Debug)]
pub(in crate::client) struct Asked {
    pub id: u32,
    pub method: u32,
    pub metadata: Metadata,
    pub deadline: Option<Instant>,
    pub body: Bytes,
}

/// The outcome of looking for the next item.
pub(in crate::client) enum Next {
    Item(Item),
    Nothing,
    /// The connection has ended, and all that came before has been taken.
    Closed(CloseReason),
}

/// What a message costs of a limit.
fn cost(body: &Bytes, metadata: &Metadata) -> usize {
    body.len() + metadata.len() + MESSAGE_COST as usize
}

/// The queue of what was not taken.
#[derive(Debug, Default)]
pub(super) struct Unasked {
    items: VecDeque<Item>,
    /// What the requests in it cost.
    requests: usize,
    /// What the notifications in it cost.
    notifications: usize,
    /// Large requests that were let in and have not arrived wholly, with their sizes.
    admitted: Vec<(u32, usize)>,
    /// A notification was announced that is too large for the credit, and waits to be let in.
    is_announced: bool,
    /// The thread that waits for an item.
    pub waiter: Waiter,
}

impl Unasked {
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Keeps a notification.
    pub fn notified(&mut self, mut arrived: Arrived, woken: &mut Woken) {
        own(&mut arrived.body, &mut arrived.metadata);
        self.notifications += cost(&arrived.body, &arrived.metadata);
        self.items.push_back(Item::Notification(arrived));
        self.waiter.wake(woken);
    }

    /// Keeps a request. `Err`: so much waits that it is refused.
    pub fn called<T>(
        &mut self,
        mut asked: Asked,
        limit: usize,
        machine: &Machine<T>,
        woken: &mut Woken,
    ) -> Result<(), ErrorReply> {
        let was_admitted = self.admitted.iter().position(|(id, _)| *id == asked.id);
        match was_admitted {
            Some(at) => drop(self.admitted.swap_remove(at)),
            None if !self.takes_request(limit, machine) => return Err(too_many()),
            None => {}
        }
        own(&mut asked.body, &mut asked.metadata);
        self.requests += cost(&asked.body, &asked.metadata);
        self.items.push_back(Item::Request(asked));
        self.waiter.wake(woken);
        Ok(())
    }

    /// Whether one more request is kept. One may exceed the limit, so that a low limit lets every message through.
    fn takes_request<T>(&mut self, limit: usize, machine: &Machine<T>) -> bool {
        self.admitted.retain(|(id, _)| machine.is_arriving(*id));
        let admitted: usize = self.admitted.iter().map(|(_, size)| size).sum();
        self.requests + admitted < limit
    }

    /// A large request is to come. `false`: it is refused.
    pub fn admits_request<T>(
        &mut self,
        id: u32,
        size: usize,
        limit: usize,
        machine: &Machine<T>,
    ) -> bool {
        let takes = self.takes_request(limit, machine);
        if takes {
            self.admitted.push((id, size));
        }
        takes
    }

    /// A notification is to come that is larger than any credit. Returns whether it is let in now.
    pub fn admits_notification(&mut self, limit: usize) -> bool {
        self.is_announced = self.notifications >= limit;
        !self.is_announced
    }

    /// Takes the first item. Also returns whether the announced notification is let in now.
    pub fn pop(&mut self, limit: usize) -> Option<(Item, bool)> {
        let item = self.items.pop_front()?;
        if self.items.is_empty() {
            // A flood leaves no memory behind.
            self.items = VecDeque::new();
        }
        match &item {
            Item::Notification(arrived) => {
                self.notifications -= cost(&arrived.body, &arrived.metadata);
            }
            Item::Request(asked) => self.requests -= cost(&asked.body, &asked.metadata),
        }
        let admits = self.is_announced && self.notifications < limit;
        self.is_announced &= !admits;
        Some((item, admits))
    }

    /// Nobody listens any more: what is left, and whether a notification waits to be let in.
    pub fn into_rest(self) -> (VecDeque<Item>, bool) {
        (self.items, self.is_announced)
    }
}

/// So many bytes of requests wait that this one was not begun.
pub(super) fn too_many() -> ErrorReply {
    let text = "so many requests to this client wait that no more are taken: wait for its replies";
    ErrorReply::new(ErrorReply::TOO_MANY_REQUESTS, text)
}

/// A small message that waits is a copy, and not a slice of a buffer that other messages share.
fn own(body: &mut Bytes, metadata: &mut Metadata) {
    if body.len() < READ_CHUNK / 4 {
        *body = Bytes::copy_from_slice(body);
    }
    if !metadata.is_empty() {
        *metadata = metadata.to_owned_bytes();
    }
}

/// Gives back the credit that a notification holds.
pub(super) fn taken<T>(machine: &mut Machine<T>, charge: Charge) {
    machine.taken(Side::Server.lane(), charge);
}
