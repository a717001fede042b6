//! An instance of a service: takes requests from the engine and hands them to a server of msgpipe.

use crate::client::DEFAULT_TIMEOUT;
use crate::engine::{Engine, check_service, subject};
use crate::error::Error;
use crate::headers;
use async_nats::ConnectOptions;
use async_nats::client::PublishErrorKind;
use async_nats::service::endpoint::Endpoint;
use async_nats::service::{self, Request, Service, ServiceExt};
use futures_util::StreamExt;
use msgpipe::ErrorReply;
use msgpipe::tokio::Client;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

/// The requests that wait at most between the connection and the gateway, which takes them at once. If more come in one
/// moment async-nats drops them, and their callers get [`Error::Late`]. It is that of one client's
/// [`IN_FLIGHT`](crate::IN_FLIGHT).
const WAITING: usize = 1024;

/// How a [`Gateway`] serves.
#[derive(Debug)]
pub struct GatewayOptions {
    version: String,
    at_once: usize,
    drain: Duration,
    connect: ConnectOptions,
}

impl GatewayOptions {
    /// The defaults.
    pub fn new() -> GatewayOptions {
        GatewayOptions {
            version: "0.0.0".to_owned(),
            at_once: 256,
            drain: Duration::from_secs(5),
            connect: ConnectOptions::new(),
        }
    }

    /// Sets the version that tools show, as of semantic versioning. Default: 0.0.0.
    #[must_use]
    pub fn version(self, version: &str) -> GatewayOptions {
        GatewayOptions { version: version.to_owned(), ..self }
    }

    /// Sets how many requests the server works on at once.
    ///
    /// - At the limit: a further request is answered with [`ErrorReply::BUSY`] at once, and not begun. The engine does not
    ///   know which instance has time, so the caller may try again.
    /// - Default: 256. With the engine's `max_payload` of 1 MiB these are up to 512 MiB, requests and replies. Up to 1024
    ///   more requests wait for the gateway for a moment: an engine for small messages should have a small `max_payload`.
    ///   It is below [`Limits::in_flight`](msgpipe::Limits::in_flight), 1024, which is the limit of the server.
    /// - Unit: requests, at least 1.
    #[must_use]
    pub fn at_once(self, requests: usize) -> GatewayOptions {
        GatewayOptions { at_once: requests.max(1), ..self }
    }

    /// Sets how long [`Gateway::stop`] waits for what was begun. Default: 5 s.
    #[must_use]
    pub fn drain(self, drain: Duration) -> GatewayOptions {
        GatewayOptions { drain, ..self }
    }

    /// Sets credentials, certificates and other options of async-nats. Its callback for events, its capacities and its
    /// interval of pings are set by this crate.
    #[must_use]
    pub fn connect(self, connect: ConnectOptions) -> GatewayOptions {
        GatewayOptions { connect, ..self }
    }
}

impl Default for GatewayOptions {
    fn default() -> GatewayOptions {
        GatewayOptions::new()
    }
}

/// An instance of a service of NATS: each request that the engine gives it is a call of a server of msgpipe, whose handlers
/// need no change. The tools of NATS see it with its statistics (`nats micro stats NAME`).
///
/// A task serves. It ends when the gateway is [stopped](Gateway::stop) or dropped, and when the server has gone: an instance
/// that cannot serve must not take requests. A lost engine ends it not: the connection is made again, and replies
/// wait for that.
///
/// ```no_run
/// # async fn f() -> Result<(), Box<dyn std::error::Error>> {
/// use msgpipe_nats::{Gateway, GatewayOptions};
/// let server = msgpipe::tokio::Client::connect("com.example.notes").await?;
/// let gateway =
///     Gateway::start("nats://127.0.0.1:4222", "notes", server, GatewayOptions::new()).await?;
/// gateway.ended().await; // the server has gone
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Gateway {
    stop: watch::Sender<bool>,
    ended: watch::Receiver<bool>,
    task: JoinHandle<()>,
    id: String,
}

impl Gateway {
    /// Connects to the engine and serves there, in the queue group of the service: each request goes to one instance.
    /// Requests without a place for a reply are dropped, and not begun.
    ///
    /// # Errors
    /// [`Error::NoEngine`]; [`Error::Misuse`] for a name, version or URL that is none.
    ///
    /// # Panics
    /// Outside of a runtime of tokio with I/O and time.
    pub async fn start(
        url: &str,
        service: &str,
        server: Client,
        options: GatewayOptions,
    ) -> Result<Gateway, Error> {
        check_service(service)?;
        let engine = Engine::connect(url, options.connect, WAITING).await?;
        let misuse = |why: async_nats::Error| Error::Misuse {
            problem: format!("{service} cannot be served: {why}"),
        };
        let builder = engine.client.service_builder().queue_group("q");
        let instance = builder.start(service, &options.version).await.map_err(misuse)?;
        let adding = instance.endpoint_builder().name("call").add(subject(service));
        let endpoint = adding.await.map_err(misuse)?;
        // The engine knows of the instance when this returns.
        let known = timeout(SETTLING, round_trip(&engine)).await;
        known.map_err(|_| Error::Away { engine: engine.name.clone() })?;
        let id = instance.info().await.id;
        let (stop, stopping) = watch::channel(false);
        let (end, ended) = watch::channel(false);
        let serving = Serving {
            engine,
            instance,
            endpoint,
            stopping,
            at_once: options.at_once,
            drain: options.drain,
        };
        let task = tokio::spawn(async move {
            let _end = end; // dropped with the task, however that ends
            serving.run(Arc::new(server)).await;
        });
        Ok(Gateway { stop, ended, task, id })
    }

