//! Connecting in a runtime of tokio.

use crate::backends::{TokioIo, open_tokio, retries};
use crate::client::ClientOptions;
use crate::client::driven::{self, Client};
use crate::endpoint::Endpoint;
use crate::error::{CloseReason, Error};
use crate::exchange::carries_calls;
use crate::framing::Native;
use crate::limits::Limits;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

/// The pause between two tries while the server is busy or is being started. It doubles: one that has a free place at once
/// is reached at once, and one that takes seconds costs little.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// The task that reads and writes for a [`Client`]; [`Client::connect_with_driver`] returns it. It ends when the connection
/// does, with the reason. Nothing is sent, and no deadline is noticed, while nobody polls it. Dropped, it ends the
/// connection and all calls.
#[must_use = "nothing happens on a connection whose driver is not polled"]
pub struct Driver(driven::Driver<TokioIo>);

impl Future for Driver {
    type Output = CloseReason;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<CloseReason> {
        Pin::new(&mut self.0).poll(context)
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").finish_non_exhaustive()
    }
}

impl Client {
    /// Connects to the server at `endpoint` with the default [`Limits`], and spawns the driver in the runtime that this is
    /// polled in.
    ///
    /// Waits while the server is busy, at most for [`Limits::connect`].
    ///
    /// Cancel safety: dropped before it is done, there is no connection. A server that it has started is left to itself.
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
        tokio::spawn(driver);
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
    if Handle::try_current().is_err() {
        let problem = "connecting needs a runtime of tokio: poll it in one".to_owned();
        return Err(Error::Misuse { endpoint: endpoint.to_string().into(), problem });
    }
    let limits = options.limits_of_calls();
    let framing = options.framing_or(Native::for_calls(limits.message));
    carries_calls(Some(&*framing), endpoint)?;
    let (mut starting, mut busy_since, mut pause) = (None, None, FIRST_PAUSE);
    loop {
        let at_once = Some(Duration::ZERO);
        match options.try_open(endpoint, &*framing, &mut starting, at_once, open_tokio) {
            Some(Ok((io, server, name))) => {
                let (client, driver) = Client::over_io(io, &*framing, name, server, &limits);
                return Ok((client, Driver(driver)));
            }
            Some(Err(error)) => {
                let Some(most) = retries(&error, &limits) else {
                    return Err(error);
                };
                let since = *busy_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= most {
                    return Err(late(error, &limits));
                }
            }
            // The server is being started.
            None => busy_since = None,
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Each try had no time to wait; all of them had this.
fn late(error: Error, limits: &Limits) -> Error {
    match error {
        Error::Busy { endpoint, .. } => Error::busy(&endpoint, limits.connect),
        error => error,
    }
}
