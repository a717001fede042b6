//! Connects a client with its options.

use super::starting::Starting;
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
    /// While the server is [started](ClientOptions::start_with), blocks at most for [`Limits::start`] and that.
    ///
    /// # Errors
    /// As [`Client::connect`]; [`Error::NotStarted`] instead of [`Error::NoServer`] with
    /// [`start_with`](ClientOptions::start_with); [`Error::Misuse`] for a framing that does not carry any bytes
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
    /// While the server is [started](ClientOptions::start_with), blocks at most for [`Limits::start`] and that.
    ///
    /// # Errors
    /// As [`Client::connect`]; [`Error::NotStarted`] as [`connect`](ClientOptions::connect).
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

    fn framing_or(&self, native: Native) -> Arc<dyn Framing> {
        self.framing.clone().unwrap_or_else(|| Arc::new(native))
    }

    fn open(
        &self,
        endpoint: &Endpoint,
        framing: &dyn Framing,
    ) -> Result<backends::Connected, Error> {
        let limits = self.limits.clamped();
        let carrier = framing.carrier();
        let connect = || backends::connect(endpoint, &limits, carrier, &self.trust);
        match (connect(), &self.start) {
            (Err(Error::NoServer { endpoint: name, .. }), Some(start)) => {
                let starting = Starting::new(start, endpoint, name, limits.start);
                starting.finish(&connect)
            }
            (connected, _) => connected,
        }
    }
}
