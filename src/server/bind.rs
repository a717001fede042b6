//! Binds a server with its options.

#[cfg(doc)]
use super::Risk;
use super::{Server, ServerOptions};
use crate::access::Access;
use crate::backends::LocalServer;
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::exchange::carries_calls;
#[cfg(doc)]
use crate::framing::Framing;
use crate::framing::{Layer, Native};
use std::sync::Arc;

impl ServerOptions {
    /// A server for calls at `endpoint`. Clients can connect as soon as this returns. The limit of a custom
    /// framing must leave room for the envelope of 16 bytes, and the framing must carry any bytes; larger bodies are
    /// sent in pieces.
    ///
    /// # Errors
    /// As [`Server::bind`]; [`Error::Misuse`] for a framing that does not carry any bytes
    /// ([`Framing::carries_any_bytes`]); [`Error::Insecure`] also if other users have access but cannot reach
    /// the place, or if a [`Risk`] has not been accepted.
    pub fn bind<E>(&self, endpoint: E) -> Result<Server, Error>
    where
        E: TryInto<Endpoint>,
        Error: From<E::Error>,
    {
        let endpoint = endpoint.try_into()?;
        carries_calls(self.framing.as_deref(), &endpoint)?;
        let framing = Native::for_calls(self.limits.clamped().message);
        let messages = self.listen(&endpoint, framing)?;
        Ok(Server::over(messages, self.limits.clone()))
    }

    /// A server for messages at `endpoint`. Clients can connect as soon as this returns.
    ///
    /// # Errors
    /// As [`bind`](ServerOptions::bind).
    pub fn bind_messages<E>(&self, endpoint: E) -> Result<LocalServer, Error>
    where
        E: TryInto<Endpoint>,
        Error: From<E::Error>,
    {
        let framing = Native::new(Layer::Messages, self.limits.clamped().message);
        self.listen(&endpoint.try_into()?, framing)
    }

    fn listen(&self, endpoint: &Endpoint, native: Native) -> Result<LocalServer, Error> {
        if endpoint.is_own() && self.access != Access::Owner {
            let problem = "a plain name is per user, and other users cannot reach it: for them, \
                           bind Endpoint::pipe, path or abstract_name"
                .to_owned();
            return Err(Error::Insecure { endpoint: endpoint.to_string().into(), problem });
        }
        let framing = self.framing.clone().unwrap_or_else(|| Arc::new(native));
        LocalServer::listen(endpoint, framing, self)
    }
}
