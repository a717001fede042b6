//! What a method may ask about its call.

use crate::exchange::Metadata;
use crate::peer::Peer;
use crate::server::{ClientNotification, Connection, Request};
use std::fmt;
use std::time::Instant;

/// About the call of a method, which has an argument `&Context` for it. It is not sent: clients have no such argument.
///
/// ```
/// use msgpipe::typed::{self, Context};
///
/// #[typed::service]
/// trait Whoami {
///     fn whoami(&self, context: &Context) -> String;
/// }
///
/// struct Names;
///
/// impl Whoami for Names {
///     fn whoami(&self, context: &Context) -> String {
///         context.peer().to_string()
///     }
/// }
/// ```
pub struct Context {
    method: &'static str,
    source: Source,
}

enum Source {
    Request(Request),
    Notification { connection: Connection, metadata: Metadata },
}

impl Context {
    pub(super) fn of_request(method: &'static str, request: Request) -> Context {
        Context { method, source: Source::Request(request) }
    }

    pub(super) fn of_notification(method: &'static str, told: &ClientNotification) -> Context {
        let (connection, metadata) = (told.connection().clone(), told.metadata().clone());
        Context { method, source: Source::Notification { connection, metadata } }
    }

    /// The name of the method, as in `Notes.add`.
    pub fn method(&self) -> &'static str {
        self.method
    }

    /// Who calls.
    pub fn peer(&self) -> &Peer {
        match &self.source {
            Source::Request(request) => request.peer(),
            Source::Notification { connection, .. } => connection.peer(),
        }
    }

    /// The connection that the call came from.
    pub fn connection(&self) -> Connection {
        match &self.source {
            Source::Request(request) => request.connection(),
            Source::Notification { connection, .. } => connection.clone(),
        }
    }

    /// What the client has sent beside the arguments.
    pub fn metadata(&self) -> Metadata {
        match &self.source {
            Source::Request(request) => request.metadata(),
            Source::Notification { metadata, .. } => metadata.clone(),
        }
    }

    /// When the client stops waiting. `None`: it waits any time, or for nothing.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.source {
            Source::Request(request) => request.deadline(),
            Source::Notification { .. } => None,
        }
    }

    /// Whether nobody waits for the reply any more, so that work on it can stop. A call without a reply never is.
    pub fn is_cancelled(&self) -> bool {
        match &self.source {
            Source::Request(request) => request.is_cancelled(),
            Source::Notification { .. } => false,
        }
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("method", &self.method).finish_non_exhaustive()
    }
}
