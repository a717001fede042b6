//! Connects a client with its options.

use super::starting::Starting;
use super::{Client, ClientOptions, MessageClient};
use crate::access::Trust;
use crate::backends;
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::exchange::carries_calls;
use crate::framing::{Carrier, Framing, Layer, Native};
use crate::limits::Limits;
use std::sync::Arc;
use std::time::Duration;

/// How long one attempt goes on with the start of a server, at most.
const SLICE: Duration = Duration::from_millis(100);

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

    pub(crate) fn framing_or(&self, native: Native) -> Arc<dyn Framing> {
        self.framing.clone().unwrap_or_else(|| Arc::new(native))
    }

    fn open(
        &self,
        endpoint: &Endpoint,
        framing: &dyn Framing,
    ) -> Result<backends::Connected, Error> {
        let mut starting = None;
        loop {
            let connect = backends::connect;
            if let Some(opened) = self.try_open(endpoint, framing, &mut starting, None, connect) {
                return opened;
            }
        }
    }

    /// Connects, or goes on with the start of a server: at most for `left`, or its own limits. `None`: the server is still
    /// being started.
    pub(crate) fn try_open<T>(
        &self,
        endpoint: &Endpoint,
        framing: &dyn Framing,
        starting: &mut Option<Starting>,
        left: Option<Duration>,
        connect: impl Fn(&Endpoint, &Limits, Carrier, &Trust) -> Result<T, Error>,
    ) -> Option<Result<T, Error>> {
        let mut limits = self.limits.clamped();
        limits.connect = left.map_or(limits.connect, |left| limits.connect.min(left));
        let until = Limits::until(left.map_or(limits.start, |left| left.min(SLICE)));
        let connect = || connect(endpoint, &limits, framing.carrier(), &self.trust);
        if starting.is_none() {
            let connected = self.or_start(endpoint, starting, connect());
            if connected.is_some() {
                return connected;
            }
        }
        let done = starting.as_mut()?.go_on(&connect, until)?;
        *starting = None;
        Some(done)
    }

    /// Connects without waiting. `None`: a server is to be started; nothing is run yet.
    #[cfg(feature = "tokio")]
    pub(crate) fn look<T>(
        &self,
        endpoint: &Endpoint,
        framing: &dyn Framing,
        starting: &mut Option<Starting>,
        connect: impl Fn(&Endpoint, &Limits, Carrier, &Trust) -> Result<T, Error>,
    ) -> Option<Result<T, Error>> {
        let limits = self.limits.clamped().with_connect(Duration::ZERO);
        let connected = connect(endpoint, &limits, framing.carrier(), &self.trust);
        self.or_start(endpoint, starting, connected)
    }

    /// What has become of connecting. `None`: there is no server, and one is to be started.
    fn or_start<T>(
        &self,
        endpoint: &Endpoint,
        starting: &mut Option<Starting>,
        connected: Result<T, Error>,
    ) -> Option<Result<T, Error>> {
        match (connected, &self.start) {
            (Err(Error::NoServer { endpoint: name, .. }), Some(start)) => {
                let given = self.limits.clamped().start;
                *starting = Some(Starting::new(start, endpoint, name, given));
                None
            }
            (connected, _) => Some(connected),
        }
    }

    /// As [`connect`](ClientOptions::connect), at most for `left`. `None`: the server is still being started, and a later
    /// attempt goes on with that: soon, as the caller may have been closed.
    pub(super) fn attempt(
        &self,
        endpoint: &Endpoint,
        starting: &mut Option<Starting>,
        left: Duration,
    ) -> Option<Result<Client, Error>> {
        let framing = self.framing_or(Native::for_calls(self.limits.clamped().message));
        let opened = self.try_open(endpoint, &*framing, starting, Some(left), backends::connect)?;
        Some(opened.map(|(stream, name)| {
            Client::over_framing(stream, framing, &name, self.limits.clone())
        }))
    }
}
