//! The table of the brief calls.

use crate::ids::IdMap;
use std::time::Instant;

/// An empty table is kept for the next calls of this side if it has room for no more than this.
const KEPT_MAX: usize = 256;

/// A call of this side with a request that was sent, or a call of the peer with a request that has arrived.
#[derive(Clone, Debug, Hash)]
pub(super) struct Brief<T> {
    pub owner: Option<T>,
    pub deadline: Option<Instant>,
    /// It is this side's, and its reply has arrived.
    pub is_over: bool,
}

/// Brief calls by id. One is in no table: most peers have one call open at a time, so that they need none.
#[derive(Clone, Debug)]
pub(super) struct Briefs<T> {
    one: Option<(u32, Brief<T>)>,
    others: IdMap<u32, Brief<T>>,
}

impl<T> Briefs<T> {
    pub fn new() -> Briefs<T> {
        Briefs { one: None, others: IdMap::default() }
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.one.is_none() && self.others.is_empty()
    }

    #[inline]
    pub fn get(&self, id: u32) -> Option<&Brief<T>> {
        match &self.one {
            Some((one, brief)) if *one == id => Some(brief),
            _ if self.others.is_empty() => None,
            _ => self.others.get(&id),
        }
    }

    #[inline]
    pub fn get_mut(&mut self, id: u32) -> Option<&mut Brief<T>> {
        match &mut self.one {
            Some((one, brief)) if *one == id => Some(brief),
            _ if self.others.is_empty() => None,
            _ => self.others.get_mut(&id),
        }
    }

    /// Adds a call, which has no entry yet.
    #[inline]
    pub fn insert(&mut self, id: u32, brief: Brief<T>) {
        match self.one {
            None => self.one = Some((id, brief)),
            Some(_) => drop(self.others.insert(id, brief)),
        }
    }

    #[inline]
    pub fn remove(&mut self, id: u32) -> Option<Brief<T>> {
        if self.one.as_ref().is_some_and(|(one, _)| *one == id) {
            return self.one.take().map(|(_, brief)| brief);
        }
        match self.others.is_empty() {
            true => None,
            false => self.others.remove(&id),
        }
    }

    /// Frees the memory of an empty table. `keeps`: a small one is kept.
    pub fn free_if_empty(&mut self, keeps: bool) {
        let capacity = self.others.capacity();
        if self.others.is_empty() && capacity > if keeps { KEPT_MAX } else { 0 } {
            self.others = IdMap::default();
        }
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Brief<T>> {
        let one = self.one.iter_mut().map(|(_, brief)| brief);
        one.chain(self.others.values_mut())
    }

    pub fn iter(&self) -> impl Iterator<Item = (u32, &Brief<T>)> {
        let one = self.one.iter().map(|(id, brief)| (*id, brief));
        one.chain(self.others.iter().map(|(id, brief)| (*id, brief)))
    }
}
