//! The client's side: the calls in flight.

use crate::ids::IdMap;
use std::time::Instant;

/// The calls of one connection. `T` is the state of a caller: [`register`](Calls::register) stores it, the
/// end of the call reports it once, and it is returned once, by [`collect`](Calls::collect) after the end or
/// [`abandon`](Calls::abandon) before.
///
/// A call whose deadline has passed stays in the table until its late reply has arrived, so that a late reply
/// differs from one that nobody asked for. Until then it counts against the limit.
#[derive(Debug)]
pub(crate) struct Calls<T> {
    calls: IdMap<u32, Call<T>>,
    /// The number of calls without a reply.
    open: usize,
    next: u32,
    limit: usize,
}

/// A call is kept until its reply has arrived and its caller has collected the outcome.
#[derive(Debug)]
struct Call<T> {
    /// The reply has not arrived.
    open: bool,
    /// The caller has been notified of the end.
    ended: bool,
    deadline: Option<Instant>,
    /// `None` once it has been returned.
    caller: Option<T>,
}

/// The limit of calls in flight is reached.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooMany {
    pub limit: usize,
}

/// A reply with an id that no open call has.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a reply to request {id}, which was not sent or has been answered already")]
pub(crate) struct UnknownReply {
    pub id: u32,
}

impl<T> Calls<T> {
    pub fn new(limit: usize) -> Calls<T> {
        Calls { calls: IdMap::default(), open: 0, next: 0, limit }
    }

    /// How many calls may be registered now.
    pub fn room(&self) -> usize {
        self.limit.saturating_sub(self.open)
    }

    /// Checks that `count` calls may be registered now.
    pub fn room_for(&self, count: usize) -> Result<(), TooMany> {
        match count <= self.room() {
            true => Ok(()),
            false => Err(TooMany { limit: self.limit }),
        }
    }

    /// Registers a new call and returns its id.
    pub fn register(&mut self, deadline: Option<Instant>, caller: T) -> Result<u32, TooMany> {
        self.room_for(1)?;
        // After four billion calls an old one may still be in the table: its id is skipped.
        while self.calls.contains_key(&self.next) {
            self.next = self.next.wrapping_add(1);
        }
        let id = self.next;
        self.next = id.wrapping_add(1);
        self.calls.insert(id, Call { open: true, ended: false, deadline, caller: Some(caller) });
        self.open += 1;
        Ok(id)
    }

    /// A reply has arrived. `Ok(Some)`: the call has ended, and the returned caller must be notified.
    /// `Ok(None)`: its caller no longer waits.
    pub fn complete(&mut self, id: u32) -> Result<Option<&mut T>, UnknownReply> {
        let Some(call) = self.calls.get_mut(&id).filter(|call| call.open) else {
            return Err(UnknownReply { id });
        };
        call.open = false;
        self.open -= 1;
        if call.caller.is_none() {
            self.calls.remove(&id);
            return Ok(None);
        }
        Ok(self.calls.get_mut(&id).and_then(Call::end))
    }

    /// Whether the call has ended, and has not been collected.
    pub fn is_ended(&self, id: u32) -> bool {
        self.calls.get(&id).is_some_and(|call| call.ended)
    }

    /// The caller of a call that has not ended.
    pub fn waiting(&mut self, id: u32) -> Option<&mut T> {
        let call = self.calls.get_mut(&id)?;
        call.caller.as_mut().filter(|_| !call.ended)
    }

    /// Returns the caller of a call that has ended.
    pub fn collect(&mut self, id: u32) -> Option<T> {
        if !self.is_ended(id) {
            return None;
        }
        self.abandon(id)
    }

    /// The caller no longer waits; the reply will be dropped.
    pub fn abandon(&mut self, id: u32) -> Option<T> {
        let call = self.calls.get_mut(&id)?;
        let (caller, open) = (call.caller.take(), call.open);
        if !open {
            self.calls.remove(&id);
        }
        caller
    }

    /// The request was not sent: removes the call without a notification.
    pub fn withdraw(&mut self, id: u32) {
        if self.calls.remove(&id).is_some_and(|call| call.open) {
            self.open -= 1;
        }
    }

    /// Ends every call whose deadline is not after `now`. Their replies may still arrive.
    pub fn expire(&mut self, now: Instant, mut tell: impl FnMut(&mut T)) {
        for call in self.calls.values_mut() {
            if call.deadline.is_some_and(|at| at <= now) {
                call.end().map(&mut tell);
            }
        }
    }

    /// The connection has ended: ends every call.
    pub fn close(&mut self, mut tell: impl FnMut(&mut T)) {
        self.open = 0;
        self.calls.retain(|_, call| {
            call.open = false;
            call.end().map(&mut tell);
            call.caller.is_some()
        });
    }

    /// The number of calls in the table.
    #[cfg(test)]
    pub fn known(&self) -> usize {
        self.calls.len()
    }

    /// Makes `next` the next id to try, as after that many calls.
    #[cfg(test)]
    pub fn wind_to(&mut self, next: u32) {
        self.next = next;
    }
}

impl<T> Call<T> {
    /// Ends the call. Returns the caller to notify, the first time.
    fn end(&mut self) -> Option<&mut T> {
        let first = !std::mem::replace(&mut self.ended, true);
        self.caller.as_mut().filter(|_| first)
    }
}
