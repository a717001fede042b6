//! Notifications: messages of clients that ask for no reply.

use super::Connection;
use crate::exchange::Metadata;
use bytes::Bytes;

/// A message of a client that asks for no reply; see [`Server::on_notification`](super::Server::on_notification).
#[derive(Debug)]
pub struct ClientNotification {
    pub(super) body: Bytes,
    pub(super) method: u32,
    pub(super) metadata: Metadata,
    pub(super) connection: Connection,
}

impl ClientNotification {
    /// The body. The bytes can be a slice of a larger buffer; to keep a small one for long, copy them.
    pub fn body(&self) -> Bytes {
        self.body.clone()
    }

    /// The number of the method, 0 for none.
    pub fn method(&self) -> u32 {
        self.method
    }

    /// What the client has sent beside the body.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Who has sent it.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }
}
