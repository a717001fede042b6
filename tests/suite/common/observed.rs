//! A server of messages that shows what the layer above does with it.

use super::Backend;
use crate::passing::{Between, Passing};
use msgpipe::{ConnectionId, Error, Event, Limits, MessageServer, Responder, Waker};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Counts wakes, keeps what it is told of bytes in transit, and answers a held request before it waits.
#[derive(Default)]
pub struct Observed {
    pub wakes: Arc<AtomicUsize>,
    pub held: Arc<Mutex<Option<Responder>>>,
    pub in_transit: Arc<Mutex<Vec<bool>>>,
}

/// A server of messages for calls.
pub fn observed<B: Backend>(backend: &B) -> Passing<B::Messages, Observed> {
    let server = backend.listen_for_calls(&Limits::default());
    Passing { server, between: Observed::default() }
}

impl<M: MessageServer> Between<M> for Observed {
    fn poll(&mut self, server: &mut M, timeout: Option<Duration>) -> Result<Option<Event>, Error> {
        if let Some(responder) = self.held.lock().unwrap().take() {
            responder.reply("while it waits");
        }
        server.poll(timeout)
    }

    fn limit_in_transit(&mut self, server: &mut M, connection: ConnectionId, limited: bool) {
        self.in_transit.lock().unwrap().push(limited);
        server.limit_in_transit(connection, limited);
    }

    fn waker(&self, server: &M) -> Waker {
        let (wakes, inner) = (self.wakes.clone(), server.waker());
        Waker::new(move || {
            wakes.fetch_add(1, Ordering::SeqCst);
            inner.wake();
        })
    }
}
