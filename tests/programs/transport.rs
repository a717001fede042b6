//! The transports that programs run on, and a look at the memory account of their servers.

use bytes::Bytes;
use msgpipe::framing::{Layer, Native};
use msgpipe::{
    Account, Client, ConnectionId, Error, Event, Goodbye, Limits, MessageServer, Peer, SendError,
    ServerOptions, Share, Waker, memory,
};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

#[derive(Clone)]
pub enum Transport {
    Memory(memory::Hub),
    Local(String),
}

type Boxed = Box<dyn MessageServer + Send>;

impl Transport {
    pub fn memory() -> Transport {
        Transport::Memory(memory::Hub::new())
    }

    /// That of this system, at a name of its own.
    pub fn local() -> Transport {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Transport::Local(format!("msgpipe.programs.{}.{number}", std::process::id()))
    }

    pub fn listen(&self, limits: &Limits) -> Watched {
        let inner: Boxed = match self {
            Transport::Memory(hub) => {
                Box::new(hub.listen_for_calls("programs", limits.clone()).unwrap())
            }
            Transport::Local(name) => {
                let framing = Native::new(Layer::Calls, limits.message);
                let options = ServerOptions::new().limits(limits.clone()).framing(framing);
                Box::new(options.bind_messages(name.as_str()).unwrap())
            }
        };
        Watched { inner, held: Held { limits: limits.clone(), shares: Arc::default() } }
    }

    pub fn connect(&self, limits: &Limits) -> Result<Client, Error> {
        match self {
            Transport::Memory(hub) => hub.client("programs", limits.clone()),
            Transport::Local(name) => Client::connect_with(name.as_str(), limits.clone()),
        }
    }
}

/// A server that keeps the shares of its clients.
pub struct Watched {
    inner: Boxed,
    held: Held,
}

impl Watched {
    pub fn held(&self) -> Held {
        self.held.clone()
    }
}

/// What the account of a server holds.
#[derive(Clone)]
pub struct Held {
    limits: Limits,
    shares: Arc<Mutex<Vec<(Peer, Share)>>>,
}

impl Held {
    /// The bytes that are held for the users of the clients that there were.
    pub fn bytes(&self) -> usize {
        let shares = self.shares.lock().unwrap();
        let held = shares.iter().map(|(peer, share)| {
            let empty = Account::new(self.limits.clone()).share(peer);
            empty.room() - share.room()
        });
        held.max().unwrap_or(0)
    }
}

impl MessageServer for Watched {
    fn poll(&mut self, timeout: Option<Duration>) -> Result<Option<Event>, Error> {
        let event = self.inner.poll(timeout)?;
        if let Some(Event::Connected(id)) = &event {
            let both = self.inner.peer(*id).cloned().zip(self.inner.share(*id));
            self.held.shares.lock().unwrap().extend(both);
        }
        Ok(event)
    }

    fn event_time(&self) -> Instant {
        self.inner.event_time()
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
        self.inner.limit_in_transit(connection, limited);
    }

    fn largest_message(&self, to: ConnectionId) -> usize {
        self.inner.largest_message(to)
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

    fn is_reachable(&self, connection: ConnectionId) -> bool {
        self.inner.is_reachable(connection)
    }

    fn share(&self, connection: ConnectionId) -> Option<Share> {
        self.inner.share(connection)
    }

    fn stop_accepting(&mut self) {
        self.inner.stop_accepting();
    }

    fn waker(&self) -> Waker {
        self.inner.waker()
    }

    fn endpoint(&self) -> &str {
        self.inner.endpoint()
    }
}
