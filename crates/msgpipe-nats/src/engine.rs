//! A connection to the engine that knows when it was lost.

use crate::error::Error;
use async_nats::connection::State;
use async_nats::{Client, ConnectOptions, Event, ServerAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often an idle connection is checked. An engine that vanished without a word is noticed after three times that;
/// calls end by their own deadlines until then.
const PING: Duration = Duration::from_secs(10);

pub struct Engine {
    pub client: Client,
    /// Its addresses, without credentials.
    pub name: Arc<str>,
    /// How often the connection was lost.
    pub losses: watch::Receiver<u64>,
}

impl Engine {
    /// Connects. `queue`: the messages that wait at most to be sent, and in each subscription to be taken.
    pub async fn connect(
        url: &str,
        options: ConnectOptions,
        queue: usize,
    ) -> Result<Engine, Error> {
        let addresses = addresses(url)?;
        let hosts: Vec<String> =
            addresses.iter().map(|it| format!("{}:{}", it.host(), it.port())).collect();
        let name: Arc<str> = hosts.join(",").into();
        let (tell, losses) = watch::channel(0);
        let tell = Arc::new(tell);
        let options = options
            .ping_interval(PING)
            .client_capacity(queue)
            .subscription_capacity(queue)
            .event_callback(move |event| {
                if matches!(event, Event::Disconnected | Event::Closed) {
                    tell.send_modify(|losses| *losses += 1);
                }
                std::future::ready(())
            });
        match async_nats::connect_with_options(addresses, options).await {
            Ok(client) => Ok(Engine { client, name, losses }),
            Err(cause) => Err(Error::NoEngine { engine: name, cause }),
        }
    }

    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }
}

/// One URL, or several with commas between them.
fn addresses(url: &str) -> Result<Vec<ServerAddr>, Error> {
    let parsed: Result<Vec<ServerAddr>, _> = url.split(',').map(|it| it.trim().parse()).collect();
    // The URL may have a password: it is not repeated.
    parsed.map_err(|why| Error::Misuse {
        problem: format!(
            "the URL of the NATS engine cannot be read ({why}): it is like nats://HOST:4222"
        ),
    })
}

/// Where the requests of a service go.
pub fn subject(service: &str) -> String {
    format!("msgpipe.{service}")
}

/// # Errors
/// NATS would not take it as the name of a service.
pub fn check_service(service: &str) -> Result<(), Error> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !service.is_empty() && service.len() <= SERVICE_MAX && service.chars().all(fits) {
        return Ok(());
    }
    let problem = format!(
        "the name of a service of NATS has 1 to {SERVICE_MAX} letters, digits, - and _, and this is {service:?}"
    );
    Err(Error::Misuse { problem })
}

/// The longest name of a service. The engine takes a subject only if it fits with all else in a line of 4096 bytes.
const SERVICE_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_service_api() {
        for (name, fits) in [
            ("notes", true),
            ("Notes-2_x", true),
            ("", false),
            ("com.example", false),
            ("a b", false),
            ("a>", false),
        ] {
            assert_eq!(check_service(name).is_ok(), fits, "{name:?}");
        }
        for (len, fits) in [(199, true), (200, true), (201, false)] {
            assert_eq!(check_service(&"n".repeat(len)).is_ok(), fits, "{len}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let error = addresses("nats://anna:secret@[").unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }
}
