//! The hub: names and their servers.

use super::client::MemoryStream;
use super::server::MemoryServer;
use super::wire::{Exchange, Faults, Wire};
use crate::framing::{Carrier, Framing, Layer, Native};
use crate::sync::Mutex;
use crate::{Client, Error, Limits, MessageClient};
use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::sync::{Arc, PoisonError};

/// A namespace of in-memory servers; the [module](super) has an example. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Hub {
    servers: Arc<Mutex<HashMap<String, Arc<Exchange>>>>,
}

impl Hub {
    /// An empty hub.
    pub fn new() -> Hub {
        Hub::default()
    }

    /// A server of messages at `name`, with the native framing.
    ///
    /// # Errors
    /// [`Error::AlreadyServed`] if a server at that name accepts clients.
    pub fn listen(&self, name: &str, limits: Limits) -> Result<MemoryServer, Error> {
        let framing = Native::new(Layer::Messages, limits.clamped().message);
        self.listen_with(name, limits, framing)
    }

    /// A server of messages for [`Server::over`](crate::Server::over).
    ///
    /// # Errors
    /// As [`listen`](Hub::listen).
    pub fn listen_for_calls(&self, name: &str, limits: Limits) -> Result<MemoryServer, Error> {
        let framing = Native::for_calls(limits.clamped().message);
        self.listen_with(name, limits, framing)
    }

    /// A server of messages at `name`, with the given framing.
    ///
    /// # Errors
    /// As [`listen`](Hub::listen); [`Error::System`] for a framing that needs [`Carrier::Messages`]: this
    /// transport carries a stream of bytes.
    pub fn listen_with(
        &self,
        name: &str,
        limits: Limits,
        framing: impl Framing + 'static,
    ) -> Result<MemoryServer, Error> {
        if framing.carrier() != Carrier::Stream {
            let source = io::Error::from(ErrorKind::Unsupported);
            return Err(Error::system(
                &endpoint(name),
                "carrying whole messages in memory",
                source,
            ));
        }
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        if servers.get(name).is_some_and(|exchange| exchange.lock().listening) {
            return Err(Error::AlreadyServed { endpoint: endpoint(name) });
        }
        let exchange = Arc::new(Exchange::new());
        exchange.lock().listening = true;
        servers.insert(name.to_owned(), exchange.clone());
        Ok(MemoryServer::new(exchange, Arc::new(framing), &limits, endpoint(name)))
    }

    /// Connects to the server at `name`. Does not wait until the server accepts.
    ///
    /// # Errors
    /// [`Error::NoServer`] if no server accepts clients there.
    pub fn connect(&self, name: &str) -> Result<MemoryStream, Error> {
        self.connect_with(name, Faults::default())
    }

    /// Connects with injected faults.
    ///
    /// # Errors
    /// As [`connect`](Hub::connect).
    pub fn connect_with(&self, name: &str, faults: Faults) -> Result<MemoryStream, Error> {
        let no_server = || {
            let source = io::Error::from(ErrorKind::NotFound);
            Error::no_server(&endpoint(name), source)
        };
        let servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        let exchange = servers.get(name).cloned().ok_or_else(no_server)?;
        drop(servers);
        let mut state = exchange.lock();
        if !state.listening {
            return Err(no_server());
        }
        let id = state.next;
        state.next += 1;
        state.wires.insert(id, Wire::new(faults));
        state.backlog.push_back(id);
        drop(state);
        exchange.notify();
        Ok(MemoryStream::new(exchange, id))
    }

    /// A client for calls to the server at `name`.
    ///
    /// # Errors
    /// As [`connect`](Hub::connect).
    pub fn client(&self, name: &str, limits: Limits) -> Result<Client, Error> {
        self.client_with(name, limits, Faults::default())
    }

    /// A client for calls with injected faults.
    ///
    /// # Errors
    /// As [`connect`](Hub::connect).
    pub fn client_with(&self, name: &str, limits: Limits, faults: Faults) -> Result<Client, Error> {
        let stream = self.connect_with(name, faults)?;
        Ok(Client::over(Box::new(stream), &endpoint(name), limits))
    }

    /// A client for messages to the server at `name`.
    ///
    /// # Errors
    /// As [`connect`](Hub::connect).
    pub fn message_client(&self, name: &str, limits: Limits) -> Result<MessageClient, Error> {
        let stream = self.connect(name)?;
        Ok(MessageClient::over(Box::new(stream), &endpoint(name), limits))
    }
}

fn endpoint(name: &str) -> Arc<str> {
    format!("memory:{name}").into()
}
