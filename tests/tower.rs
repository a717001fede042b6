//! Services of tower: a client is one, and keeps its place; a server serves one, and waits until it is ready.

use bytes::Bytes;
use msgpipe::tokio::{Client, Tasks};
use msgpipe::tower::ClientService;
use msgpipe::{ClientOptions, Error, ErrorReply, Limits, Request, Responder, Server, Stopper};
use std::future::{Ready, ready};
use std::pin::pin;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::task::JoinHandle as JoinTask;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt, service_fn};

/// A deadline that only a failing test reaches.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that echoes; it holds what begins with `hold`, until it is asked to let it go.
struct Serving {
    name: String,
    stopper: Stopper,
    thread: Option<JoinHandle<()>>,
}

fn unique_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("msgpipe.tower.{}.{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

impl Serving {
    fn start() -> Serving {
        let name = unique_name();
        let server = Server::bind(name.as_str()).unwrap();
        let (stopper, mut held) = (server.stopper(), Vec::<Responder>::new());
        let serve = move || {
            let handler = |request: Request, responder: Responder| match &request.body()[..] {
                b"hold" => held.push(responder),
                b"let go" => {
                    held.drain(..).for_each(|it| it.reply("held"));
                    responder.reply("");
                }
                _ => responder.reply(request.into_body()),
            };
            server.serve_deferred(handler).unwrap();
        };
        Serving { name, stopper, thread: Some(thread::spawn(serve)) }
    }

    /// A client with so many calls in flight, and one to talk with the server beside it.
    async fn clients(&self, in_flight: usize) -> (ClientService, Client) {
        let limits = Limits::new().with_call(PATIENCE);
        let few = ClientOptions::new().limits(limits.clone().with_in_flight(in_flight));
        let many = ClientOptions::new().limits(limits);
        let few = Client::connect_with(self.name.as_str(), &few).await.unwrap();
        let many = Client::connect_with(self.name.as_str(), &many).await.unwrap();
        (ClientService::new(few), many)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stopper.stop();
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Runs a case in a runtime, in time.
fn run<T>(case: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, case).await.expect("it hangs") })
}

/// The reply to a call that the server holds, on another connection: it may come there later than what lets it go.
async fn let_go(client: &Client, held: JoinTask<Result<Bytes, Error>>) -> Bytes {
    while !held.is_finished() {
        client.call("let go").await.unwrap();
    }
    held.await.unwrap().unwrap()
}

