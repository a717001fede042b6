//! Connecting: no server, a busy one, one that is not to be used, and a server that is started.

use super::common::{Serving, limits, on_each, one_thread, options, unique_name};
use msgpipe::tokio::Client;
use msgpipe::{ClientOptions, Error, Limits};
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

#[test]
fn without_a_server_connecting_fails_at_once() {
    on_each(|| async {
        let error = Client::connect(unique_name().as_str()).await.unwrap_err();
        assert!(matches!(error, Error::NoServer { .. }) && error.is_not_begun(), "{error}");
        let error = Client::connect("no such/name").await.unwrap_err();
        assert!(matches!(error, Error::Name(_)), "{error}");
    });
}

#[test]
fn connecting_needs_a_runtime() {
    let name = unique_name();
    let mut connect = pin!(Client::connect(name.as_str()));
    let polled = connect.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    let std::task::Poll::Ready(Err(error)) = polled else { panic!() };
    assert!(matches!(error, Error::Misuse { .. }), "{error}");
}

/// Not there, there, gone, and back: each time a client says so at once, and the next one connects.
#[test]
fn a_server_that_comes_back_is_found_by_the_next_client() {
    on_each(|| async {
        let name = unique_name();
        let connect = || Client::connect(name.as_str());
        assert!(matches!(connect().await, Err(Error::NoServer { .. })));
        for _ in 0..3 {
            let serving = Serving::at(&name);
            let client = connect().await.unwrap();
            assert_eq!(client.call("hello").await.unwrap(), "hello");
            drop(serving);
            let error = client.call("again").await.unwrap_err();
            assert!(error.is_not_begun() || matches!(error, Error::Closed { .. }), "{error}");
            assert!(matches!(connect().await, Err(Error::NoServer { .. })));
        }
    });
}

/// Dropped wherever it waits, connecting leaves neither a connection nor a lock: the next one gets through.
#[test]
fn connecting_that_is_dropped_leaves_nothing() {
    on_each(|| async {
        let name = unique_name();
        let (serves, server) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(None)));
        let (may, here, at) = (serves.clone(), server.clone(), name.clone());
        let options = options().start_with(msgpipe::Start::hook(move || {
            if may.load(Ordering::SeqCst) {
                *here.lock().unwrap() = Some(Serving::at(&at));
            }
            Ok(())
        }));
        // Each waits for a server that its hook has not started.
        for _ in 0..20 {
            let connecting = Client::connect_with(name.as_str(), &options);
            let waited = tokio::time::timeout(Duration::from_millis(5), connecting).await;
            assert!(waited.is_err());
        }
        serves.store(true, Ordering::SeqCst);
        let client = Client::connect_with(name.as_str(), &options).await.unwrap();
        assert_eq!(client.call("hello").await.unwrap(), "hello");
        drop(client);
        drop(server.lock().unwrap().take());
    });
}

/// A server that is bound and does not serve yet.
#[test]
fn a_server_that_serves_later_is_waited_for() {
    on_each(|| async {
        let serving = Serving::start();
        let clients: Vec<_> = {
            let mut clients = Vec::new();
            for _ in 0..20 {
                clients.push(serving.client().await);
            }
            clients
        };
        for client in &clients {
            assert_eq!(client.call("hello").await.unwrap(), "hello");
        }
    });
}

#[test]
fn a_connection_over_the_servers_limit_is_told_that_it_is_busy() {
    on_each(|| async {
        let mut limits = Limits::new();
        limits.connections = 1;
        limits.connections_reserved = 0;
        let serving = Serving::with(msgpipe::ServerOptions::new().limits(limits));
        let first = serving.client().await;
        assert_eq!(first.call("in").await.unwrap(), "in");
        let options = ClientOptions::new()
            .limits(super::common::limits().with_connect(Duration::from_millis(100)));
        let error = match Client::connect_with(serving.name.as_str(), &options).await {
            Ok(client) => client.call("out").await.unwrap_err(),
            Err(error) => error,
        };
        assert!(matches!(error, Error::Busy { .. }) && error.is_not_begun(), "{error}");
        assert_eq!(first.call("still in").await.unwrap(), "still in");
    });
}