    /// The instance's identifier in the engine, as tools show it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Waits until it serves no more: the server has gone, or the connection to the engine has ended for good.
    ///
    /// Cancel safety: nothing is lost.
    pub async fn ended(&self) {
        let mut ended = self.ended.clone();
        while ended.changed().await.is_ok() {}
    }

    /// Takes no more requests, waits for those that were begun, and ends. What is left after
    /// [`GatewayOptions::drain`] is given up. A request that is on its way just then may get no answer: its caller gets
    /// [`Error::Late`].
    pub async fn stop(self) {
        self.stop.send_replace(true);
        self.ended().await;
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How long the engine may take to know of a new instance.
const SETTLING: Duration = Duration::from_secs(5);

/// Returns when the engine has done all that was sent before: it says that nobody listens to a new inbox.
async fn round_trip(engine: &Engine) {
    let _ = engine.client.request(engine.client.new_inbox(), "".into()).await;
}

struct Serving {
    engine: Engine,
    instance: Service,
    endpoint: Endpoint,
    stopping: watch::Receiver<bool>,
    at_once: usize,
    drain: Duration,
}

impl Serving {
    async fn run(mut self, server: Arc<Client>) {
        let mut running = JoinSet::new();
        loop {
            tokio::select! {
                _ = self.stopping.changed() => break,
                Some(_) = running.join_next() => {
                    if server.is_closed() {
                        break;
                    }
                }
                request = self.endpoint.next() => match request {
                    None => break,
                    Some(request) if running.len() < self.at_once => {
                        running.spawn(serve(server.clone(), request));
                    }
                    Some(request) => {
                        let text = format!("{} requests are worked on, the limit of this instance", self.at_once);
                        let busy = ErrorReply::new(ErrorReply::BUSY, text);
                        // Waits only while replies wait to be sent.
                        tokio::select! {
                            () = refuse(&request, &busy, true) => {}
                            _ = self.stopping.changed() => break,
                        }
                    }
                },
            }
        }
        let draining = async {
            let _ = self.endpoint.stop().await;
            while let Some(request) = self.endpoint.next().await {
                let text = "the instance stops, and begins no more requests";
                refuse(&request, &ErrorReply::new(ErrorReply::STOPPING, text), true).await;
            }
            while running.join_next().await.is_some() {}
            round_trip(&self.engine).await;
        };
        let _ = timeout(self.drain, draining).await;
        let _ = self.instance.stop().await;
    }
}

/// One request, and its answer.
async fn serve(server: Arc<Client>, request: Request) {
    if request.message.reply.is_none() {
        return; // who does not want to know how it ended is not served: see `Gateway::start`
    }
    let terms = match headers::terms_of(request.message.headers.as_ref()) {
        Ok(terms) => terms,
        Err(header) => {
            let text = format!("the header {header} cannot be read");
            return refuse(&request, &ErrorReply::new(ErrorReply::FAILED, text), true).await;
        }
    };
    let to = server.with_method(terms.method).with_metadata(terms.metadata);
    let to = to.with_timeout(terms.time.unwrap_or(DEFAULT_TIMEOUT));
    let reply = match to.call(request.message.payload.clone()).await {
        Ok(reply) => reply,
        Err(error) => {
            let reply = error.reply().cloned();
            let reply =
                reply.unwrap_or_else(|| ErrorReply::new(ErrorReply::FAILED, error.to_string()));
            return refuse(&request, &reply, error.is_not_begun()).await;
        }
    };
    let size = reply.len();
    if let Err(why) = request.respond(Ok(reply)).await
        && why.kind() == PublishErrorKind::MaxPayloadExceeded
    {
        let text = format!(
            "a reply of {size} bytes is over the engine's limit: raise max_payload of the NATS server; the request was carried out"
        );
        let error = ErrorReply::new(ErrorReply::REPLY_TOO_LARGE, text);
        refuse(&request, &error, false).await;
    }
}

/// Answers with an error, which the statistics count. If it is over the engine's limit it loses its details, then its text.
async fn refuse(request: &Request, reply: &ErrorReply, not_begun: bool) {
    let bare = ErrorReply::new(reply.code, reply.text.clone());
    let least = ErrorReply::new(reply.code, "");
    for reply in [reply, &bare, &least] {
        let status = headers::short(&reply.text);
        let error = service::error::Error { status, code: usize::from(reply.code) };
        let headers = headers::of_error(reply, not_begun);
        match request.respond_with_headers(Err(error), headers).await {
            Err(why) if why.kind() == PublishErrorKind::MaxPayloadExceeded => {}
            _ => return,
        }
    }
}
