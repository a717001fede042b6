//! Handlers that are async: how many run at once, and what becomes of those that nobody waits for.

mod other_thread;
mod own_task;
mod parts;
mod running;

use super::answering::Answering;
use super::responder::{Request, Responder};
use super::{IntoReply, Server};
use crate::backends::{TaskWait, TokioWait};
use crate::error::Error;
use crate::message_server::MessageServer;
use running::{Kept, Running};

/// How async handlers run, for [`Server::serve_tasks`].
///
/// ```
/// let tasks = msgpipe::tokio::Tasks::new().at_once(64).drop_cancelled();
/// ```
#[derive(Clone, Debug)]
pub struct Tasks {
    at_once: usize,
    drops_cancelled: bool,
}

impl Tasks {
    /// The defaults.
    pub fn new() -> Tasks {
        Tasks { at_once: 1024, drops_cancelled: false }
    }

    /// Sets how many handlers run at once, for all clients together.
    ///
    /// - At the limit: a further request gets the error reply [`ErrorReply::BUSY`](crate::ErrorReply::BUSY), and is not
    ///   begun.
    /// - Default: 1024. With futures of some KiB these are some MiB, beside what [`Limits::memory`](crate::Limits::memory)
    ///   counts; [`Limits::in_flight`](crate::Limits::in_flight) is the share of one client.
    /// - Unit: handlers, at least 1. One whose call was cancelled counts until it has ended, or has been dropped.
    #[must_use]
    pub fn at_once(self, handlers: usize) -> Tasks {
        Tasks { at_once: handlers.max(1), ..self }
    }

    /// Drops the future of a handler once nobody waits for its reply: the call was cancelled or is over its time, or its
    /// client has gone. The handler then ends where it awaits something. Default: it runs on, and learns of that by
    /// [`Request::is_cancelled`] or [`Responder::on_interrupt`].
    #[must_use]
    pub fn drop_cancelled(self) -> Tasks {
        Tasks { drops_cancelled: true, ..self }
    }
}

impl Default for Tasks {
    fn default() -> Tasks {
        Tasks::new()
    }
}

impl<M: MessageServer + Send + 'static> Server<M> {
    /// Serves with an async handler, in a runtime of tokio, until the server is [stopped](super::Stopper::stop). Feature
    /// `tokio`.
    ///
    /// On Unix a [`LocalServer`](crate::LocalServer) runs in the task that awaits this: its loop and its handlers have no
    /// thread between them, and a handler's future need not be `Send` if this one's need not. They run one at a time;
    /// a handler with much to compute spawns it. On Windows, and for other servers, the loop has a thread of its own, and only
    /// the handlers run in the task.
    ///
    /// So a handler must not block. It awaits other servers with the [async client](crate::tokio::Client), and not with
    /// [`Client`](crate::Client): a call of its own server would wait for itself. A call that it begins is given at most the
    /// time that is left of the request's.
    ///
    /// **Panics** are answered with [`ErrorReply::FAILED`](crate::ErrorReply::FAILED), and the
    /// [`on_panic`](Server::on_panic) hook runs.
    ///
    /// **Stopping.** Handlers run on until their calls are answered, for [`Limits::drain`](crate::Limits::drain) at most;
    /// those that are left then are dropped, also those whose calls have been answered or cancelled.
    ///
    /// **Cancel safety.** If this future is dropped the server ends: handlers are dropped, and connections are closed. The
    /// name is free once the loop has ended, which on Windows it does on its thread, soon.
    ///
    /// ```no_run
    /// # async fn f() -> Result<(), msgpipe::Error> {
    /// use msgpipe::tokio::{Client, Tasks};
    ///
    /// let notes = Client::connect("com.example.notes").await?;
    /// let server = msgpipe::Server::bind("com.example.front")?;
    /// server
    ///     .serve_tasks(Tasks::new(), |request| {
    ///         let notes = notes.clone();
    ///         async move { Ok::<_, msgpipe::Failure>(notes.call(request.body()).await?) }
    ///     })
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`serve`](Server::serve); [`Error::System`] also if a thread could not be started.
    ///
    /// # Panics
    /// Without a runtime of tokio that drives I/O and time. With its clock paused (`tokio::time::pause`) the deadlines of
    /// connections are those of the real clock, and waiting for them keeps the thread busy.
    pub async fn serve_tasks<H, F, R>(self, tasks: Tasks, mut handler: H) -> Result<(), Error>
    where
        H: FnMut(Request) -> F,
        F: Future<Output = R>,
        R: IntoReply,
    {
        let handler = |request, kept: Kept| {
            let reply = handler(request);
            async move { kept.reply(reply.await) }
        };
        self.run_tasks(tasks, false, handler).await
    }

    /// Serves with an async handler that replies at any time, and with parts ([`Responder::into_parts`],
    /// [`PartSender::send_async`](super::PartSender::send_async)); otherwise as [`serve_tasks`](Server::serve_tasks). A
    /// handler runs until its future has ended, also after its reply, and keeps its place of [`Tasks::at_once`] until then.
    ///
    /// ```no_run
    /// # async fn f() -> Result<(), msgpipe::Error> {
    /// let server = msgpipe::Server::bind("com.example.count")?;
    /// server
    ///     .serve_tasks_deferred(msgpipe::tokio::Tasks::new(), |_, responder| async {
    ///         let mut parts = responder.into_parts();
    ///         for number in 0..1000 {
    ///             if parts.send_async(number.to_string()).await.is_err() {
    ///                 return; // the client takes no more
    ///             }
    ///         }
    ///         parts.finish();
    ///     })
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`serve_tasks`](Server::serve_tasks).
    ///
    /// # Panics
    /// As [`serve_tasks`](Server::serve_tasks).
    pub async fn serve_tasks_deferred<H, F>(self, tasks: Tasks, mut handler: H) -> Result<(), Error>
    where
        H: FnMut(Request, Responder) -> F,
        F: Future<Output = ()>,
    {
        let takes_streams = self.takes_streams;
        let handler = |request, kept: Kept| {
            let (slot, responder) = kept.into_parts();
            let handled = handler(request, responder);
            async move {
                handled.await;
                drop(slot);
            }
        };
        self.run_tasks(tasks, takes_streams, handler).await
    }

    async fn run_tasks<H, F>(
        mut self,
        tasks: Tasks,
        takes_streams: bool,
        handler: H,
    ) -> Result<(), Error>
    where
        H: FnMut(Request, Kept) -> F,
        F: Future<Output = ()>,
    {
        #[cfg(feature = "test-util")]
        if crate::simulation::is_here() {
            let running = Running::new(tasks.drops_cancelled, self.hooks.panicked.take());
            let answering = Answering::new(self).with_streams(takes_streams);
            let wait = TaskWait::Simulated(crate::simulation::Timer::default());
            return own_task::serve(answering, wait, running, tasks.at_once, handler).await;
        }
        let failed = |source| Error::system(&self.endpoint().into(), "waiting for events", source);
        let waitable = self.messages.waitable().map_err(failed)?;
        let wait = waitable.map(TokioWait::new).transpose().map_err(failed)?.flatten();
        let running = Running::new(tasks.drops_cancelled, self.hooks.panicked.take());
        self.takes_streams = takes_streams;
        match wait {
            Some(wait) => {
                let answering = Answering::new(self).with_streams(takes_streams);
                let wait = TaskWait::Tokio(wait);
                own_task::serve(answering, wait, running, tasks.at_once, handler).await
            }
            None => other_thread::serve(self, running, tasks.at_once, handler).await,
        }
    }
}