/// Every future of a task that others spawn can be sent to another thread.
#[test]
fn futures_can_go_to_other_threads() {
    fn sent<T: Send>(value: T) -> T {
        value
    }
    one_thread().block_on(async {
        let serving = Serving::start();
        let options = options();
        let connected = sent(Client::connect_with_driver(serving.name.as_str(), &options)).await;
        let (client, driver) = connected.unwrap();
        tokio::spawn(driver);
        assert_eq!(sent(client.call("hello")).await.unwrap(), "hello");
        sent(client.notify("hello")).await.unwrap();
        let mut parts = sent(client.stream("hello")).await.unwrap();
        sent(parts.next()).await.unwrap().unwrap();
        let mut upload = client.upload().unwrap();
        sent(upload.send("hello")).await.unwrap();
    });
}

#[test]
fn a_server_is_started_if_none_is_there() {
    on_each(|| async {
        let name = unique_name();
        let started = std::sync::Arc::new(std::sync::Mutex::new(None));
        let (here, at) = (started.clone(), name.clone());
        let start = msgpipe::Start::hook(move || {
            *here.lock().unwrap() = Some(Serving::at(&at));
            Ok(())
        });
        let options = options().start_with(start);
        let client = Client::connect_with(name.as_str(), &options).await.unwrap();
        assert_eq!(client.call("hello").await.unwrap(), "hello");
        drop(client);
        assert!(started.lock().unwrap().take().is_some());
        // One that does not come.
        let limits = limits().with_start(Duration::from_millis(200));
        let options =
            ClientOptions::new().limits(limits).start_with(msgpipe::Start::hook(|| Ok(())));
        let began = Instant::now();
        let error = Client::connect_with(unique_name().as_str(), &options).await.unwrap_err();
        assert!(matches!(error, Error::NotStarted { .. }), "{error}");
        assert!(began.elapsed() >= Duration::from_millis(200));
    });
}

#[cfg(windows)]
mod pipes {
    use super::*;
    use msgpipe::{Instances, ServerOptions};

    #[test]
    fn a_busy_pipe_is_waited_for() {
        on_each(|| async {
            let serving = Serving::with(ServerOptions::new().instances(Instances::Fixed(1)));
            let first = serving.client().await;
            assert_eq!(first.call("in").await.unwrap(), "in");
            let limits = limits().with_connect(Duration::from_millis(100));
            let short = ClientOptions::new().limits(limits);
            let began = Instant::now();
            let error = Client::connect_with(serving.name.as_str(), &short).await.unwrap_err();
            assert!(matches!(error, Error::Busy { .. }) && error.is_not_begun(), "{error}");
            assert!(began.elapsed() >= Duration::from_millis(100), "{error}");
            // It is reached once the first has gone.
            let name = serving.name.clone();
            let waiting = tokio::spawn(async move {
                let client = Client::connect_with(name.as_str(), &options()).await.unwrap();
                client.call("in too").await.unwrap()
            });
            tokio::task::yield_now().await;
            drop(first);
            assert_eq!(waiting.await.unwrap(), "in too");
        });
    }
}

#[cfg(unix)]
mod sockets {
    use super::*;
    use msgpipe::Endpoint;
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::path::PathBuf;

    fn path() -> PathBuf {
        std::env::temp_dir().join(unique_name())
    }

    #[test]
    fn what_is_no_socket_is_insecure() {
        on_each(|| async {
            let path = path();
            std::fs::write(&path, "").unwrap();
            let error = Client::connect(&Endpoint::path(&path).unwrap()).await.unwrap_err();
            std::fs::remove_file(&path).unwrap();
            assert!(matches!(error, Error::Insecure { .. }), "{error}");
        });
    }

    /// The backlog is full: it is waited for, and a place in it is taken.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_backlog_is_waited_for() {
        on_each(|| async {
            let path = path();
            let listener = UnixListener::bind(&path).unwrap();
            rustix::net::listen(&listener, 0).unwrap();
            let first = UnixStream::connect(&path).unwrap();
            let limits = limits().with_connect(Duration::from_millis(100));
            let short = ClientOptions::new().limits(limits);
            let endpoint = Endpoint::path(&path).unwrap();
            let began = Instant::now();
            let error = Client::connect_with(&endpoint, &short).await.unwrap_err();
            assert!(matches!(error, Error::Busy { .. }) && error.is_not_begun(), "{error}");
            assert!(began.elapsed() >= Duration::from_millis(100), "{error}");
            let connecting =
                tokio::spawn(
                    async move { Client::connect_with(&endpoint, &options()).await.map(drop) },
                );
            tokio::task::yield_now().await;
            drop((listener.accept().unwrap(), first));
            connecting.await.unwrap().unwrap();
            std::fs::remove_file(&path).unwrap();
        });
    }
}
