//! Workers: threads of a server for handlers that block.

mod pool;
mod queue;

use super::hooks::Draining;
use super::{IntoReply, Request, Responder, Server};
use crate::error::Error;
use crate::message_server::MessageServer;
use pool::{Pool, Team};
use std::num::NonZero;
use std::sync::Arc;
use std::thread;

/// How many threads run the handler of a server, and how many requests may wait for them;
/// [`Server::serve_workers`] takes it.
///
/// Requests wait in a queue for each connection. Users are served in turn, and of each user the connections, one
/// request each: who sends a thousand requests delays another by one at most. A request waits at its client's cost:
/// it counts as memory of the client ([`Limits::memory`](crate::Limits::memory)) and as one of its requests in flight,
/// and its deadline goes on. If it is cancelled meanwhile, or its client goes, it is not begun.
///
/// ```
/// use msgpipe::Workers;
///
/// let workers = Workers::new().threads(8).queue(16);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workers {
    threads: usize,
    queue: usize,
    queue_in_all: usize,
}

impl Workers {
    /// The fewest threads of the default.
    const THREADS_LEAST: usize = 4;

    /// The defaults: as many threads as the system has CPUs for this program, and at least 4, because a handler that
    /// waits leaves its CPU to others; and the queues of [`queue`](Workers::queue) and
    /// [`queue_in_all`](Workers::queue_in_all).
    pub fn new() -> Workers {
        let cpus = thread::available_parallelism().map_or(1, NonZero::get);
        Workers { threads: cpus.max(Workers::THREADS_LEAST), queue: 128, queue_in_all: 1024 }
    }

    /// Sets the number of threads: of the handlers that run at once. At least 1. They are started with the server.
    #[must_use]
    pub fn threads(self, threads: usize) -> Workers {
        Workers { threads: threads.max(1), ..self }
    }

    /// Sets how many requests of one connection may wait for a worker.
    ///
    /// - At the limit: a further one gets the error reply [`ErrorReply::BUSY`](crate::ErrorReply::BUSY), and is not
    ///   begun.
    /// - Default: 128, the deepest pipeline that still gains speed.
    /// - Unit: requests, at least 1.
    #[must_use]
    pub fn queue(self, requests: usize) -> Workers {
        Workers { queue: requests.max(1), ..self }
    }

    /// Sets how many requests of all connections together may wait for a worker.
    ///
    /// - At the limit: the newest request of the user with most of them, or else of the connection with most of them,
    ///   makes room if it has more than one more than the newcomer; otherwise the newcomer is refused. Who has to go
    ///   gets the error reply [`ErrorReply::BUSY`](crate::ErrorReply::BUSY), and is not begun.
    /// - Default: 1024, eight full queues. With handlers of 10 ms on 4 threads the last one waits for 2.5 s.
    /// - Unit: requests, at least 1.
    #[must_use]
    pub fn queue_in_all(self, requests: usize) -> Workers {
        Workers { queue_in_all: requests.max(1), ..self }
    }
}

impl Default for Workers {
    fn default() -> Workers {
        Workers::new()
    }
}

