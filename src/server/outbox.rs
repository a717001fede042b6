//! What other threads give to the loop of a server.

use super::calling::{Calling, Outcome};
use super::flow::Flow;
use super::inflow::Inflow;
use super::monitoring::Tap;
use super::tally::Tally;
use crate::error::{CloseReason, ErrorReply, Progress};
use crate::exchange::{Metadata, Opening};
use crate::goodbye::Goodbye;
use crate::limits::Limits;
use crate::message_server::{ConnectionId, Waker};
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::sync::{Mutex, MutexGuard, thread_local};
use bytes::Bytes;
use std::cell::Cell;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// A reply to a request, or an error reply.
pub(super) type Answer = Result<Bytes, Box<ErrorReply>>;

/// What a thread gives to the loop, for a call of a connection.
#[derive(Debug)]
pub(super) enum Given {
    Answer(Answer),
    /// A reply with metadata.
    Reply(Box<(Bytes, Metadata)>),
    /// Parts of its reply wait here, or notifications.
    Parts(Arc<Flow>),
    /// Parts of its request were taken.
    Taken(Arc<Inflow>),
    /// The server calls the client.
    Call(Box<(Opening, Arc<Calling>)>),
    /// Nobody waits for the reply any more.
    Cancel(Arc<Calling>),
    /// The connection is to be closed.
    Close(Box<Goodbye>),
}

impl Given {
    /// Nobody takes it: the connection has ended, or the server.
    pub fn discard(self) {
        match self {
            Given::Parts(flow) => flow.close(),
            Given::Call(call) => {
                call.1.finish(Outcome::Closed(CloseReason::Local, Progress::NotBegun))
            }
            Given::Cancel(calling) => {
                calling.finish(Outcome::Closed(CloseReason::Local, Progress::Unknown));
            }
            Given::Answer(_) | Given::Reply(_) | Given::Taken(_) | Given::Close(_) => {}
        }
    }
}

thread_local! {
    /// This thread runs the loop of a server.
    // Clippy for Windows does not see the `const` (rust-clippy 1.96).
    #[allow(clippy::missing_const_for_thread_local)]
    static IS_LOOP: Cell<bool> = const { Cell::new(false) };
}

/// A number that no other thread has while this one lives, and which is not 0.
fn this_thread() -> usize {
    thread_local! {
        #[allow(clippy::missing_const_for_thread_local)]
        static HERE: u8 = const { 0 };
    }
    HERE.with(|here| std::ptr::from_ref(here) as usize)
}

/// While it lives, its thread runs the loop of a server.
#[must_use]
pub(super) struct OnLoop<'o> {
    outbox: &'o Outbox,
    before: usize,
    was_loop: bool,
    was_awake: bool,
}

impl Drop for OnLoop<'_> {
    fn drop(&mut self) {
        self.outbox.is_awake.store(self.was_awake, Ordering::Relaxed);
        self.outbox.thread.store(self.before, Ordering::SeqCst);
        IS_LOOP.with(|it| it.set(self.was_loop));
    }
}

/// Whether this thread runs the loop of any server: it must not wait for another.
pub(super) fn is_any_loop() -> bool {
    IS_LOOP.with(Cell::get)
}

/// What other threads have given and the loop has not taken yet, and what all connections of a server share.
#[derive(Debug)]
pub(super) struct Outbox {
    given: Mutex<Vec<(ConnectionId, u32, Given)>>,
    /// The loop has ended. Changed under the lock of `given`.
    has_ended: AtomicBool,
    /// The server was told to stop.
    is_stopping: AtomicBool,
    /// Whether something was given. The loop checks this for each message, without a lock.
    waiting: AtomicBool,
    waker: Waker,
    endpoint: Arc<str>,
    /// The time of a call to a client, if it is given no other.
    call_time: Duration,
    /// The calls to one client that may be open, and the bytes of their requests.
    in_flight: usize,
    call_bytes: usize,
    /// The number of the thread that runs the loop; 0 while none does.
    thread: AtomicUsize,
    /// That thread looks whether something was given before it waits for events. Only that thread reads and writes it.
    is_awake: AtomicBool,
    pub tally: Tally,
    /// For those who look on.
    pub tap: Tap,
}

impl Outbox {
    pub fn new(waker: Waker, endpoint: &str, limits: &Limits) -> Outbox {
        Outbox {
            given: Mutex::default(),
            has_ended: AtomicBool::new(false),
            is_stopping: AtomicBool::new(false),
            waiting: AtomicBool::new(false),
            waker,
            endpoint: endpoint.into(),
            call_time: limits.call,
            in_flight: limits.in_flight,
            call_bytes: limits.connection_window,
            thread: AtomicUsize::new(0),
            is_awake: AtomicBool::new(false),
            tally: Tally::default(),
            tap: Tap::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(ConnectionId, u32, Given)>> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This thread runs the loop while the result lives.
    pub fn run_here(&self) -> OnLoop<'_> {
        let before = self.thread.swap(this_thread(), Ordering::SeqCst);
        let was_awake = self.is_awake.load(Ordering::Relaxed);
        OnLoop { outbox: self, before, was_loop: IS_LOOP.with(|it| it.replace(true)), was_awake }
    }

    /// As [`run_here`](Outbox::run_here), and while the result lives this thread need not be woken for what it gives: it looks
    /// before it waits for events.
    #[cfg(feature = "tokio")]
    pub fn run_here_awake(&self) -> OnLoop<'_> {
        let here = self.run_here();
        self.waits(false);
        here
    }

    /// Whether the thread that runs the loop may wait for events from now on: then it is woken for what it gives itself, as
    /// a transport may give something while it waits. Called by that thread only.
    pub fn waits(&self, may_wait: bool) {
        self.is_awake.store(!may_wait, Ordering::Relaxed);
    }

    /// Whether this is the thread that runs the loop.
    pub fn is_on_loop(&self) -> bool {
        self.thread.load(Ordering::SeqCst) == this_thread()
    }

    pub fn endpoint(&self) -> &Arc<str> {
        &self.endpoint
    }

    pub fn call_time(&self) -> Duration {
        self.call_time
    }

    pub fn call_bytes(&self) -> usize {
        self.call_bytes
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub fn stops(&self) {
        self.is_stopping.store(true, Ordering::SeqCst);
    }

    pub fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::SeqCst)
    }

    /// Whether something was given since the last look.
    pub fn has_some(&self) -> bool {
        self.waiting.load(Ordering::Acquire)
    }

    /// What was given since the last look.
    pub fn take(&self) -> Vec<(ConnectionId, u32, Given)> {
        let mut given = self.lock();
        self.waiting.store(false, Ordering::Relaxed);
        std::mem::take(&mut *given)
    }

    /// The loop has ended: nobody takes what is given, and who waits to send is told.
    pub fn end(&self) {
        let mut given = self.lock();
        self.has_ended.store(true, Ordering::SeqCst);
        self.stops();
        let left = std::mem::take(&mut *given);
        drop(given);
        left.into_iter().for_each(|(_, _, given)| given.discard());
    }

    pub fn put(&self, connection: ConnectionId, id: u32, it: Given) {
        let mut given = self.lock();
        if self.has_ended.load(Ordering::SeqCst) {
            drop(given);
            return it.discard();
        }
        let first = given.is_empty();
        given.push((connection, id, it));
        self.waiting.store(true, Ordering::Release);
        drop(given);
        // One wake is enough for many: the loop takes all of them.
        if first && !(self.is_on_loop() && self.is_awake.load(Ordering::Relaxed)) {
            self.waker.wake();
        }
    }
}
