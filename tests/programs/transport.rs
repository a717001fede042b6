//! The transports that programs run on, and a look at the memory account of their servers.

use super::passing::{Between, Passing};
use msgpipe::framing::{Layer, Native};
use msgpipe::{
    Account, Client, Error, Event, Limits, MessageServer, Peer, ServerOptions, Share, memory,
};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Clone)]
pub enum Transport {
    Memory(memory::Hub),
    Local(String),
}

pub type Boxed = Box<dyn MessageServer + Send>;

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
        let server: Boxed = match self {
            Transport::Memory(hub) => {
                Box::new(hub.listen_for_calls("programs", limits.clone()).unwrap())
            }
            Transport::Local(name) => {
                let framing = Native::new(Layer::Calls, limits.message);
                let options = ServerOptions::new().limits(limits.clone()).framing(framing);
                Box::new(options.bind_messages(name.as_str()).unwrap())
            }
        };
        let between = Held { limits: limits.clone(), shares: Arc::default() };
        Passing { server, between }
    }

    pub fn connect(&self, limits: &Limits) -> Result<Client, Error> {
        match self {
            Transport::Memory(hub) => hub.client("programs", limits.clone()),
            Transport::Local(name) => Client::connect_with(name.as_str(), limits.clone()),
        }
    }
}

/// A server that keeps the shares of its clients.
pub type Watched = Passing<Boxed, Held>;

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

impl Between<Boxed> for Held {
    fn poll(
        &mut self,
        server: &mut Boxed,
        timeout: Option<Duration>,
    ) -> Result<Option<Event>, Error> {
        let event = server.poll(timeout)?;
        if let Some(Event::Connected(id)) = &event {
            let both = server.peer(*id).cloned().zip(server.share(*id));
            self.shares.lock().unwrap().extend(both);
        }
        Ok(event)
    }
}
