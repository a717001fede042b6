//! Opening a connection: tries that do not wait, and a server that is started.

use super::driver::Driver;
use super::runtime::{self, now, pause};
use crate::backends::{TokioIo, open_tokio, retries};
use crate::client::ClientOptions;
use crate::client::driven::Client;
use crate::client::starting::Starting;
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::exchange::carries_calls;
use crate::framing::{Framing, Native};
use crate::limits::Limits;
use crate::peer::Peer;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::spawn_blocking;

/// The pause between two tries while the server is busy or is being started. It doubles: one that has a free place at once
/// is reached at once, and one that takes seconds costs little.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

type Opened = Option<Result<(TokioIo, Peer, Arc<str>), Error>>;

/// A connection that is being made. Dropped, it leaves a process that it has started to itself.
pub(super) struct Opening {
    endpoint: Endpoint,
    options: ClientOptions,
    framing: Arc<dyn Framing>,
    limits: Limits,
    starting: Option<Starting>,
    busy_since: Option<Instant>,
    pause: Duration,
}

/// Connecting is for a runtime, which has its timers, sockets and tasks.
pub(super) fn in_runtime(endpoint: &Endpoint) -> Result<(), Error> {
    match runtime::is_here() {
        true => Ok(()),
        false => {
            let problem = "connecting needs a runtime of tokio: poll it in one".to_owned();
            Err(Error::Misuse { endpoint: endpoint.to_string().into(), problem })
        }
    }
}

impl Opening {
    pub fn new(endpoint: &Endpoint, options: &ClientOptions) -> Result<Opening, Error> {
        let limits = options.limits_of_calls();
        let framing = options.framing_or(Native::for_calls(limits.message));
        carries_calls(Some(&*framing), endpoint)?;
        Ok(Opening {
            endpoint: endpoint.clone(),
            options: options.clone(),
            framing,
            limits,
            starting: None,
            busy_since: None,
            pause: FIRST_PAUSE,
        })
    }

    /// Whether something was run that may become the server.
    pub fn has_run(&self) -> bool {
        self.starting.as_ref().is_some_and(Starting::has_run)
    }

    /// Whether the next try may run something, unless another client does.
    pub fn may_run(&self) -> bool {
        self.starting.is_some() && !self.has_run()
    }

    /// Tries once. `None`: the server is busy or is being started; there may be another try after a [pause](Opening::pause).
    pub async fn attempt(&mut self) -> Option<Result<(Client, Driver), Error>> {
        let opened = match self.may_run() {
            true => self.run().await,
            false => self.look(),
        };
        match opened {
            Some(Ok((io, server, name))) => {
                let (client, driver) =
                    Client::over_io(io, &*self.framing, name, server, &self.limits);
                Some(Ok((client, Driver::new(driver))))
            }
            Some(Err(error)) => {
                let Some(most) = retries(&error, &self.limits) else {
                    return Some(Err(error));
                };
                let since = *self.busy_since.get_or_insert_with(now);
                (now() - since >= most).then(|| Err(late(error, &self.limits)))
            }
            // The server is being started.
            None => {
                self.busy_since = None;
                None
            }
        }
    }

    /// A try that runs nothing.
    fn look(&mut self) -> Opened {
        let (endpoint, framing) = (&self.endpoint, &*self.framing);
        match self.starting {
            None => self.options.look(endpoint, framing, &mut self.starting, open_tokio),
            Some(_) => try_open(&self.options, endpoint, framing, &mut self.starting),
        }
    }

    /// A try that may call the application's function, or start a process: not on a thread of the runtime.
    async fn run(&mut self) -> Opened {
        let (options, endpoint) = (self.options.clone(), self.endpoint.clone());
        let (framing, mut starting) = (self.framing.clone(), self.starting.take());
        let work = move || {
            let opened = try_open(&options, &endpoint, &*framing, &mut starting);
            (opened, starting)
        };
        let ran = match runtime::is_simulated() {
            true => Ok(work()),
            false => spawn_blocking(work).await,
        };
        match ran {
            Ok((opened, starting)) => {
                self.starting = starting;
                opened
            }
            Err(failed) => match failed.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => {
                    let source = io::Error::other("the runtime ends");
                    Some(Err(Error::system(&self.endpoint.named(), "connecting", source)))
                }
            },
        }
    }

    /// Pauses before the next try.
    pub async fn pause(&mut self) {
        pause(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}

fn try_open(
    options: &ClientOptions,
    endpoint: &Endpoint,
    framing: &dyn Framing,
    starting: &mut Option<Starting>,
) -> Opened {
    options.try_open(endpoint, framing, starting, Some(Duration::ZERO), open_tokio)
}

/// Each try had no time to wait; all of them had this.
fn late(error: Error, limits: &Limits) -> Error {
    match error {
        Error::Busy { endpoint, .. } => Error::busy(&endpoint, limits.connect),
        error => error,
    }
}
