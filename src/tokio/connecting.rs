//! Connecting in a runtime of tokio.

use super::driver::Driver;
use super::opening::{Opening, in_runtime};
use super::runtime::spawn;
use crate::client::ClientOptions;
use crate::client::driven::Client;
use crate::endpoint::Endpoint;
use crate::error::Error;
#[cfg(doc)]
use crate::limits::Limits;

impl Client {
    /// Connects to the server at `endpoint` with the default [`Limits`], and spawns the driver in the runtime that this is
    /// polled in.
    ///
    /// Waits while the server is busy, at most for [`Limits::connect`].
    ///
    /// Cancel safety: dropped before it is done, there is no connection. A server that it has started is left to itself.
    ///
    /// A server is [started](ClientOptions::start_with) by a thread of the runtime that may block (`spawn_blocking`), also by
    /// a [hook](crate::Start::hook).
    ///
    /// # Errors
    /// As [`msgpipe::Client::connect`](crate::Client::connect); [`Error::Misuse`] outside of a runtime of tokio.
    ///
    /// # Panics
    /// As tokio's own streams and timers, in a runtime that was built without I/O or without time (`enable_all`).
    pub async fn connect<E>(endpoint: E) -> Result<Client, Error>
    where
        E: TryInto<Endpoint>,
        Error: From<E::Error>,
    {
        Client::connect_with(endpoint, &ClientOptions::new()).await
    }

    /// Connects with options: limits, trust, framing, and a server to be started if none is there. Otherwise as
    /// [`connect`](Client::connect).
    ///
    /// ```no_run
    /// # async fn f() -> Result<(), msgpipe::Error> {
    /// use msgpipe::{ClientOptions, Limits};
    /// let options = ClientOptions::new().limits(Limits::new().with_in_flight(64));
    /// let client = msgpipe::tokio::Client::connect_with("com.example.notes", &options).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`ClientOptions::connect`]; [`Error::System`] for a framing that needs whole messages of the system.
    ///
    /// # Panics
    /// As [`connect`](Client::connect).
    pub async fn connect_with<E>(endpoint: E, options: &ClientOptions) -> Result<Client, Error>
    where
        E: TryInto<Endpoint>,
        Error: From<E::Error>,
    {
        let (client, driver) = Client::connect_with_driver(endpoint, options).await?;
        spawn(driver);
        Ok(client)
    }

    /// As [`connect_with`](Client::connect_with), and returns the driver instead of spawning it: for programs that have
    /// their tasks in a set, or name them. It is to be polled in the runtime in which it was made.
    ///
    /// ```no_run
    /// # async fn f() -> Result<(), msgpipe::Error> {
    /// use msgpipe::{ClientOptions, tokio::Client};
    /// let options = ClientOptions::new();
    /// let (client, driver) = Client::connect_with_driver("com.example.notes", &options).await?;
    /// let mut tasks = tokio::task::JoinSet::new();
    /// tasks.spawn(driver);
    /// println!("{:?}", client.call("hello").await?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`connect_with`](Client::connect_with).
    ///
    /// # Panics
    /// As [`connect`](Client::connect).
    pub async fn connect_with_driver<E>(
        endpoint: E,
        options: &ClientOptions,
    ) -> Result<(Client, Driver), Error>
    where
        E: TryInto<Endpoint>,
        Error: From<E::Error>,
    {
        let endpoint = endpoint.try_into()?;
        open(&endpoint, options).await
    }
}

async fn open(endpoint: &Endpoint, options: &ClientOptions) -> Result<(Client, Driver), Error> {
    in_runtime(endpoint)?;
    let mut opening = Opening::new(endpoint, options)?;
    loop {
        if let Some(opened) = opening.attempt().await {
            return opened;
        }
        opening.pause().await;
    }
}
