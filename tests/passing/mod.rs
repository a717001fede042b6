//! A server of messages that passes everything on, but for what a test does in between. `tests/tidy` sees that it passes on
//! each method of the trait.

use bytes::Bytes;
use msgpipe::{
    ConnectionId, Error, Event, Goodbye, MessageServer, Peer, SendError, Share, Waitable, Waker,
};
use std::io;
use std::time::{Duration, Instant};

/// What a test does in between. Each method passes on by default.
pub trait Between<M: MessageServer> {
    fn poll(&mut self, server: &mut M, timeout: Option<Duration>) -> Result<Option<Event>, Error> {
        server.poll(timeout)
    }

    fn limit_in_transit(&mut self, server: &mut M, connection: ConnectionId, limited: bool) {
        server.limit_in_transit(connection, limited);
    }

    fn waker(&self, server: &M) -> Waker {
        server.waker()
    }

    /// Whether a simulation may have its task woken.
    #[cfg(feature = "test-util")]
    fn watch(&self, server: &M, task: &std::task::Waker) -> bool {
        server.watch(task)
    }
}

/// See the [module](self).
pub struct Passing<M, B> {
    pub server: M,
    pub between: B,
}

impl<M: MessageServer, B: Between<M>> MessageServer for Passing<M, B> {
    fn poll(&mut self, timeout: Option<Duration>) -> Result<Option<Event>, Error> {
        self.between.poll(&mut self.server, timeout)
    }

    fn event_time(&self) -> Instant {
        self.server.event_time()
    }

    fn send_with_head(
        &mut self,
        to: ConnectionId,
        head: &[u8],
        body: Bytes,
    ) -> Result<(), SendError> {
        self.server.send_with_head(to, head, body)
    }

    fn has_room(&mut self, to: ConnectionId) -> bool {
        self.server.has_room(to)
    }

    fn wait_for_memory(&mut self, connection: ConnectionId) {
        self.server.wait_for_memory(connection);
    }

    fn keep_going(&mut self, connection: ConnectionId, keeps_going: bool) {
        self.server.keep_going(connection, keeps_going);
    }

    fn allow_unread(&mut self, connection: ConnectionId, allowed: bool) {
        self.server.allow_unread(connection, allowed);
    }

    fn limit_in_transit(&mut self, connection: ConnectionId, limited: bool) {
        self.between.limit_in_transit(&mut self.server, connection, limited);
    }

    fn largest_message(&self, to: ConnectionId) -> usize {
        self.server.largest_message(to)
    }

    fn send(&mut self, to: ConnectionId, message: Bytes) -> Result<(), SendError> {
        self.server.send(to, message)
    }

    fn close(&mut self, connection: ConnectionId, why: Goodbye) {
        self.server.close(connection, why);
    }

    fn abort(&mut self, connection: ConnectionId) {
        self.server.abort(connection);
    }

    fn peer(&self, connection: ConnectionId) -> Option<&Peer> {
        self.server.peer(connection)
    }

    fn is_reachable(&self, connection: ConnectionId) -> bool {
        self.server.is_reachable(connection)
    }

    fn share(&self, connection: ConnectionId) -> Option<Share> {
        self.server.share(connection)
    }

    fn stop_accepting(&mut self) {
        self.server.stop_accepting();
    }

    fn waitable(&self) -> io::Result<Option<Waitable>> {
        self.server.waitable()
    }

    fn poll_at(&self) -> Option<Instant> {
        self.server.poll_at()
    }

    #[cfg(feature = "test-util")]
    fn watch(&self, task: &std::task::Waker) -> bool {
        self.between.watch(&self.server, task)
    }

    fn is_over(&self) -> bool {
        self.server.is_over()
    }

    fn waker(&self) -> Waker {
        self.between.waker(&self.server)
    }

    fn endpoint(&self) -> &str {
        self.server.endpoint()
    }
}
