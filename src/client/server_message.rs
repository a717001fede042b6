//! What a server sends to a client unasked.

use super::pending::{Asked, Item};
use crate::error::ErrorReply;
use crate::exchange::Metadata;
use crate::nesting::{Chain, Handling};
use crate::server::IntoReply;
use crate::trace::RequestSpan;
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

/// The client that a call of the server came to: the blocking one, or the async one.
pub(super) trait Answers: Send + Sync {
    /// Answers a call of the server. Does not wait.
    fn answer(&self, id: u32, answer: Result<Bytes, ErrorReply>);

    /// Whether nobody waits for the answer any more.
    fn is_cut_off(&self, asked: &Asked) -> bool;

    /// The endpoint as text.
    fn endpoint(&self) -> &str;
}

/// A message of the server that answers no call of this client; see [`Incoming`](crate::Incoming).
#[derive(Debug)]
#[non_exhaustive]
pub enum ServerMessage {
    /// A message that needs no reply. They come in the order in which the server sent them.
    Notification(Notification),
    /// The server calls this client, and waits for the reply.
    Request(ServerRequest),
}

impl ServerMessage {
    pub(super) fn new(client: Arc<dyn Answers>, item: Item) -> ServerMessage {
        match item {
            Item::Notification(arrived) => {
                let (method, metadata, body) = (arrived.method, arrived.metadata, arrived.body);
                ServerMessage::Notification(Notification { method, metadata, body })
            }
            Item::Request(asked) => {
                ServerMessage::Request(ServerRequest { client, asked, is_answered: false })
            }
        }
    }
}

impl ServerMessage {
    /// Passes it to `handler`, whose calls on this thread are part of what the server waits for.
    pub(super) fn pass_to(self, handler: &mut impl FnMut(ServerMessage)) {
        let handling = match &self {
            ServerMessage::Request(request) => Some(Handling {
                deadline: request.deadline(),
                chain: Chain::of(Some(request.metadata())),
                worker: None,
                span: RequestSpan::begin(
                    request.client.endpoint(),
                    None,
                    request.method(),
                    Some(request.metadata()),
                ),
            }),
            ServerMessage::Notification(_) => None,
        };
        let _handling = handling.map(Handling::enter);
        handler(self);
    }
}

/// A message of the server that needs no reply.
#[derive(Clone, Debug)]
pub struct Notification {
    method: u32,
    metadata: Metadata,
    body: Bytes,
}

impl Notification {
    /// The body.
    pub fn body(&self) -> Bytes {
        self.body.clone()
    }

    /// The number of the method, 0 for none. The application gives numbers to what it sends.
    pub fn method(&self) -> u32 {
        self.method
    }

    /// What the server has sent beside the body.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }
}

/// A call of the server to this client. It is answered once, from any thread; [`Incoming`](crate::Incoming) has an
/// example.
///
/// Dropped without an answer it answers with [`ErrorReply::UNANSWERED`], so that the server does not wait for an
/// answer that nobody will give; by a panic, with [`ErrorReply::FAILED`].
#[must_use = "dropping a request answers it with an error"]
pub struct ServerRequest {
    client: Arc<dyn Answers>,
    asked: Asked,
    is_answered: bool,
}

impl ServerRequest {
    /// The body.
    pub fn body(&self) -> Bytes {
        self.asked.body.clone()
    }

    /// The number of the method, 0 for none.
    pub fn method(&self) -> u32 {
        self.asked.method
    }

    /// What the server has sent beside the body.
    pub fn metadata(&self) -> &Metadata {
        &self.asked.metadata
    }

    /// When the server stops waiting. The request is cancelled then. `None`: it waits any time.
    pub fn deadline(&self) -> Option<Instant> {
        self.asked.deadline
    }

    /// Whether nobody waits for the answer any more: the server has cancelled the call, its time is over, or the
    /// connection has ended. An answer is dropped then. Does not block, and does not read: this becomes true when a
    /// thread of the client has read that it is so.
    pub fn is_cancelled(&self) -> bool {
        self.client.is_cut_off(&self.asked)
    }

    /// Sends the reply: anything that a handler of a server may return too. Does not block: what the system does not
    /// take at once is sent by the next thread that reads or sends. A code below 100 of an error is sent as
    /// [`ErrorReply::FAILED`].
    pub fn reply(mut self, reply: impl IntoReply) {
        let answer = reply.into_reply().map_err(ErrorReply::of_application);
        self.answer(answer);
    }

    fn answer(&mut self, answer: Result<Bytes, ErrorReply>) {
        self.is_answered = true;
        self.client.answer(self.asked.id, answer);
    }
}

impl fmt::Debug for ServerRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerRequest")
            .field("endpoint", &self.client.endpoint())
            .field("asked", &self.asked)
            .finish_non_exhaustive()
    }
}

impl Drop for ServerRequest {
    fn drop(&mut self) {
        if !self.is_answered {
            let error = match std::thread::panicking() {
                true => ErrorReply::panicked(),
                false => ErrorReply::new(ErrorReply::UNANSWERED, "the handler gave no answer"),
            };
            self.answer(Err(error));
        }
    }
}
