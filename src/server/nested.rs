//! A request and the calls that its handler makes.

use super::responder::Request;
use crate::nesting::{Chain, Entered, Handling, ServerId, Waits};
use crate::trace::RequestSpan;
use std::sync::Arc;

impl Request {
    /// The servers whose workers wait for it.
    pub(super) fn chain(&self) -> Chain {
        Chain::of(self.metadata.as_deref())
    }

    /// Its span, which it has from now on.
    pub(super) fn begin_span(&mut self) -> RequestSpan {
        let (endpoint, connection) = (self.origin.outbox.endpoint(), Some(self.origin.id));
        self.span = RequestSpan::begin(endpoint, connection, self.method, self.metadata.as_deref());
        self.span.clone()
    }

    /// This thread handles it while the result lives. `worker`: as a worker of this server, to be told when it waits.
    pub(super) fn begin(&self, worker: Option<(ServerId, Arc<dyn Waits>)>) -> Entered {
        let handling = self.handling();
        let handling = match worker {
            Some((id, worker)) => {
                Handling { chain: handling.chain.with(id), worker: Some(worker), ..handling }
            }
            None => handling,
        };
        handling.enter()
    }

    /// Its handling in the server's loop.
    pub(super) fn handling(&self) -> Handling {
        Handling {
            deadline: self.deadline,
            chain: self.chain(),
            worker: None,
            span: self.span.clone(),
        }
    }
}