impl<M: MessageServer> Server<M> {
    /// Serves with a handler that may block, on threads of the server's own, until the server is
    /// [stopped](super::Stopper::stop).
    ///
    /// | which | the handler runs | for |
    /// |---|---|---|
    /// | [`serve`](Server::serve) | in the loop, one request at a time | what takes microseconds: no threads, the least time for each call |
    /// | [`serve_deferred`](Server::serve_deferred) | in the loop, and replies when it likes | an application with threads, a queue or an executor of its own |
    /// | `serve_workers` | on [`Workers`], several at once | what blocks: files, other programs, calls of other servers |
    /// | [`serve_workers_deferred`](Server::serve_workers_deferred) | on [`Workers`], and replies when it likes | the same, with replies of parts ([`Responder::into_parts`]) |
    ///
    /// With the feature `tokio` there is `serve_tasks` for handlers that are async.
    ///
    /// The loop never waits for a handler. If all workers are busy, requests wait; when a queue is full, they get the
    /// error reply [`ErrorReply::BUSY`](crate::ErrorReply::BUSY).
    ///
    /// **Panics.** A handler that panics answers with [`ErrorReply::FAILED`](crate::ErrorReply::FAILED). Its thread goes
    /// on: the number of workers stays the same. The [`on_panic`](Server::on_panic) hook runs on that thread, for one
    /// panic at a time.
    ///
    /// **Calls in handlers.** A call that a handler makes on its thread with a [`Client`](crate::Client) is given at
    /// most the time that is left of the request's, as is each call in a handler of `serve` or `serve_deferred`. A handler
    /// may call its own server, directly or through others: that takes another worker. While all workers wait, in
    /// calls or for a client to take parts, a request that comes from one of these calls gets the error reply
    /// [`ErrorReply::TOO_NESTED`](crate::ErrorReply::TOO_NESTED) at once. Not seen are calls on threads that the handler
    /// starts, and circles of calls that were begun apart, as when the only workers of two servers call each other at
    /// the same time: those end with the time of their calls.
    ///
    /// **Stopping.** What is in the queue is still carried out, within [`Limits::drain`](crate::Limits::drain). New
    /// requests are refused, also those that a handler sends to its own server. At its
    /// end the rest is refused with [`ErrorReply::STOPPING`](crate::ErrorReply::STOPPING), and this function returns. It
    /// waits that long for handlers that still run, and no longer: one that does not end keeps its thread, and learns by
    /// [`Request::is_cancelled`] that nobody waits.
    ///
    /// ```no_run
    /// use msgpipe::{Failure, Request, Server, Workers};
    ///
    /// fn read(request: Request) -> Result<Vec<u8>, Failure> {
    ///     let path = String::from_utf8(request.into_body().into())?;
    ///     Ok(std::fs::read(path)?)
    /// }
    ///
    /// let server = Server::bind("com.example.files")?;
    /// server.serve_workers(Workers::new(), read)?;
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`serve`](Server::serve); [`Error::System`] also if a thread could not be started.
    pub fn serve_workers<H, R>(self, workers: Workers, handler: H) -> Result<(), Error>
    where
        H: Fn(Request) -> R + Send + Sync + 'static,
        R: IntoReply,
    {
        self.serve_workers_deferred(workers, move |request, responder| {
            responder.reply(handler(request));
        })
    }

    /// Serves with a handler that may block and replies at any time, on threads of the server's own; otherwise as
    /// [`serve_workers`](Server::serve_workers). A worker is free again when the handler has returned.
    ///
    /// ```no_run
    /// use std::io::BufRead;
    ///
    /// let server = msgpipe::Server::bind("com.example.lines")?;
    /// server.serve_workers_deferred(msgpipe::Workers::new(), |_, responder| {
    ///     let mut parts = responder.into_parts();
    ///     for line in std::io::stdin().lock().lines().map_while(Result::ok) {
    ///         if parts.send(line).is_err() {
    ///             return; // the client takes no more
    ///         }
    ///     }
    ///     parts.finish();
    /// })?;
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`serve_workers`](Server::serve_workers).
    pub fn serve_workers_deferred<H>(mut self, workers: Workers, handler: H) -> Result<(), Error>
    where
        H: Fn(Request, Responder) + Send + Sync + 'static,
    {
        let pool = Arc::new(Pool::new(workers, self.hooks.panicked.take()));
        let counted = Arc::downgrade(&pool);
        self.outbox.tally.set_waiting(move || counted.upgrade().map_or(0, |pool| pool.waiting()));
        let _team = Team::start(&pool, handler, self.endpoint())?;
        let mut told = self.hooks.closed.take();
        let queued = pool.clone();
        self.hooks.closed = Some(Box::new(move |connection, why| {
            queued.remove(connection.id());
            if let Some(tell) = &mut told {
                tell(connection, why);
            }
        }));
        let draining = pool.clone();
        self.hooks.draining = Some(Box::new(move |drain| match drain {
            Draining::Begins(until) => draining.drains(until),
            Draining::IsLate => draining.refuse_all(),
        }));
        self.serve_deferred(move |request, responder| pool.push(request, responder))
    }
}
