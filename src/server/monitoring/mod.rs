//! What a server answers itself: the reserved methods of [`monitor`](crate::monitor).

mod tap;

pub(super) use tap::{Readers, Tap};

use super::Server;
#[cfg(doc)]
use crate::error::ErrorReply;
use crate::message_server::MessageServer;
#[cfg(doc)]
use crate::monitor::DESCRIBE;
use crate::monitor::Monitor;
use bytes::Bytes;

impl<M: MessageServer> Server<M> {
    /// How much of the server programs of its own user see, as `msgpipe tap` and `msgpipe inspect` do. By default
    /// [`Monitor::Heads`]: counters, clients, and what is sent, without the contents.
    ///
    /// ```no_run
    /// let server = msgpipe::Server::bind("com.example.notes")?;
    /// let server = server.monitor(msgpipe::monitor::Monitor::Bodies(256)); // while it is developed
    /// server.serve(|request| request.body())?;
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    #[must_use]
    pub fn monitor(self, monitor: Monitor) -> Server<M> {
        self.outbox.tap.set(monitor);
        self
    }

    /// What the server answers to [`DESCRIBE`]: its methods, in a form that the application chooses, for everyone who may
    /// connect. The first one that was set counts. Without it the answer is an error,
    /// [`ErrorReply::NO_METHOD`].
    ///
    /// ```no_run
    /// let server = msgpipe::Server::bind("com.example.notes")?;
    /// let server = server.describe("1: add a note\n2: list the notes\n");
    /// server.serve(|request| request.body())?;
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    #[must_use]
    pub fn describe(self, interface: impl Into<Bytes>) -> Server<M> {
        self.outbox.tap.describe(interface.into());
        self
    }
}
