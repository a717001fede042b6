//! Requests of parts: from the machine to the threads that take them.

use super::{Caller, keep};
use crate::exchange::{Arrived, Charge, End};
use crate::server::inflow::{Held, Inflow, RequestEnd};
use crate::server::request_parts::RequestParts;
use crate::server::responder::Request;
use bytes::Bytes;
use std::sync::Arc;

impl Caller {
    /// A request of parts begins, perhaps with the first of them.
    pub fn stream(&mut self, id: u32, first: Option<(Bytes, Charge)>, is_last: bool) -> Request {
        let inflow = Arc::new(Inflow::default());
        if let Some((mut part, charge)) = first {
            let held = Held::of(charge, keep(&mut part));
            inflow.push(part, held);
        }
        if is_last {
            inflow.end(RequestEnd::Complete);
        }
        let parts = RequestParts::new(inflow, id, self.origin.clone());
        let request = self.request(Bytes::new(), Charge::default());
        Request { parts: Some(parts.into()), ..request }
    }

    /// A part of a request has arrived.
    pub fn part_arrived(&mut self, id: u32, arrived: Arrived) {
        let (mut part, charge, last) = (arrived.body, arrived.charge, arrived.last);
        let held = Held::of(charge, keep(&mut part));
        let request = self.in_flight(id);
        let inflow = request.and_then(|request| {
            let inflow = request.inflow.clone()?;
            request.held += held.bytes;
            Some(inflow)
        });
        let Some(inflow) = inflow else {
            self.machine.taken(id, charge);
            return self.machine.give_back(charge);
        };
        self.in_flight_bytes += held.bytes;
        if !inflow.push(part, held) {
            self.parts_taken(id, held);
        }
        if last {
            inflow.end(RequestEnd::Complete);
        }
    }

    /// The request has ended without a part that says so.
    pub fn request_ended(&mut self, id: u32, end: &End) {
        if let Some(inflow) = self.in_flight(id).and_then(|request| request.inflow.as_ref()) {
            inflow.end(match end {
                End::Plain => RequestEnd::Complete,
                _ => RequestEnd::Incomplete,
            });
        }
    }

    /// A thread has taken parts of a request, or takes no more.
    pub fn take_parts(&mut self, id: u32, inflow: &Arc<Inflow>) {
        let request = self.in_flight(id);
        let is_same = |it: &Arc<Inflow>| Arc::ptr_eq(it, inflow);
        if request.is_none_or(|request| !request.inflow.as_ref().is_some_and(is_same)) {
            return; // the call is over, and all was given back
        }
        let (freed, is_left) = inflow.take_freed();
        self.parts_taken(id, freed);
        if is_left {
            self.machine.stop(id);
        }
    }

    fn parts_taken(&mut self, id: u32, freed: Held) {
        if let Some(request) = self.in_flight(id) {
            request.held -= freed.bytes;
        }
        self.machine.taken(id, freed.charge);
        self.give_back(freed);
    }

    /// The memory of parts is free.
    pub(super) fn give_back(&mut self, freed: Held) {
        self.in_flight_bytes -= freed.bytes;
        self.machine.give_back(freed.charge);
    }
}
