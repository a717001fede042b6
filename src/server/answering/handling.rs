//! Calling the application's handler, whose panics end nothing.

use super::Answering;
use crate::error::ErrorReply;
use crate::message_server::{ConnectionId, MessageServer};
use crate::server::IntoReply;
use crate::server::caller::{InFlight, Owner, keep};
use crate::server::connection::Connection;
use crate::server::interrupt::Watch;
use crate::server::outbox::Answer;
use crate::server::responder::{Request, Responder, of_application};
use crate::trace::RequestSpan;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

/// The cost of a request in flight besides its body: its entries here and its responder.
const REQUEST_COST: usize = 256;

/// The way for a handler to answer one request.
pub(in crate::server) struct Answerer<'a, M> {
    pub(super) server: &'a mut Answering<M>,
    pub(super) connection: ConnectionId,
    pub(super) id: u32,
    pub(super) span: RequestSpan,
}

impl<M: MessageServer> Answerer<'_, M> {
    /// Sends the result of `handler`, or an error reply if it panics.
    pub fn with<R: IntoReply>(self, method: u32, handler: impl FnOnce() -> R) {
        let began = self.server.outbox.tally.begins();
        let answer =
            catch_unwind(AssertUnwindSafe(|| of_application(handler()))).unwrap_or_else(|panic| {
                self.server.hooks.panicked(self.connection, panic);
                Err(ErrorReply::panicked().into())
            });
        self.finish(method, began, answer);
    }

    /// Answers a request that the handler does not see.
    pub fn reply(self, method: u32, answer: Answer) {
        let began = self.server.outbox.tally.begins();
        self.finish(method, began, answer);
    }

    fn finish(self, method: u32, began: Option<Instant>, answer: Answer) {
        let end = self.server.answer(self.connection, self.id, answer);
        self.span.ends(end);
        let caller = self.server.callers.get(&self.connection);
        if let Some(caller) = caller {
            let whose = || (Connection::new(caller.origin.clone()), method);
            self.server.outbox.tally.ends(end, began, whose);
        }
    }

    /// The caller is shown what is sent from now on, but for what concerns itself.
    pub fn tap(mut self, mut request: Request) {
        let responder = self.responder(&mut request);
        if let Some(caller) = self.server.callers.get_mut(&self.connection) {
            caller.is_hidden = true;
        }
        self.server.lookers_on.subscribe(responder);
    }

    /// What the server says of itself.
    pub fn info(&self) -> String {
        self.server.info()
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
        let inflow = request.parts.as_ref().map(|parts| parts.inflow().clone());
        let parts = inflow.as_ref().map_or(0, |inflow| inflow.bytes());
        let held = keep(&mut request.body) + REQUEST_COST + parts;
        let began = self.server.outbox.tally.begins();
        let watch = Arc::new(Watch::new(began, request.method, self.span.clone()));
        request.watch = Some(watch.clone());
        if let Some(caller) = self.server.callers.get_mut(&self.connection) {
            let request = InFlight { held, watch: watch.clone(), flow: None, inflow };
            caller.machine.set_owner(self.id, Owner::Request(request));
            caller.in_flight_bytes += held;
            caller.settle();
            caller.keep_going(&mut self.server.messages, self.connection);
        }
        Responder::new(self.id, request.origin.clone(), watch)
    }
}
