//! The asking side: calls that wait for their reply.

use crate::ids::IdMap;
use std::time::Instant;

/// Calls of one connection. `T` is what is kept for the caller of each: it goes in with
/// [`register`](Calls::register), is told of once when the call ends, and comes out once, with
/// [`collect`](Calls::collect) after the end or [`abandon`](Calls::abandon) before.
///
/// A call whose time is over stays known until its late reply has come, so that a late reply is
/// told apart from one that nobody asked for; until then it counts against the limit.
#[derive(Debug)]
pub(crate) struct Calls<T> {
    calls: IdMap<u32, Call<T>>,
    /// How many of them have had no reply.
    open: usize,
    next: u32,
    limit: usize,
}

/// It is kept until its reply has come and its caller has collected the outcome.
#[derive(Debug)]
struct Call<T> {
    /// Its reply may come.
    open: bool,
    /// The caller has been told how it ended.
    ended: bool,
    deadline: Option<Instant>,
    /// `None` once it has come out.
    caller: Option<T>,
}

/// As many calls as the limit allows are open.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooMany {
    pub limit: usize,
}

/// A reply with an id that no open call has.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a reply to request {id}, which was not asked or has its reply already")]
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

    /// Whether so many calls may be registered now.
    pub fn room_for(&self, count: usize) -> Result<(), TooMany> {
        match count <= self.room() {
            true => Ok(()),
            false => Err(TooMany { limit: self.limit }),
        }
    }

    /// Gives a new call its id.
    pub fn register(&mut self, deadline: Option<Instant>, caller: T) -> Result<u32, TooMany> {
        self.room_for(1)?;
        // After four billion calls an old one may still be known: its id is passed over.
        while self.calls.contains_key(&self.next) {
            self.next = self.next.wrapping_add(1);
        }
        let id = self.next;
        self.next = id.wrapping_add(1);
        self.calls.insert(id, Call { open: true, ended: false, deadline, caller: Some(caller) });
        self.open += 1;
        Ok(id)
    }

    /// A reply has come. `Ok(Some)`: that is the end of the call, and its caller is to be told.
    /// `Ok(None)`: its caller does not wait any more.
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

    /// What is kept for the caller of a call that has not ended.
    pub fn waiting(&mut self, id: u32) -> Option<&mut T> {
        let call = self.calls.get_mut(&id)?;
        call.caller.as_mut().filter(|_| !call.ended)
    }

    /// The caller takes the outcome of a call that has ended.
    pub fn collect(&mut self, id: u32) -> Option<T> {
        let call = self.calls.get_mut(&id).filter(|call| call.ended)?;
        let (caller, open) = (call.caller.take(), call.open);
        if !open {
            self.calls.remove(&id);
        }
        caller
    }

    /// The caller has gone; the reply will be dropped.
    pub fn abandon(&mut self, id: u32) -> Option<T> {
        let call = self.calls.get_mut(&id)?;
        let (caller, open) = (call.caller.take(), call.open);
        if !open {
            self.calls.remove(&id);
        }
        caller
    }

    /// The request was not sent: no reply will come, and nobody is told.
    pub fn withdraw(&mut self, id: u32) {
        if self.calls.remove(&id).is_some_and(|call| call.open) {
            self.open -= 1;
        }
    }

    /// Ends every call whose deadline is not after `now`; their replies may still come.
    pub fn expire(&mut self, now: Instant, mut tell: impl FnMut(&mut T)) {
        for call in self.calls.values_mut() {
            if call.deadline.is_some_and(|at| at <= now) {
                call.end().map(&mut tell);
            }
        }
    }

    /// The connection has ended: no reply will come.
    pub fn close(&mut self, mut tell: impl FnMut(&mut T)) {
        self.open = 0;
        self.calls.retain(|_, call| {
            call.open = false;
            call.end().map(&mut tell);
            call.caller.is_some()
        });
    }

    /// How many calls anything is kept of.
    #[cfg(test)]
    pub fn known(&self) -> usize {
        self.calls.len()
    }

    /// Makes `next` the id to be tried next, as after so many calls.
    #[cfg(test)]
    pub fn wind_to(&mut self, next: u32) {
        self.next = next;
    }
}

impl<T> Call<T> {
    /// Ends it, once; gives the caller that is to be told.
    fn end(&mut self) -> Option<&mut T> {
        let first = !std::mem::replace(&mut self.ended, true);
        self.caller.as_mut().filter(|_| first)
    }
}
