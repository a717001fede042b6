//! Calling the application: its handler and its hooks, whose panics end nothing.

use super::Answering;
use crate::error::ErrorReply;
use crate::message_server::{ConnectionId, MessageServer};
use crate::server::caller::{InFlight, keep};
use crate::server::responder::{Request, Responder, of_application};
use crate::server::{Draining, Hooks, IntoReply};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// The cost of a request in flight besides its body: its entries here and its responder.
const REQUEST_COST: usize = 256;

/// The way for a handler to answer one request.
pub(in crate::server) struct Answerer<'a, M> {
    pub(super) server: &'a mut Answering<M>,
    pub(super) connection: ConnectionId,
    pub(super) id: u32,
}

impl<M: MessageServer> Answerer<'_, M> {
    /// Sends the result of `handler`, or an error reply if it panics.
    pub fn with<R: IntoReply>(self, handler: impl FnOnce() -> R) {
        let answer =
            catch_unwind(AssertUnwindSafe(|| of_application(handler()))).unwrap_or_else(|panic| {
                self.server.hooks.panicked(self.connection, panic);
                Err(ErrorReply::panicked().into())
            });
        self.server.answer(self.connection, self.id, answer);
    }

    /// Passes the request to a handler that replies at any time. If the handler panics, the drop of its responder
    /// sends the error reply.
    pub fn later(mut self, mut request: Request, handler: &mut impl FnMut(Request, Responder)) {
        let responder = self.responder(&mut request);
        let (hooks, connection) = (&mut self.server.hooks, self.connection);
        let handled = catch_unwind(AssertUnwindSafe(|| handler(request, responder)));
        if let Err(panic) = handled {
            hooks.panicked(connection, panic);
        }
    }

    /// The request holds memory until it is answered: a copy of its own, not a slice of a buffer that other
    /// messages share.
    fn responder(&mut self, request: &mut Request) -> Responder {
        let held = keep(&mut request.body) + REQUEST_COST;
        let cancelled = Arc::new(AtomicBool::new(false));
        request.cancelled = Some(cancelled.clone());
        if let Some(caller) = self.server.callers.get_mut(&self.connection) {
            caller
                .machine
                .set_owner(self.id, InFlight { held, cancelled: cancelled.clone(), flow: None });
            caller.in_flight += held;
            caller.settle();
        }
        let outbox = self.server.outbox.clone();
        Responder::new(outbox, self.connection, self.id, request.origin.clone(), cancelled)
    }
}

/// Calls a hook of the application and catches its panic.
pub(super) fn guarded(tell: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(tell)) {
        discard(panic);
    }
}

/// The drop of a panic's payload may panic again; the second payload is leaked.
fn discard(panic: Box<dyn Any + Send>) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        std::mem::forget(again);
    }
}

impl Hooks {
    pub(super) fn tell_draining(&mut self, draining: Draining) {
        if let Some(tell) = &mut self.draining {
            tell(draining);
        }
    }

    /// A handler has panicked.
    pub(in crate::server) fn panicked(
        &mut self,
        connection: ConnectionId,
        panic: Box<dyn Any + Send>,
    ) {
        self.tell_of(connection, &*panic);
        discard(panic);
    }

    fn tell_of(&mut self, connection: ConnectionId, panic: &(dyn Any + Send)) {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        if let Some(tell) = &mut self.panicked {
            guarded(|| tell(connection, text.unwrap_or("a panic without a text")));
        }
    }
}
