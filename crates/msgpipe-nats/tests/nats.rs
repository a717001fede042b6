//! Calls through a real nats-server: what is mapped, what is refused, and how the engine's faults look to a caller.
#![forbid(unsafe_code)]

use msgpipe::{ErrorReply, Metadata, Responder, Server, Stopper};
use msgpipe_nats::{Error, Gateway, GatewayOptions, NOT_BEGUN, NatsClient, UNKNOWN};
use nats_test_server::NatsServer;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

const PATIENCE: Duration = Duration::from_secs(60);
const SERVICE: &str = "notes";

/// Each test in a runtime of its own, with a time that none needs.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("in time") });
}

fn unique_name() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("msgpipe.test.nats.{}.{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A server of msgpipe, on a thread.
struct Local {
    name: String,
    stopper: Stopper,
    thread: Option<JoinHandle<()>>,
    /// The requests that are held.
    held: UnboundedReceiver<Responder>,
}

impl Local {
    fn start() -> Local {
        let name = unique_name();
        let server = Server::bind(&*name).unwrap();
        let stopper = server.stopper();
        let (hold, held) = unbounded_channel();
        let thread = thread::spawn(move || {
            let handler = move |request: msgpipe::Request, responder: Responder| match (
                request.method(),
                &request.body()[..],
            ) {
                (7, _) => responder.reply(request.metadata().get(b"key").unwrap_or_default()),
                (_, b"fail") => {
                    let error = ErrorReply::new(404, "no\r\nsuch nöte");
                    responder.reply(Err::<(), _>(error.with_details(vec![0, 255])));
                }
                (_, b"held") => drop(hold.send(responder)),
                (_, b"large") => responder.reply(vec![7; 5000]),
                (_, b"parts") => responder.into_parts().finish(),
                _ => responder.reply(request.into_body()),
            };
            server.serve_deferred(handler).unwrap();
        });
        Local { name, stopper, thread: Some(thread), held }
    }

    async fn gateway(&self, engine: &NatsServer, options: GatewayOptions) -> Gateway {
        let server = msgpipe::tokio::Client::connect(&*self.name).await.unwrap();
        Gateway::start(&engine.url(), SERVICE, server, options).await.unwrap()
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.stopper.stop();
        self.held.close();
        while self.held.try_recv().is_ok() {}
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

async fn client(engine: &NatsServer) -> NatsClient {
    NatsClient::connect(&engine.url(), SERVICE).await.unwrap().with_timeout(PATIENCE)
}

#[test]
fn a_call_has_its_method_metadata_and_errors() {
    run(async {
        let (engine, local) = (NatsServer::start(), Local::start());
        let _gateway = local.gateway(&engine, GatewayOptions::new()).await;
        let client = client(&engine).await;
        assert_eq!(client.call("hello").await.unwrap(), "hello");
        assert_eq!(client.call("").await.unwrap(), "");
        let all: Vec<u8> = (0..=255).collect();
        let metadata = Metadata::default().with(b"key", &all).unwrap();
        let with = client.with_method(7).with_metadata(metadata);
        assert_eq!(with.call("x").await.unwrap(), all);

        let error = client.call("fail").await.unwrap_err();
        let expected = ErrorReply::new(404, "no\r\nsuch nöte").with_details(vec![0, 255]);
        assert_eq!(error.reply(), Some(&expected));
        assert!(!error.is_not_begun());
        // A reply in parts is to a call what it is without an engine.
        let direct = msgpipe::tokio::Client::connect(&*local.name).await.unwrap();
        let direct = direct.call("parts").await.unwrap();
        assert_eq!(client.call("parts").await.unwrap(), direct);
    });
}

#[test]
fn a_deadline_ends_the_call_here_and_at_the_instance() {
    run(async {
        let (engine, mut local) = (NatsServer::start(), Local::start());
        let _gateway = local.gateway(&engine, GatewayOptions::new()).await;
        let client = client(&engine).await;
        let began = Instant::now();
        let error = client.with_timeout(Duration::from_millis(300)).call("held").await.unwrap_err();
        assert!(began.elapsed() >= Duration::from_millis(300));
        let cancelled = local.held.recv().await.unwrap();
        // Either end may be the first to notice.
        assert!(matches!(error, Error::Late { .. } | Error::Answered { .. }), "{error}");
        assert!(!error.is_not_begun());
        while !cancelled.is_cancelled() {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn the_engines_limit_of_a_message_is_an_error_that_names_it() {
    run(async {
        let (engine, local) = (NatsServer::with_max_payload(4096), Local::start());
        let _gateway = local.gateway(&engine, GatewayOptions::new()).await;
        let client = client(&engine).await;
        // The headers are in the engine's limit, too: the first that does not fit is found by trying.
        let body = |size| vec![7; size];
        let mut fits = 0;
        let mut error = None;
        for size in 3900..=4097 {
            match client.call(body(size)).await {
                Ok(reply) => fits = reply.len().max(fits),
                Err(why) => error = error.or(Some((size, why))),
            }
        }
        let (size, error) = error.unwrap();
        assert_eq!(size, fits + 1, "all below the limit, none above it");
        assert!(matches!(error, Error::TooLarge { limit: 4096, .. }), "{error}");
        assert!(error.is_not_begun() && error.to_string().contains("4096"), "{error}");

        let error = client.call("large").await.unwrap_err();
        assert_eq!(error.reply().unwrap().code, ErrorReply::REPLY_TOO_LARGE, "{error}");
        assert!(!error.is_not_begun());
        assert_eq!(client.call("after").await.unwrap(), "after");
    });
}

#[test]
fn a_busy_instance_says_so_at_once() {
    run(async {
        let (engine, mut local) = (NatsServer::start(), Local::start());
        let _gateway = local.gateway(&engine, GatewayOptions::new().at_once(2)).await;
        let client = client(&engine).await;
        let calls = [0, 1].map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.call("held").await })
        });
        let held = [local.held.recv().await.unwrap(), local.held.recv().await.unwrap()];
        let error = client.call("third").await.unwrap_err();
        assert_eq!(error.reply().unwrap().code, ErrorReply::BUSY);
        assert!(error.is_not_begun(), "{error}");
        held.into_iter().for_each(|responder| responder.reply("done"));
        for call in calls {
            assert_eq!(call.await.unwrap().unwrap(), "done");
        }
        // The place is free once the answer was given to the engine, a moment later.
        while client.call("third").await.is_err() {}
    });
}

#[test]
fn without_an_instance_or_an_engine_nothing_is_begun() {
    run(async {
        let (mut engine, local) = (NatsServer::start(), Local::start());
        let client = client(&engine).await;
        let error = client.call("hello").await.unwrap_err();
        assert!(matches!(error, Error::NoInstance { .. }) && error.is_not_begun(), "{error}");

        // An instance whose server has gone leaves: it would answer each request with an error.
        let gateway = local.gateway(&engine, GatewayOptions::new()).await;
        client.call("hello").await.unwrap();
        drop(local);
        // One that is on its way when the instance leaves may get no answer.
        let brief = client.with_timeout(Duration::from_millis(200));
        while !matches!(brief.call("hello").await, Err(Error::NoInstance { .. })) {}
        gateway.ended().await;

        engine.kill();
        let error = NatsClient::connect(&engine.url(), SERVICE).await.unwrap_err();
        assert!(matches!(error, Error::NoEngine { .. }) && error.is_not_begun(), "{error}");
    });
}

#[test]
fn an_engine_that_goes_and_comes_back_loses_only_calls_that_wait() {
    run(async {
        let (mut engine, mut local) = (NatsServer::start(), Local::start());
        let _gateway = local.gateway(&engine, GatewayOptions::new()).await;
        let client = client(&engine).await;
        let waiting = tokio::spawn({
            let client = client.clone();
            async move { client.call("held").await }
        });
        let held = local.held.recv().await.unwrap();
        engine.kill();
        let error = waiting.await.unwrap().unwrap_err();
        assert!(matches!(error, Error::Lost { .. }) && !error.is_not_begun(), "{error}");
        held.reply("nobody waits");
        let error = loop {
            match client.call("hello").await.unwrap_err() {
                Error::Lost { .. } => tokio::task::yield_now().await, // it has not noticed yet
                error => break error,
            }
        };
        assert!(matches!(error, Error::Away { .. }) && error.is_not_begun(), "{error}");

        engine.restart();
        loop {
            match client.call("hello").await {
                Ok(reply) => break assert_eq!(reply, "hello"),
                Err(Error::Away { .. } | Error::NoInstance { .. }) => {
                    tokio::task::yield_now().await
                }
                Err(error) => panic!("{error}"),
            }
        }
    });
}

#[test]
fn tools_of_nats_see_the_instances_and_their_statistics() {
    run(async {
        let (engine, local) = (NatsServer::start(), Local::start());
        let options = || GatewayOptions::new().version("1.2.3");
        let first = local.gateway(&engine, options()).await;
        let second = local.gateway(&engine, options()).await;
        let client = client(&engine).await;
        for _ in 0..20 {
            client.call("hello").await.unwrap();
        }
        client.call("fail").await.unwrap_err();

        let tool = msgpipe_nats::async_nats::connect(engine.url()).await.unwrap();
        let (mut requests, mut errors) = (0, 0);
        for id in [first.id(), second.id()] {
            let subject = format!("$SRV.STATS.{SERVICE}.{id}");
            // An answer is counted after it was sent.
            let stats: serde_json::Value = loop {
                let reply = tool.request(subject.clone(), "".into()).await.unwrap();
                let stats: serde_json::Value = serde_json::from_slice(&reply.payload).unwrap();
                let total = stats["endpoints"][0]["num_requests"].as_u64().unwrap();
                if total > 0 {
                    break stats;
                }
            };
            assert_eq!((&stats["name"], &stats["version"]), (&SERVICE.into(), &"1.2.3".into()));
            requests += stats["endpoints"][0]["num_requests"].as_u64().unwrap();
            errors += stats["endpoints"][0]["num_errors"].as_u64().unwrap();
        }
        assert!((20..=21).contains(&requests), "{requests}: each went to one of them");
        assert_eq!(errors, 1);

        first.stop().await;
        second.stop().await;
        let error = client.call("hello").await.unwrap_err();
        assert!(matches!(error, Error::NoInstance { .. }), "{error}");
    });
}

#[test]
fn a_bridge_passes_calls_on_and_says_what_was_not_begun() {
    run(async {
        let (mut engine, local) = (NatsServer::start(), Local::start());
        let nats = client(&engine).await;
        let name = unique_name();
        let bridge = Server::bind(&*name).unwrap();
        let stopper = bridge.stopper();
        let serving = tokio::task::spawn_blocking(move || {
            let handle = tokio::runtime::Handle::current();
            handle.block_on(bridge.serve_tasks(msgpipe::tokio::Tasks::new(), move |request| {
                let nats = nats.clone();
                async move { nats.forward(request).await }
            }))
        });
        let client = msgpipe::tokio::Client::connect(&*name).await.unwrap().with_timeout(PATIENCE);
        let code = |error: msgpipe::Error| error.reply().unwrap().code;
        assert_eq!(code(client.call("hello").await.unwrap_err()), NOT_BEGUN);

        let mut local = local;
        let _gateway = local.gateway(&engine, GatewayOptions::new()).await;
        assert_eq!(client.call("hello").await.unwrap(), "hello");
        let metadata = Metadata::default().with(b"key", b"value").unwrap();
        let with = client.with_method(7).with_metadata(metadata);
        assert_eq!(with.call("").await.unwrap(), "value");
        let error = client.call("fail").await.unwrap_err();
        assert_eq!(error.reply().unwrap().details[..], [0, 255]);
        let mut upload = client.upload().unwrap();
        for part in ["one", "two"] {
            let _ = upload.send(part).await; // it may be refused by now
        }
        let refused = upload.finish().unwrap().await.unwrap_err();
        assert_eq!(code(refused), ErrorReply::PARTS_REFUSED);

        let waiting = tokio::spawn(async move { client.call("held").await });
        let _held = local.held.recv().await.unwrap();
        engine.kill();
        assert_eq!(code(waiting.await.unwrap().unwrap_err()), UNKNOWN);
        stopper.stop();
        serving.await.unwrap().unwrap();
    });
}
