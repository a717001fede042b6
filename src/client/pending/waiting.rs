//! The list of tasks that wait for something besides a reply.

use crate::error::CloseReason;
use std::collections::BTreeMap;
use std::task::Waker;
use std::time::Instant;

/// What a task waits for, besides a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::client) enum Until {
    /// The server's settings are known.
    Settled,
    /// One more notification is taken.
    MayNotify,
    /// One more call may be in flight. Its place is kept for who is told so, until that one begins it or gives it back.
    MayCall,
    /// Fewer bytes of this request wait, or no more of it are taken.
    Room { id: u32, bytes: usize },
}

/// How such a wait stands.
#[derive(Debug)]
pub(in crate::client) enum Waited {
    Met,
    /// The deadline has passed.
    Late,
    Closed(CloseReason),
    /// The task will be woken.
    NotYet,
}

#[derive(Debug)]
pub(super) struct Waiting {
    pub until: Until,
    pub deadline: Option<Instant>,
    pub task: Waker,
}

/// The tasks that wait for something besides a reply, each at most once for each of its futures. All for which it has
/// come are woken: one that is not polled then, as its future was forgotten, keeps nothing from the others.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    /// By the keys of the waits.
    pub waiting: BTreeMap<u64, Waiting>,
    pub last_key: u64,
    /// The places of calls that are kept.
    pub kept: usize,
}
