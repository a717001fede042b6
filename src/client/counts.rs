//! What a client counts.

use super::Client;
use crate::counts::{CallCounts, Traffic};

/// What a client has counted since it was connected, with all its clones; [`Client::counts`] returns it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientCounts {
    /// Calls to the server. Those that were refused before they were begun are not counted, as with
    /// [`Error::TooManyCalls`](crate::Error::TooManyCalls). A call ends when its outcome is there, also if nobody has
    /// taken it.
    pub calls: CallCounts,
    /// Calls of the server that were taken from [`Incoming`](crate::Incoming).
    pub requests: CallCounts,
    /// Notifications of the server that were kept for [`Incoming`](crate::Incoming).
    pub notifications_received: u64,
    /// Notifications to the server.
    pub notifications_sent: u64,
    /// What has arrived.
    pub received: Traffic,
    /// What was queued to be sent, or was given to the transport.
    pub sent: Traffic,
    /// What the server has sent unasked, and nobody has taken: so many notifications and calls wait now.
    pub waiting: usize,
}

impl Client {
    /// What this client has counted. Does not wait for the server.
    ///
    /// ```no_run
    /// let client = msgpipe::Client::connect("com.example.notes")?;
    /// client.call("hello")?;
    /// let counts = client.counts();
    /// assert_eq!((counts.calls.begun, counts.calls.replied), (1, 1));
    /// println!("{} bytes have arrived", counts.received.bytes);
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    pub fn counts(&self) -> ClientCounts {
        self.inner.pending.counts()
    }
}