/// Counts how often it is woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Woken {
    fn poll_ready(self: &Arc<Self>, service: &mut ClientService) -> Poll<Result<(), Error>> {
        service.poll_ready(&mut Context::from_waker(&self.clone().into()))
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

#[test]
fn a_client_is_a_service() {
    run(async {
        let serving = Serving::start();
        let (mut service, _) = serving.clients(4).await;
        for size in [0, 1, 300, 100_000] {
            let request = Bytes::from(vec![7; size]);
            let reply = service.ready().await.unwrap().call(request.clone()).await.unwrap();
            assert!(reply == request, "{size} bytes");
        }
        let service = service.map_response(|reply: Bytes| reply.len());
        assert_eq!(service.oneshot("four".into()).await.unwrap(), 4);
    });
}

/// A place belongs to the service that is ready. A clone has none, and takes none away.
#[test]
fn a_place_is_not_lost_on_a_clone() {
    run(async {
        let serving = Serving::start();
        let (mut one, _) = serving.clients(1).await;
        let woken = Arc::<Woken>::default();
        assert!(woken.poll_ready(&mut one).is_ready());
        assert!(woken.poll_ready(&mut one).is_ready(), "it keeps its place");
        let mut other = one.clone();
        assert!(woken.poll_ready(&mut other).is_pending());
        // The place of the ready one is no other's, also not of a plain call.
        let refused = one.client().call("no place").await.unwrap_err();
        assert!(matches!(refused, Error::TooManyCalls { .. }), "{refused}");
        assert_eq!(one.call("one".into()).await.unwrap(), "one");
        assert_eq!(woken.count(), 1);
        assert!(woken.poll_ready(&mut other).is_ready());
        assert_eq!(other.call("other".into()).await.unwrap(), "other");
    });
}

/// tower#547: who was woken and does not come keeps nothing from the others.
#[test]
fn who_is_not_ready_holds_no_place() {
    run(async {
        let serving = Serving::start();
        let (mut one, _) = serving.clients(1).await;
        let (mut forgotten, mut third) = (one.clone(), one.clone());
        let woken = [(); 3].map(|()| Arc::<Woken>::default());
        assert!(woken[0].poll_ready(&mut one).is_ready());
        assert!(woken[1].poll_ready(&mut forgotten).is_pending());
        assert!(woken[2].poll_ready(&mut third).is_pending());
        drop(one);
        assert_eq!((woken[1].count(), woken[2].count()), (1, 1));
        assert!(woken[2].poll_ready(&mut third).is_ready());
        assert!(woken[1].poll_ready(&mut forgotten).is_pending());
        assert_eq!(third.call("third".into()).await.unwrap(), "third");
        assert_eq!(woken[1].count(), 2);
        // A call that was never polled gives its place back, too.
        assert!(woken[1].poll_ready(&mut forgotten).is_ready());
        drop(forgotten.call("not polled".into()));
        assert!(woken[2].poll_ready(&mut third).is_ready());
    });
}

#[test]
fn the_number_of_places_is_exact() {
    run(async {
        let serving = Serving::start();
        for most in [1, 2, 3] {
            let (first, many) = serving.clients(most).await;
            let woken = Arc::<Woken>::default();
            let mut services: Vec<_> = (0..=most).map(|_| first.clone()).collect();
            let ready = services.iter_mut().map(|it| usize::from(woken.poll_ready(it).is_ready()));
            let ready: usize = ready.sum();
            assert_eq!(ready, most);
            let mut last = services.pop().unwrap();
            let calls: Vec<_> = services.iter_mut().map(|it| it.call("hold".into())).collect();
            let mut calls: Vec<_> = calls.into_iter().map(tokio::spawn).collect();
            assert!(woken.poll_ready(&mut last).is_pending());
            // A call that is dropped has its place until the server has confirmed that.
            calls.pop().unwrap().abort();
            last.ready().await.unwrap();
            assert_eq!(last.call("last".into()).await.unwrap(), "last");
            for call in calls {
                assert_eq!(let_go(&many, call).await, "held");
            }
        }
    });
}

#[test]
fn a_closed_connection_is_an_error_of_readiness() {
    run(async {
        let serving = Serving::start();
        let (mut service, _) = serving.clients(1).await;
        let mut waits = service.clone();
        service.ready().await.unwrap();
        let woken = Arc::<Woken>::default();
        assert!(woken.poll_ready(&mut waits).is_pending());
        service.client().close();
        for mut service in [service, waits] {
            let error = service.ready().await.unwrap_err();
            assert!(matches!(error, Error::Closed { .. }) && error.is_not_begun(), "{error}");
        }
        assert_eq!(woken.count(), 1);
    });
}

#[test]
fn timeout_limit_load_shed_and_buffer_go_around_it() {
    run(async {
        let serving = Serving::start();
        let (service, many) = serving.clients(1).await;
        let slow = Duration::from_millis(20);
        let mut timed = ServiceBuilder::new().timeout(slow).service(service.clone());
        let late = timed.ready().await.unwrap().call("hold".into()).await.unwrap_err();
        assert!(late.is::<tower::timeout::error::Elapsed>(), "{late}");
        // Its place is free once the server has confirmed the cancel.
        let mut limited = ServiceBuilder::new().concurrency_limit(1).service(service.clone());
        assert_eq!(limited.ready().await.unwrap().call("on".into()).await.unwrap(), "on");
        let mut shedding = ServiceBuilder::new().load_shed().service(service.clone());
        let mut holds = service.clone();
        let held = tokio::spawn(holds.ready().await.unwrap().call("hold".into()));
        let shed = shedding.ready().await.unwrap().call("shed?".into()).await.unwrap_err();
        assert!(shed.is::<tower::load_shed::error::Overloaded>(), "{shed}");
        assert_eq!(let_go(&many, held).await, "held");
        let buffered = ServiceBuilder::new().buffer(16).service(service);
        let calls = (0..100).map(|number: u32| {
            tokio::spawn(buffered.clone().oneshot(Bytes::from(number.to_string())))
        });
        for (number, call) in calls.collect::<Vec<_>>().into_iter().enumerate() {
            assert_eq!(call.await.unwrap().unwrap(), number.to_string());
        }
    });
}

/// Tries again what was refused.
#[derive(Clone)]
struct Again(usize);

impl tower::retry::Policy<Bytes, Bytes, Error> for Again {
    type Future = Ready<()>;

    fn retry(&mut self, _: &mut Bytes, result: &mut Result<Bytes, Error>) -> Option<Ready<()>> {
        let is_refused = result.as_ref().is_err_and(|error| error.reply().is_some());
        self.0 = self.0.checked_sub(usize::from(is_refused))?;
        is_refused.then(|| ready(()))
    }

    fn clone_request(&mut self, request: &Bytes) -> Option<Bytes> {
        Some(request.clone())
    }
}

/// A service whose clones are not ready, and which must be when it is called.
struct Probe {
    is_ready: bool,
    refuses: Arc<AtomicUsize>,
}

impl Clone for Probe {
    fn clone(&self) -> Probe {
        Probe { is_ready: false, refuses: self.refuses.clone() }
    }
}

impl Service<Request> for Probe {
    type Response = Bytes;
    type Error = BoxError;
    type Future = Ready<Result<Bytes, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if std::mem::replace(&mut self.is_ready, true) {
            return Poll::Ready(Ok(()));
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn call(&mut self, request: Request) -> Self::Future {
        assert!(std::mem::take(&mut self.is_ready), "it was called and is not ready");
        let left =
            self.refuses.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |it| it.checked_sub(1));
        ready(match left {
            Ok(_) => Err(ErrorReply::new(503, "later").with_details("1 s").into()),
            Err(_) => Ok(request.into_body()),
        })
    }
}

/// Serves it, and runs a case with a client.
fn served<S, C>(service: S, case: impl FnOnce(ClientService) -> C)
where
    S: Service<Request> + Clone + Send + 'static,
    S::Response: msgpipe::IntoReply + Send,
    S::Error: Into<BoxError> + Send,
    S::Future: Send,
    C: Future<Output = ()>,
{
    run(async {
        let name = unique_name();
        let server = Server::bind(name.as_str()).unwrap();
        let stopper = server.stopper();
        let serving = tokio::spawn(server.serve_service(Tasks::new(), service));
        let client = Client::connect(name.as_str()).await.unwrap();
        case(ClientService::new(client)).await;
        stopper.stop();
        serving.await.unwrap().unwrap();
    });
}

#[test]
fn a_service_is_served_once_it_is_ready_and_retried() {
    let refuses = Arc::new(AtomicUsize::new(0));
    let probe = Probe { is_ready: false, refuses: refuses.clone() };
    served(probe, |client| async move {
        assert_eq!(client.clone().oneshot("hello".into()).await.unwrap(), "hello");
        for (refused, tries) in [(1, 0), (2, 1), (2, 2), (2, 3)] {
            refuses.store(refused, Ordering::SeqCst);
            let retries = ServiceBuilder::new().retry(Again(tries)).service(client.clone());
            match retries.oneshot("again".into()).await {
                Ok(reply) => assert!(tries >= refused && reply == "again"),
                Err(error) => {
                    let reply = error.reply().unwrap();
                    assert!(tries < refused && reply.code == 503, "{error}");
                    assert_eq!(reply.details, "1 s");
                }
            }
        }
    });
}

#[test]
fn other_errors_of_a_service_are_texts() {
    let busy = Arc::new(Mutex::new(()));
    let service = service_fn(move |request: Request| {
        let busy = busy.clone();
        async move {
            if request.body() == "wait" {
                std::future::pending::<()>().await;
            }
            drop(busy.lock());
            Ok::<_, ErrorReply>(request.into_body())
        }
    });
    let service = ServiceBuilder::new().timeout(Duration::from_millis(20)).service(service);
    served(service, |client| async move {
        let error = pin!(client.clone().oneshot("wait".into())).await.unwrap_err();
        let reply = error.reply().unwrap();
        assert_eq!((reply.code, reply.text.as_str()), (ErrorReply::FAILED, "request timed out"));
        assert_eq!(client.oneshot("at once".into()).await.unwrap(), "at once");
    });
}
