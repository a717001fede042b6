//! The transports of the suite.

use super::{Raw, unique_name};
use msgpipe::framing::{Framing, Layer, Native};
use msgpipe::{
    Client, Error, Limits, LocalServer, MessageClient, MessageServer, Server, ServerOptions, memory,
};
use std::sync::Arc;

/// A transport with one name.
pub trait Backend: Sync {
    type Messages: MessageServer + Send + 'static;

    /// Whether a second server can take a served name here.
    const MAY_BE_SHARED: bool;

    fn new() -> Self;
    fn listen(&self, limits: &Limits) -> Result<Self::Messages, Error>;
    /// A server of messages with the given framing.
    fn listen_in(
        &self,
        framing: Arc<dyn Framing>,
        limits: &Limits,
    ) -> Result<Self::Messages, Error>;
    /// A server of messages in the calls layer, for replies by hand.
    fn listen_for_calls(&self, limits: &Limits) -> Self::Messages;
    fn serve_calls(&self, limits: &Limits) -> Result<Server<Self::Messages>, Error>;
    fn message_client(&self, limits: &Limits) -> Result<MessageClient, Error>;
    fn client(&self, limits: &Limits) -> Result<Client, Error>;
    /// A raw stream of bytes to the server, without this crate.
    fn raw(&self) -> Raw;
}

/// The in-memory transport.
pub struct Memory {
    hub: memory::Hub,
}

impl Backend for Memory {
    type Messages = memory::MemoryServer;

    const MAY_BE_SHARED: bool = false;

    fn new() -> Memory {
        Memory { hub: memory::Hub::new() }
    }

    fn listen(&self, limits: &Limits) -> Result<memory::MemoryServer, Error> {
        self.hub.listen("test", limits.clone())
    }

    fn listen_in(
        &self,
        framing: Arc<dyn Framing>,
        limits: &Limits,
    ) -> Result<memory::MemoryServer, Error> {
        self.hub.listen_with("test", limits.clone(), framing)
    }

    fn listen_for_calls(&self, limits: &Limits) -> memory::MemoryServer {
        self.hub.listen_for_calls("test", limits.clone()).unwrap()
    }

    fn serve_calls(&self, limits: &Limits) -> Result<Server<memory::MemoryServer>, Error> {
        let messages = self.hub.listen_for_calls("test", limits.clone())?;
        Ok(Server::over(messages, limits.clone()))
    }

    fn message_client(&self, limits: &Limits) -> Result<MessageClient, Error> {
        self.hub.message_client("test", limits.clone())
    }

    fn client(&self, limits: &Limits) -> Result<Client, Error> {
        self.hub.client("test", limits.clone())
    }

    fn raw(&self) -> Raw {
        Raw::memory(self.hub.connect("test").unwrap())
    }
}

/// The transport of this operating system.
pub struct Local {
    name: String,
}

impl Local {
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Backend for Local {
    type Messages = LocalServer;

    const MAY_BE_SHARED: bool = cfg!(windows);

    fn new() -> Local {
        Local { name: unique_name() }
    }

    fn listen(&self, limits: &Limits) -> Result<LocalServer, Error> {
        self.listen_in(Arc::new(Native::new(Layer::Messages, limits.message)), limits)
    }

    fn listen_in(&self, framing: Arc<dyn Framing>, limits: &Limits) -> Result<LocalServer, Error> {
        let options = ServerOptions::new().limits(limits.clone()).framing(framing);
        options.bind_messages(self.name.as_str())
    }

    fn listen_for_calls(&self, limits: &Limits) -> LocalServer {
        self.listen_in(Arc::new(Native::new(Layer::Calls, limits.message)), limits).unwrap()
    }

    fn serve_calls(&self, limits: &Limits) -> Result<Server<LocalServer>, Error> {
        Server::bind_with(self.name.as_str(), limits.clone())
    }

    fn message_client(&self, limits: &Limits) -> Result<MessageClient, Error> {
        MessageClient::connect_with(self.name.as_str(), limits.clone())
    }

    fn client(&self, limits: &Limits) -> Result<Client, Error> {
        Client::connect_with(self.name.as_str(), limits.clone())
    }

    fn raw(&self) -> Raw {
        Raw::local(&self.name)
    }
}
