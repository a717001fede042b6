//! A request and the calls that its handler makes.

use super::responder::Request;
use crate::nesting::{Chain, Entered, Handling, ServerId, Waits};
use std::sync::Arc;

impl Request {
    /// The servers whose workers wait for it.
    pub(super) fn chain(&self) -> Chain {
        Chain::of(self.metadata.as_deref())
    }

    /// This thread handles it while the result lives. `worker`: as a worker of this server, to be told when it waits.
    pub(super) fn begin(&self, worker: Option<(ServerId, Arc<dyn Waits>)>) -> Entered {
        let (chain, deadline) = (self.chain(), self.deadline);
        let handling = match worker {
            Some((id, worker)) => {
                Handling { deadline, chain: chain.with(id), worker: Some(worker) }
            }
            None => Handling { deadline, chain, worker: None },
        };
        handling.enter()
    }
}
