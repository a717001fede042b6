//! The server's own calls to a client.

use super::{Caller, Owner, count};
use crate::clock;
use crate::counts::CallEnd;
use crate::error::{CloseReason, ErrorReply, Progress};
use crate::exchange::{Arrived, End, Event, OpenError, Opening, abort};
use crate::server::calling::{Calling, Outcome};
use crate::server::interrupt::Interrupt;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Instant;

/// A call that is not open yet.
pub(in crate::server) type Unopened = Box<(Opening, Arc<Calling>)>;

impl Caller {
    /// Calls the client. A call from before its settings waits for them: its limits are in them.
    pub fn call(&mut self, unopened: Unopened) {
        if self.machine.peer_settings().is_none() {
            return self.early.push(unopened);
        }
        let (opening, calling) = *unopened;
        let body = opening.message.as_ref().map(|message| message.body.clone());
        let outcome = match self.machine.open(opening, Owner::Call(calling.clone())) {
            Ok(id) => {
                self.origin.outbox.tally.calls.begins();
                return calling.is_opened(id);
            }
            Err(OpenError::TooLarge { limit }) => {
                Outcome::TooLarge { limit, body: body.unwrap_or_default() }
            }
            Err(OpenError::TooMany { limit }) => {
                let text = format!("{limit} calls to this client are open, the limit");
                Outcome::Error(ErrorReply::new(ErrorReply::TOO_MANY_REQUESTS, text).into())
            }
            Err(OpenError::Draining) => {
                let text = "the client takes no more calls";
                Outcome::Error(ErrorReply::new(ErrorReply::STOPPING, text).into())
            }
        };
        calling.finish(outcome);
    }

    /// The client's settings have arrived.
    pub fn call_early(&mut self) {
        std::mem::take(&mut self.early).into_iter().for_each(|it| self.call(it));
    }

    /// The bytes of calls that are not open yet.
    pub fn early_bytes(&self) -> usize {
        let size = |it: &Unopened| it.0.message.as_ref().map_or(0, |message| message.body.len());
        self.early.iter().map(size).sum()
    }

    /// Nobody waits for the reply to a call.
    pub fn drop_call(&mut self, calling: &Arc<Calling>) {
        self.early.retain(|it| !Arc::ptr_eq(&it.1, calling));
        if let Some(id) = calling.id() {
            // Perhaps its caller was faster than this thread.
            let is_late = calling.deadline().is_some_and(|at| at <= clock::now());
            let end = if is_late { CallEnd::Late } else { CallEnd::Cancelled };
            self.end_call_as(id, end, Outcome::Deadline(Progress::Unknown));
        }
        calling.finish(Outcome::Deadline(Progress::NotBegun));
    }

    /// When the next deadline of a call of either side passes.
    pub fn next_deadline(&self) -> Option<Instant> {
        let early = self.early.iter().filter_map(|it| it.0.deadline);
        self.machine.next_deadline().into_iter().chain(early).min()
    }

    /// Ends the calls with passed deadlines.
    pub fn expire(&mut self, now: Instant) {
        self.machine.expire(now);
        self.early.retain(|it| {
            let is_due = it.0.deadline.is_some_and(|at| at <= now);
            if is_due {
                it.1.finish(Outcome::Deadline(Progress::NotBegun));
            }
            !is_due
        });
    }

    /// A message of a call to the client has arrived: its reply. More of it are not asked for.
    pub fn replied(&mut self, id: u32, arrived: Arrived) {
        self.machine.taken(id, arrived.charge);
        self.machine.give_back(arrived.charge);
        self.end_call(id, Outcome::Reply(arrived.body));
    }

    /// The reply of a brief call.
    pub fn replied_briefly(&mut self, id: u32, body: Bytes) {
        self.end_call(id, Outcome::Reply(body));
    }

    /// The client's reply has ended without a message.
    pub fn reply_ended(&mut self, id: u32, end: End) {
        let outcome = match end {
            End::Plain => Outcome::Reply(Bytes::new()),
            End::Error(error) => Outcome::Error(error.into()),
            End::Closed { sent } => Outcome::Closed(self.origin.why_ended(), progress(sent)),
            End::Withdrawn => Outcome::Closed(self.origin.why_ended(), Progress::NotBegun),
            End::Aborted { code: abort::DEADLINE } => Outcome::Deadline(Progress::Unknown),
            End::Aborted { .. } => {
                let text = "the client gave up the reply before its end";
                Outcome::Error(ErrorReply::new(ErrorReply::FAILED, text).into())
            }
        };
        self.end_call(id, outcome);
    }

    /// The deadline of a call to the client has passed.
    pub fn reply_late(&mut self, id: u32, sent: bool) {
        self.end_call(id, Outcome::Deadline(progress(sent)));
    }

    /// Whether this is an open call of the server.
    pub fn is_calling(&mut self, id: u32) -> bool {
        matches!(self.machine.owner(id), Some(Owner::Call(_)))
    }

    /// Whether there are open calls of the server.
    pub fn has_calls(&self) -> bool {
        !self.early.is_empty() || self.machine.own_open() > 0
    }

    fn end_call(&mut self, id: u32, outcome: Outcome) {
        let end = match &outcome {
            Outcome::Reply(_) => CallEnd::Replied,
            Outcome::Deadline(_) => CallEnd::Late,
            Outcome::Closed(..) => CallEnd::Closed,
            Outcome::Error(_) | Outcome::TooLarge { .. } => CallEnd::Failed,
        };
        self.end_call_as(id, end, outcome);
    }

    fn end_call_as(&mut self, id: u32, end: CallEnd, outcome: Outcome) {
        let owner = if self.is_calling(id) { self.machine.release(id) } else { None };
        if let Some(Owner::Call(calling)) = owner {
            self.origin.outbox.tally.calls.ends(end);
            calling.finish(outcome);
        }
    }

    /// The connection has ended for this reason: each call of either side learns it.
    pub fn end(&mut self, reason: &CloseReason) {
        self.origin.end(reason);
        let closed = || Outcome::Closed(reason.clone(), Progress::NotBegun);
        self.early.drain(..).for_each(|it| it.1.finish(closed()));
        self.machine.close();
        while let Some(event) = self.machine.next_event() {
            if let Event::Ended { id, end } = event {
                self.reply_ended(id, end);
            }
        }
        let origin = &self.origin;
        for owner in self.machine.owners_mut() {
            if let Owner::Request(request) = owner {
                count(origin, request, CallEnd::Closed);
                // All that is held for the client is free with it.
                let _ = request.cancel(Interrupt::Closed);
            }
        }
    }
}

fn progress(sent: bool) -> Progress {
    if sent { Progress::Unknown } else { Progress::NotBegun }
}
