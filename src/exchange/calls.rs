//! The asking side: calls that wait for their reply.

use crate::ids::IdMap;
use std::time::Instant;

/// Calls of one connection. `T` is whoever waits for the reply; each `T` that goes in with
/// [`register`](Calls::register) comes out exactly once.
///
/// A call whose time is over stays known until its late reply has come, so that a late reply is
/// told apart from one that nobody asked for; until then it counts against the limit.
#[derive(Debug)]
pub(crate) struct Calls<T> {
    pending: IdMap<u32, Pending<T>>,
    next: u32,
    limit: usize,
}

#[derive(Debug)]
enum Pending<T> {
    Waiting {
        deadline: Option<Instant>,
        waiter: T,
    },
    /// The caller has been told that there is no reply.
    Abandoned,
}

/// As many calls as the limit allows are pending.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooMany {
    pub limit: usize,
}

/// A reply with an id that no pending call has.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a reply to request {id}, which was not asked or has its reply already")]
pub(crate) struct UnknownReply {
    pub id: u32,
}

impl<T> Calls<T> {
    pub fn new(limit: usize) -> Calls<T> {
        Calls { pending: IdMap::default(), next: 0, limit }
    }

    /// Whether as many calls as the limit allows are pending.
    pub fn is_full(&self) -> bool {
        self.pending.len() >= self.limit
    }

    /// Gives a new call its id.
    pub fn register(&mut self, deadline: Option<Instant>, waiter: T) -> Result<u32, TooMany> {
        if self.is_full() {
            return Err(TooMany { limit: self.limit });
        }
        // After four billion calls an old one may still be pending: its id is passed over.
        while self.pending.contains_key(&self.next) {
            self.next = self.next.wrapping_add(1);
        }
        let id = self.next;
        self.next = id.wrapping_add(1);
        self.pending.insert(id, Pending::Waiting { deadline, waiter });
        Ok(id)
    }

    /// A reply has come. `Ok(None)`: its caller does not wait any more.
    pub fn complete(&mut self, id: u32) -> Result<Option<T>, UnknownReply> {
        match self.pending.remove(&id) {
            Some(Pending::Waiting { waiter, .. }) => Ok(Some(waiter)),
            Some(Pending::Abandoned) => Ok(None),
            None => Err(UnknownReply { id }),
        }
    }

    /// The caller does not wait any more; its reply will be dropped. `None`: it was ended before.
    pub fn abandon(&mut self, id: u32) -> Option<T> {
        let pending = self.pending.get_mut(&id)?;
        match std::mem::replace(pending, Pending::Abandoned) {
            Pending::Waiting { waiter, .. } => Some(waiter),
            Pending::Abandoned => None,
        }
    }

    /// The request was not sent: no reply will come.
    pub fn withdraw(&mut self, id: u32) -> Option<T> {
        match self.pending.remove(&id)? {
            Pending::Waiting { waiter, .. } => Some(waiter),
            Pending::Abandoned => None,
        }
    }

    /// Abandons every call whose deadline is not after `now`, and returns who waited.
    pub fn expire(&mut self, now: Instant) -> Vec<T> {
        let over = |pending: &Pending<T>| matches!(pending, Pending::Waiting { deadline: Some(at), .. } if *at <= now);
        let ids: Vec<u32> =
            self.pending.iter().filter(|(_, p)| over(p)).map(|(&id, _)| id).collect();
        ids.into_iter().filter_map(|id| self.abandon(id)).collect()
    }

    /// The connection has ended: nothing is pending any more. Returns who waited.
    pub fn close(&mut self) -> Vec<T> {
        let waiter = |(_, pending)| match pending {
            Pending::Waiting { waiter, .. } => Some(waiter),
            Pending::Abandoned => None,
        };
        self.pending.drain().filter_map(waiter).collect()
    }

    /// Makes `next` the id to be tried next, as after so many calls.
    #[cfg(test)]
    pub fn wind_to(&mut self, next: u32) {
        self.next = next;
    }
}
