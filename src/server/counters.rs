//! Reading a server's counters, and the hook for slow calls.

use super::Server;
use super::outbox::Outbox;
use super::tally::{ServerCounts, SlowCall};
use crate::message_server::MessageServer;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Reads what a server counts, from any thread, also after it has ended; [`Server::counters`] returns it. Cheap to
/// clone.
///
/// ```no_run
/// let server = msgpipe::Server::bind("com.example.notes")?;
/// let counters = server.counters();
/// std::thread::spawn(move || {
///     loop {
///         std::thread::sleep(std::time::Duration::from_secs(60));
///         let counts = counters.read();
///         println!("{} clients", counts.clients());
///         println!("{} requests, {} open", counts.requests.begun, counts.requests.open());
///     }
/// });
/// server.serve(|request| request.body())?;
/// # Ok::<_, msgpipe::Error>(())
/// ```
#[derive(Clone)]
pub struct Counters {
    outbox: Arc<Outbox>,
}

impl Counters {
    /// The counters now. Does not block.
    pub fn read(&self) -> ServerCounts {
        self.outbox.tally.read()
    }
}

impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Counters").field(&self.read()).finish()
    }
}

impl<M: MessageServer> Server<M> {
    /// The server's counters, for any thread. They cost a few nanoseconds for each call, whether they are read or not.
    pub fn counters(&self) -> Counters {
        Counters { outbox: self.outbox.clone() }
    }

    /// Sets a hook that runs for each request that took `limit` or longer, when it has ended. The first one that was
    /// set counts. It runs on the server's thread: meanwhile no client is served. With it, each request takes the time
    /// twice.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// let server = msgpipe::Server::bind("com.example.notes")?;
    /// let server = server.on_slow_call(Duration::from_millis(100), |call| {
    ///     eprintln!("method {} took {:?} and ended: {:?}", call.method, call.took, call.end);
    /// });
    /// server.serve(|request| request.body())?;
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    #[must_use]
    pub fn on_slow_call(
        self,
        limit: Duration,
        tell: impl FnMut(&SlowCall) + Send + 'static,
    ) -> Server<M> {
        self.outbox.tally.set_slow(limit, Box::new(tell));
        self
    }
}
