//! The transport of the server under test: in memory, and whenever nothing is left to be done, something that the script
//! says happens. So the server and all its clients run on one thread, and nothing waits.

use bytes::Bytes;
use msgpipe::memory::MemoryServer;
use msgpipe::{ConnectionId, Error, Event, Goodbye, MessageServer, Peer, SendError, Share, Waker};
use std::time::Duration;

/// The most events between two steps of a script. More would be a loop that does not end: a step writes at most some
/// hundred thousand bytes, of which nothing takes an event for each.
const EVENTS_MAX: usize = 20_000;

/// What happens when the server has nothing to do.
pub trait World {
    /// Lets something happen.
    fn happens(&mut self);
}

/// See the [module](self).
pub struct Served<W> {
    server: MemoryServer,
    world: W,
    /// The events since the last step.
    events: usize,
}

impl<W: World> Served<W> {
    pub fn new(server: MemoryServer, world: W) -> Served<W> {
        Served { server, world, events: 0 }
    }
}

impl<W: World> MessageServer for Served<W> {
    fn poll(&mut self, _: Option<Duration>) -> Result<Option<Event>, Error> {
        let event = self.server.poll(Some(Duration::ZERO))?;
        match event {
            Some(_) => {
                self.events += 1;
                assert!(self.events < EVENTS_MAX, "the server finds something to do for ever");
            }
            None => {
                self.events = 0;
                self.world.happens();
            }
        }
        Ok(event)
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
        self.server.limit_in_transit(connection, limited);
    }

    fn largest_message(&self, to: ConnectionId) -> usize {
        self.server.largest_message(to)
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

    fn waker(&self) -> Waker {
        self.server.waker()
    }

    fn endpoint(&self) -> &str {
        self.server.endpoint()
    }
}
