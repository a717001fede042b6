//! What the server keeps for each call of a connection.

use crate::server::calling::Calling;
use crate::server::flow::Flow;
use crate::server::inflow::{Held, Inflow};
use crate::server::interrupt::{Interrupt, Watch};
use std::sync::Arc;

/// What the server keeps for a call.
pub(in crate::server) enum Owner {
    Request(InFlight),
    /// The server's own call to the client.
    Call(Arc<Calling>),
}

impl Owner {
    pub fn request(&self) -> Option<&InFlight> {
        match self {
            Owner::Request(request) => Some(request),
            Owner::Call(_) => None,
        }
    }
}

/// What the server keeps for a request in flight.
pub(in crate::server) struct InFlight {
    /// The bytes that are held for it.
    pub held: usize,
    /// What its handler is told.
    pub watch: Arc<Watch>,
    /// Where the parts of its reply come from.
    pub flow: Option<Arc<Flow>>,
    /// Where the parts of its request go.
    pub inflow: Option<Arc<Inflow>>,
}

impl InFlight {
    /// Nobody waits for the answer any more. Returns what the parts of its request held.
    pub fn cancel(&mut self, why: Interrupt) -> Held {
        self.watch.tell(why);
        if let Some(flow) = &self.flow {
            flow.close();
        }
        self.give_up_parts()
    }

    /// No more parts of its request are taken.
    pub fn give_up_parts(&mut self) -> Held {
        let held = self.inflow.as_ref().map(|inflow| inflow.cancel()).unwrap_or_default();
        self.held -= held.bytes;
        held
    }
}

impl Drop for InFlight {
    /// The call is over. Also when the client goes: a thread may be waiting to send a part.
    fn drop(&mut self) {
        self.watch.finish();
        if let Some(flow) = &self.flow {
            flow.close();
        }
        if let Some(inflow) = &self.inflow {
            let _ = inflow.cancel();
        }
    }
}
