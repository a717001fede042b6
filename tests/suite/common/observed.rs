//! A server of messages that shows what the layer above does with it.

use super::Backend;
use bytes::Bytes;
use msgpipe::{
    ConnectionId, Error, Event, Goodbye, Limits, MessageServer, Peer, Responder, SendError, Waker,
};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Passes everything on, counts wakes, keeps what it is told of bytes in transit, and answers a held request before it waits.
pub struct Observed<M> {
    inner: M,
    pub wakes: Arc<AtomicUsize>,
    pub held: Arc<Mutex<Option<Responder>>>,
    pub in_transit: Arc<Mutex<Vec<bool>>>,
}

/// A server of messages for calls.
pub fn observed<B: Backend>(backend: &B) -> Observed<B::Messages> {
    let inner = backend.listen_for_calls(&Limits::default());
    let in_transit = Arc::default();
    Observed { inner, wakes: Arc::default(), held: Arc::default(), in_transit }
}

impl<M: MessageServer> MessageServer for Observed<M> {
    fn poll(&mut self, timeout: Option<Duration>) -> Result<Option<Event>, Error> {
        if let Some(responder) = self.held.lock().unwrap().take() {
            responder.reply("while it waits");
        }
        self.inner.poll(timeout)
    }

    fn send_with_head(
        &mut self,
        to: ConnectionId,
        head: &[u8],
        body: Bytes,
    ) -> Result<(), SendError> {
        self.inner.send_with_head(to, head, body)
    }

    fn has_room(&mut self, to: ConnectionId) -> bool {
        self.inner.has_room(to)
    }

    fn wait_for_memory(&mut self, connection: ConnectionId) {
        self.inner.wait_for_memory(connection);
    }

    fn keep_going(&mut self, connection: ConnectionId, keeps_going: bool) {
        self.inner.keep_going(connection, keeps_going);
    }

    fn allow_unread(&mut self, connection: ConnectionId, allowed: bool) {
        self.inner.allow_unread(connection, allowed);
    }

    fn limit_in_transit(&mut self, connection: ConnectionId, limited: bool) {
        self.in_transit.lock().unwrap().push(limited);
        self.inner.limit_in_transit(connection, limited);
    }

    fn close(&mut self, connection: ConnectionId, why: Goodbye) {
        self.inner.close(connection, why);
    }

    fn abort(&mut self, connection: ConnectionId) {
        self.inner.abort(connection);
    }

    fn peer(&self, connection: ConnectionId) -> Option<&Peer> {
        self.inner.peer(connection)
    }

    fn stop_accepting(&mut self) {
        self.inner.stop_accepting();
    }

    fn waker(&self) -> Waker {
        let (wakes, inner) = (self.wakes.clone(), self.inner.waker());
        Waker::new(move || {
            wakes.fetch_add(1, Ordering::SeqCst);
            inner.wake();
        })
    }

    fn endpoint(&self) -> &str {
        self.inner.endpoint()
    }
}
