//! A server whose handlers reply at once, in a task of a simulation.

use super::Server;
use super::answering::{Answering, Turn};
use super::reply::IntoReply;
use super::responder::Request;
use crate::clock;
use crate::error::Error;
use crate::limits::Limits;
use crate::memory::MemoryServer;
use crate::message_server::MessageServer;
use crate::simulation::{Timer, World, cannot_watch};
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

impl World {
    /// A server at `name`, to which the simulation's clients connect by this name.
    ///
    /// # Errors
    /// [`Error::AlreadyServed`] if a server at that name accepts clients.
    pub fn server(&self, name: &str, limits: Limits) -> Result<Server<MemoryServer>, Error> {
        Ok(Server::over(self.listen(name, limits.clone())?, limits))
    }

    /// As [`Server::serve`], in a task: with a handler that replies at once. For handlers that wait there are
    /// [`Server::serve_tasks`] and [`Server::serve_tasks_deferred`].
    ///
    /// # Errors
    /// As [`Server::serve`].
    pub async fn serve<M, H, R>(self, server: Server<M>, mut handler: H) -> Result<(), Error>
    where
        M: MessageServer,
        H: FnMut(Request) -> R,
        R: IntoReply,
    {
        let mut answering = Answering::new(server);
        let mut timer = Timer::default();
        poll_fn(|context| {
            let outbox = answering.outbox.clone();
            let _here = outbox.run_here_awake();
            loop {
                let turn = answering.turn(Some(Duration::ZERO), &mut |request, answer| {
                    answer.with(request.method, || {
                        let _handling = request.begin(None);
                        handler(request)
                    });
                });
                match turn {
                    Err(error) => return Poll::Ready(Err(error)),
                    Ok(Turn::Over) => return Poll::Ready(Ok(())),
                    Ok(Turn::Busy) => continue,
                    Ok(Turn::Quiet) if outbox.has_some() => continue,
                    Ok(Turn::Quiet) => {}
                }
                let at = answering.timeout().map(|left| clock::now() + left);
                let at = at.into_iter().chain(answering.messages.poll_at()).min();
                if at.is_some_and(|at| at <= clock::now()) {
                    continue;
                }
                if !answering.messages.watch(context.waker()) {
                    let endpoint = answering.messages.endpoint().into();
                    let error = Error::system(&endpoint, "waiting for events", cannot_watch());
                    return Poll::Ready(Err(error));
                }
                if at.is_none_or(|at| timer.poll(context, at).is_pending()) {
                    return Poll::Pending;
                }
            }
        })
        .await
    }
}
