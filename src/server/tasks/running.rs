//! The handlers that run: each is a future, and all are polled by one task.

use crate::error::ErrorReply;
use crate::guard::discard;
use crate::message_server::ConnectionId;
use crate::nesting::Handling;
use crate::server::IntoReply;
use crate::server::hooks::{Hooks, OnPanic};
use crate::server::interrupt::Watch;
use crate::server::responder::{Request, Responder};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

pub(super) struct Running<F> {
    tasks: FuturesUnordered<Task<F>>,
    drops_cancelled: bool,
    hooks: Hooks,
}

/// The place of a handler among those that run at once; given back when it is dropped.
pub(super) struct Slot(Arc<AtomicUsize>);

impl Slot {
    /// `None`: so many run.
    pub fn take(running: &Arc<AtomicUsize>, at_once: usize) -> Option<Slot> {
        let slot = Slot(running.clone());
        // If there are too many, its drop takes it back.
        (running.fetch_add(1, Ordering::SeqCst) < at_once).then_some(slot)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What a handler's future holds until the reply. The place is given back first: a client whose reply has come may send its
/// next request.
pub(super) struct Kept {
    slot: Slot,
    responder: Responder,
}

impl Kept {
    /// For a handler that replies at any time: its place is kept until its future has ended.
    pub fn into_parts(self) -> (Slot, Responder) {
        (self.slot, self.responder)
    }

    pub fn new(slot: Slot, responder: Responder) -> Kept {
        Kept { slot, responder }
    }

    pub fn reply(self, reply: impl IntoReply) {
        drop(self.slot);
        self.responder.reply(reply);
    }
}

/// The handling of one request.
struct Task<F> {
    /// `None`: it has ended.
    future: Option<Pin<Box<F>>>,
    connection: ConnectionId,
    handling: Handling,
    /// It ends when the call is over.
    watch: Option<Arc<Watch>>,
}

/// A handler that has panicked.
struct Panicked {
    connection: ConnectionId,
    panic: Box<dyn Any + Send>,
}

impl<F: Future<Output = ()>> Future for Task<F> {
    type Output = Option<Panicked>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Panicked>> {
        if self.watch.as_ref().is_some_and(|it| it.is_over_or_watched(context.waker())) {
            return Poll::Ready(self.end());
        }
        let _handling = self.handling.clone().enter();
        let Some(future) = &mut self.future else {
            return Poll::Ready(None);
        };
        // What it holds, its responder too, is dropped by the panic.
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(())) => Poll::Ready(self.end()),
            Err(panic) => Poll::Ready(Some(Panicked { connection: self.connection, panic })),
        }
    }
}

impl<F> Task<F> {
    /// Drops the future, which is the application's code too.
    fn end(&mut self) -> Option<Panicked> {
        let future = self.future.take()?;
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(future)));
        dropped.err().map(|panic| Panicked { connection: self.connection, panic })
    }
}

impl<F> Drop for Task<F> {
    fn drop(&mut self) {
        if let Some(Panicked { panic, .. }) = self.end() {
            discard(panic);
        }
    }
}

impl<F> Running<F> {
    /// Drops all handlers.
    pub fn clear(&mut self) {
        self.tasks.clear();
    }
}

impl<F: Future<Output = ()>> Running<F> {
    pub fn new(drops_cancelled: bool, panicked: Option<Box<OnPanic>>) -> Running<F> {
        let hooks = Hooks::of_panics(panicked);
        Running { tasks: FuturesUnordered::new(), drops_cancelled, hooks }
    }

    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Calls the handler. Its future is polled the next time.
    pub fn begin(
        &mut self,
        request: Request,
        kept: Kept,
        handler: &mut impl FnMut(Request, Kept) -> F,
    ) {
        let connection = request.connection_id();
        let handling = request.handling();
        let watch = request.watch.clone().filter(|_| self.drops_cancelled);
        let entered = handling.clone().enter();
        let future = catch_unwind(AssertUnwindSafe(|| Box::pin(handler(request, kept))));
        drop(entered);
        match future {
            Ok(future) => {
                self.tasks.push(Task { future: Some(future), connection, handling, watch });
            }
            Err(panic) => self.hooks.panicked(connection, panic),
        }
    }

    /// Lets the handlers go on that can.
    pub fn poll(&mut self, context: &mut Context<'_>) {
        while let Poll::Ready(Some(ended)) = self.tasks.poll_next_unpin(context) {
            if let Some(Panicked { connection, panic }) = ended {
                self.hooks.panicked(connection, panic);
            }
        }
    }
}

/// Why a request is not begun.
pub(super) fn busy(at_once: usize) -> ErrorReply {
    let text = format!(
        "{at_once} handlers run, the limit (Tasks::at_once): try again later, or send fewer requests at once"
    );
    ErrorReply::new(ErrorReply::BUSY, text)
}
