//! What waits in a machine: requests, control frames, messages in turn, events. An idle machine has none of it, and
//! no memory for it.

use crate::exchange::event::Event;
use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};

/// Why a peer's call was not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum NotBegun {
    TooMany,
    NoMemory,
    Stopping,
}

/// What waits, by kind.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Lists {
    /// Calls of the peer that were not begun and need no entry: their errors are to be sent.
    pub refusals: VecDeque<(u32, NotBegun)>,
    /// This side's calls of which nothing has been sent. They leave in order, as ids on the wire only go up.
    pub unsent: VecDeque<u32>,
    /// Calls with control frames.
    pub urgent: VecDeque<u32>,
    /// Calls that may send messages, in turn. An entry of a call with another [`Place`] is stale.
    ///
    /// [`Place`]: crate::exchange::call::Place
    pub ready: VecDeque<u32>,
    /// Calls with a next message that the credit of the connection does not cover, in order: a large message
    /// is not overtaken for ever by small ones.
    pub waiting: VecDeque<u32>,
    /// What has happened and was not taken.
    pub events: VecDeque<Event>,
}

impl Lists {
    const EMPTY: Lists = Lists {
        refusals: VecDeque::new(),
        unsent: VecDeque::new(),
        urgent: VecDeque::new(),
        ready: VecDeque::new(),
        waiting: VecDeque::new(),
        events: VecDeque::new(),
    };

    pub fn is_empty(&self) -> bool {
        let Lists { refusals, unsent, urgent, ready, waiting, events } = self;
        let ids = [unsent, urgent, ready, waiting];
        refusals.is_empty() && events.is_empty() && ids.iter().all(|list| list.is_empty())
    }
}

static EMPTY: Lists = Lists::EMPTY;

/// Lists that are allocated when one is changed.
#[derive(Clone, Debug, Default)]
pub(super) struct Lazy(Option<Box<Lists>>);

impl Lazy {
    /// The lists, if there are any.
    pub fn as_mut(&mut self) -> Option<&mut Lists> {
        self.0.as_deref_mut()
    }

    /// Frees the memory of empty lists.
    pub fn free_if_empty(&mut self) {
        if self.0.as_ref().is_some_and(|lists| lists.is_empty()) {
            self.0 = None;
        }
    }
}

impl Deref for Lazy {
    type Target = Lists;

    fn deref(&self) -> &Lists {
        self.0.as_deref().unwrap_or(&EMPTY)
    }
}

impl DerefMut for Lazy {
    fn deref_mut(&mut self) -> &mut Lists {
        self.0.get_or_insert_default()
    }
}
