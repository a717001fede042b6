//! The handlers that run: each is a future, and all are polled by one task.

use crate::error::ErrorReply;
use crate::message_server::ConnectionId;
use crate::nesting::Handling;
use crate::server::hooks::{Hooks, OnPanic};
use crate::server::interrupt::Watch;
use crate::server::responder::{Request, Responder};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

pub(super) struct Running<F> {
    tasks: FuturesUnordered<Task<F>>,
    drops_cancelled: bool,
    hooks: Hooks,
}

/// The handling of one request.
struct Task<F> {
    future: Pin<Box<F>>,
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
            return Poll::Ready(None);
        }
        let _handling = self.handling.clone().enter();
        // What it holds, its responder too, is dropped by the panic.
        match catch_unwind(AssertUnwindSafe(|| self.future.as_mut().poll(context))) {
            Ok(polled) => polled.map(|()| None),
            Err(panic) => Poll::Ready(Some(Panicked { connection: self.connection, panic })),
        }
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
        responder: Responder,
        handler: &mut impl FnMut(Request, Responder) -> F,
    ) {
        let connection = request.connection_id();
        let handling = request.handling();
        let watch = request.watch.clone().filter(|_| self.drops_cancelled);
        let entered = handling.clone().enter();
        let future = catch_unwind(AssertUnwindSafe(|| Box::pin(handler(request, responder))));
        drop(entered);
        match future {
            Ok(future) => self.tasks.push(Task { future, connection, handling, watch }),
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
