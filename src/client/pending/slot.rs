//! What is kept for one call of this client.

use crate::counts::CallEnd;
use crate::error::{CloseReason, ErrorReply, Progress};
use crate::exchange::{Charge, Metadata};
use crate::sync::thread::Thread;
use bytes::Bytes;
use std::collections::VecDeque;

#[cfg(feature = "tokio")]
use crate::guard::guarded;
#[cfg(feature = "tokio")]
use std::task::Waker;

/// How a call ended.
#[derive(Debug)]
pub(in crate::client) enum Outcome {
    Reply(Bytes),
    /// All parts of a reply have been taken.
    End,
    Error(Box<ErrorReply>),
    /// Its deadline passed; whether its request was begun.
    Deadline(Progress),
    Closed(Box<CloseReason>),
}

impl From<&Outcome> for CallEnd {
    fn from(outcome: &Outcome) -> CallEnd {
        match outcome {
            Outcome::Reply(_) | Outcome::End => CallEnd::Replied,
            Outcome::Error(_) => CallEnd::Failed,
            Outcome::Deadline(_) => CallEnd::Late,
            Outcome::Closed(_) => CallEnd::Closed,
        }
    }
}

/// Who waits: a thread of the blocking client, or a task of the async one.
#[derive(Debug)]
pub(super) enum Who {
    Thread(Thread),
    #[cfg(feature = "tokio")]
    Task(Waker),
}

impl Who {
    /// Not under a lock; see [`Woken`].
    pub fn wake(self) {
        match self {
            Who::Thread(thread) => thread.unpark(),
            // The fault of one is not the others'.
            #[cfg(feature = "tokio")]
            Who::Task(task) => guarded(|| task.wake()),
        }
    }
}

/// Who is to be woken once no lock is held. A waker is code of somebody else, and may drop a call; a thread would only wait
/// for the lock, which costs two changes of the thread that runs if they share a CPU.
pub(super) type Woken = Vec<Who>;

/// A thread that may wait as a follower, or a task.
#[derive(Debug, Default)]
pub(super) struct Waiter {
    pub who: Option<Who>,
    /// The lead is offered to it.
    pub lead: bool,
}

impl Waiter {
    pub fn wake(&mut self, woken: &mut Woken) {
        woken.extend(self.who.take());
    }
}

/// The state of one call's caller.
#[derive(Debug)]
pub(super) struct Slot {
    pub outcome: Option<Outcome>,
    pub waiter: Waiter,
    /// The position in the stream at which its request ends; `u64::MAX` until all of it is queued.
    pub end: u64,
    /// The first message of a reply in parts, for a call that takes one: it is the reply if no other one follows.
    pub first: Option<Box<Bytes>>,
    /// For a reply of any number of parts.
    pub parts: Option<Box<Parts>>,
    /// What the server has sent beside its reply, or beside the first part of it.
    pub metadata: Option<Box<Metadata>>,
    /// Its request has any number of parts: it is begun with the first of them.
    pub is_stream: bool,
    /// Nobody waits for its reply, and it goes on.
    pub is_detached: bool,
}

/// The parts of a reply that have arrived and were not taken, with the credit that they hold.
#[derive(Debug, Default)]
pub(super) struct Parts {
    pub waiting: VecDeque<(Bytes, Charge)>,
}

impl Slot {
    pub fn new(end: u64, has_parts: bool) -> Slot {
        let parts = has_parts.then(Box::default);
        Slot {
            outcome: None,
            waiter: Waiter::default(),
            end,
            first: None,
            parts,
            metadata: None,
            is_stream: false,
            is_detached: false,
        }
    }

    /// Whether its caller has nothing to wait for.
    pub fn is_ready(&self) -> bool {
        self.outcome.is_some() || self.parts.as_ref().is_some_and(|it| !it.waiting.is_empty())
    }

    /// Whether its outcome is next: all parts before it have been taken.
    pub fn is_over(&self) -> bool {
        self.outcome.is_some() && self.parts.as_ref().is_none_or(|it| it.waiting.is_empty())
    }

    pub fn finish(&mut self, outcome: Outcome, woken: &mut Woken) {
        self.outcome.get_or_insert(outcome);
        self.waiter.wake(woken);
    }

    /// A message has arrived: the reply, or a part of it. Returns the charge if it is not held until the part is
    /// taken.
    pub fn arrives(
        &mut self,
        body: Bytes,
        charge: Charge,
        is_last: bool,
        woken: &mut Woken,
    ) -> Option<Charge> {
        let Some(parts) = &mut self.parts else {
            self.finish(Outcome::Reply(body), woken);
            return Some(charge);
        };
        parts.waiting.push_back((body, charge));
        match is_last {
            true => self.finish(Outcome::End, woken),
            false => self.waiter.wake(woken),
        }
        None
    }

    /// Whether the request was begun, if its connection goes on and its rest is not sent any more.
    pub fn progress(&self) -> Progress {
        progress_of(self.end)
    }
}

/// Whether a request was begun that ends at this position in the stream, and of which nothing more is queued.
pub(in crate::client) fn progress_of(end: u64) -> Progress {
    match end {
        u64::MAX => Progress::NotBegun,
        _ => Progress::Unknown,
    }
}
