//! Connects a client with its options.

use super::{Client, ClientOptions, MessageClient};
use crate::backends;
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::exchange::carries_calls;
use crate::framing::{Framing, Layer, Native};
#[cfg(doc)]
use crate::limits::Limits;
use std::sync::Arc;

impl ClientOptions {
    /// Connects for calls. Blocks while the server is busy, at most for [`Limits::connect`].
    ///
    /// # Errors
    /// As [`Client::connect`]; [`Error::Misuse`] for a framing that does not carry any bytes
    /// ([`Framing::carries_any_bytes`]).
    pub fn connect<E>(&self, endpoint: E) -> Result<Client, Error>
    where
        E: TryInto<Endpoint>,
        Error: From<E::Error>,
    {
        let endpoint = endpoint.try_into()?;
        carries_calls(self.framing.as_deref(), &endpoint)?;
        let framing = self.framing_or(Native::for_calls(self.limits.clamped().message));
        let (stream, name) = self.open(&endpoint, &*framing)?;
        Ok(Client::over_framing(stream, framing, &name, self.limits.clone()))
    }

    /// Connects for messages. Blocks while the server is busy, at most for [`Limits::connect`].
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub fn connect_messages<E>(&self, endpoint: E) -> Result<MessageClient, Error>
    where
        E: TryInto<Endpoint>,
        Error: From<E::Error>,
    {
        let native = Native::new(Layer::Messages, self.limits.clamped().message);
        let framing = self.framing_or(native);
        let (stream, name) = self.open(&endpoint.try_into()?, &*framing)?;
        Ok(MessageClient::over_framing(stream, framing, &name, self.limits.clone()))
    }

    pub(super) fn framing_or(&self, native: Native) -> Arc<dyn Framing> {
        self.framing.clone().unwrap_or_else(|| Arc::new(native))
    }

    fn open(
        &self,
        endpoint: &Endpoint,
        framing: &dyn Framing,
    ) -> Result<backends::Connected, Error> {
        backends::connect(endpoint, &self.limits.clamped(), framing.carrier(), &self.trust)
    }
}
