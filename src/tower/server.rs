//! A server of a service.

use crate::error::{Error, ErrorReply};
use crate::message_server::MessageServer;
use crate::server::{IntoReply, Request, Server, Tasks};
use std::future::poll_fn;
use tower_service::Service;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl<M: MessageServer + Send + 'static> Server<M> {
    /// Serves with a `tower::Service`, as [`serve_tasks`](Server::serve_tasks). Feature `tower`.
    ///
    /// Each request has a clone of the service, waits until that is ready, and is given to it. Requests that wait count in
    /// [`Tasks::at_once`].
    ///
    /// An error that is an [`ErrorReply`] is sent as it is, and so is the reply of another server in an [`Error`]. Of any
    /// other the client gets the text, with [`ErrorReply::FAILED`].
    ///
    /// ```no_run
    /// # async fn f() -> Result<(), msgpipe::Error> {
    /// use msgpipe::{ErrorReply, Request, tokio::Tasks};
    /// use tower::{ServiceBuilder, service_fn};
    ///
    /// let echo = service_fn(|request: Request| async move { Ok::<_, ErrorReply>(request.into_body()) });
    /// let echo = ServiceBuilder::new().concurrency_limit(8).service(echo);
    /// msgpipe::Server::bind("com.example.echo")?.serve_service(Tasks::new(), echo).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`serve_tasks`](Server::serve_tasks).
    ///
    /// # Panics
    /// As [`serve_tasks`](Server::serve_tasks).
    pub async fn serve_service<S>(self, tasks: Tasks, service: S) -> Result<(), Error>
    where
        S: Service<Request> + Clone,
        S::Response: IntoReply,
        S::Error: Into<BoxError>,
    {
        let handler = move |request| {
            let mut service = service.clone();
            async move {
                let ready = poll_fn(|context| service.poll_ready(context)).await;
                ready.map_err(|error| reply_of(error.into()))?;
                service.call(request).await.map_err(|error| reply_of(error.into()))
            }
        };
        self.serve_tasks(tasks, handler).await
    }
}

fn reply_of(error: BoxError) -> ErrorReply {
    let answered = error.downcast_ref::<Error>().and_then(Error::reply);
    let reply = error.downcast_ref::<ErrorReply>().or(answered).cloned();
    reply.unwrap_or_else(|| ErrorReply::new(ErrorReply::FAILED, error.to_string()))
}
