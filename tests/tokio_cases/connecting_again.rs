//! A client that connects again: calls that are dropped in the middle, servers that are started, and several runtimes.

use super::common::{
    HOLD, PATIENCE, Seen, Serving, limits, on_each, one_thread, options, two_threads, unique_name,
    within,
};
use super::reconnecting::{Echo, client, eager};
use msgpipe::tokio::ReconnectingClient;
use msgpipe::{ClientOptions, Error, Progress, Start, StartError};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Polls a future once; it is not done.
async fn begin<F: Future>(future: std::pin::Pin<&mut F>) {
    let mut future = Some(future);
    poll_fn(|context| {
        let polled = future.take().map(|future| future.poll(context).is_pending());
        assert_ne!(polled, Some(false), "it is done already");
        Poll::Ready(())
    })
    .await;
}

/// The first call has the connection made, is dropped or not polled again, and the others get it.
#[test]
fn a_call_that_is_dropped_or_forgotten_stops_no_other() {
    on_each(|| async {
        for forgets in [false, true] {
            let name = unique_name();
            let client = client(&name);
            let mut first = Box::pin(client.call("first"));
            begin(first.as_mut()).await;
            let mut waiting = tokio::task::JoinSet::new();
            for number in 0..20 {
                let client = client.clone();
                waiting.spawn(async move { client.call(number.to_string()).await.unwrap() });
            }
            tokio::task::yield_now().await;
            let mut kept = Some(first).filter(|_| forgets);
            let echo = Echo::start(&name);
            while let Some(ended) = within(waiting.join_next()).await {
                ended.unwrap();
            }
            assert_eq!(echo.connections(), 1);
            if let Some(first) = kept.take() {
                assert_eq!(first.await.unwrap(), "first");
            }
        }
    });
}

/// Dropped wherever it waits, by one call after another: the next one gets through.
#[test]
fn connecting_that_is_dropped_again_and_again_leaves_nothing() {
    on_each(|| async {
        let name = unique_name();
        let client = client(&name);
        for micros in 0..200 {
            let calling = client.call("dropped");
            let waited = tokio::time::timeout(Duration::from_micros(10 * micros), calling).await;
            assert!(waited.is_err());
        }
        let echo = Echo::start(&name);
        for micros in 0..100 {
            let calling = client.call("dropped");
            drop(tokio::time::timeout(Duration::from_micros(micros), calling).await);
        }
        assert_eq!(client.call("hello").await.unwrap(), "hello");
        assert!(echo.connections() >= 1);
    });
}

/// A hook that waits for a task of the same runtime; meanwhile its call is dropped, and another comes.
#[test]
fn a_hook_blocks_no_runtime_and_runs_once() {
    on_each(|| async {
        let name = unique_name();
        let (go, waits) = mpsc::channel::<()>();
        let (began, mut begun) = tokio::sync::mpsc::unbounded_channel();
        let (waits, server, at) = (Mutex::new(waits), Arc::new(Mutex::new(None)), name.clone());
        let here = server.clone();
        let start = Start::hook(move || {
            began.send(()).unwrap();
            waits.lock().unwrap().recv_timeout(PATIENCE).unwrap();
            *here.lock().unwrap() = Some(Echo::start(&at));
            Ok(())
        });
        let options = options().start_with(start);
        let client = ReconnectingClient::new(name.as_str(), &options, eager()).unwrap();
        tokio::select! {
            reply = client.call("dropped") => panic!("{reply:?}"),
            began = within(begun.recv()) => began.unwrap(),
        }
        let second = tokio::spawn({
            let client = client.clone();
            async move { client.call("second").await }
        });
        tokio::task::yield_now().await;
        go.send(()).unwrap();
        assert_eq!(within(second).await.unwrap().unwrap(), "second");
        assert!(begun.try_recv().is_err(), "it was called once");
        let echo = server.lock().unwrap().take().unwrap();
        assert_eq!(echo.connections(), 1);
        drop(client);
        tokio::task::spawn_blocking(move || drop(echo)).await.unwrap();
    });
}

/// The time of the calls ends while the server is being started: the start goes on, and the next call uses it.
#[test]
fn a_start_goes_on_after_the_time_of_its_call() {
    on_each(|| async {
        let name = unique_name();
        let (runs, server) = (Arc::new(AtomicU32::new(0)), Arc::new(Mutex::new(None::<Echo>)));
        let counted = runs.clone();
        let start = Start::hook(move || {
            counted.fetch_add(1, Ordering::SeqCst);
            Ok(())
        });
        let options = options().start_with(start);
        let client = ReconnectingClient::new(name.as_str(), &options, eager()).unwrap();
        while runs.load(Ordering::SeqCst) == 0 {
            let error = client.with_timeout(Duration::from_millis(30)).call("").await.unwrap_err();
            assert!(error.is_not_begun(), "{error}");
        }
        for _ in 0..3 {
            drop(client.with_timeout(Duration::from_millis(10)).call("").await.unwrap_err());
        }
        *server.lock().unwrap() = Some(Echo::start(&name));
        assert_eq!(client.call("hello").await.unwrap(), "hello");
        assert_eq!(runs.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn what_another_try_does_not_mend_is_returned_at_once() {
    on_each(|| async {
        let calls = Arc::new(AtomicU32::new(0));
        let counted = calls.clone();
        let start = Start::hook(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            Err(std::io::Error::other("no"))
        });
        let options = options().start_with(start);
        let client = ReconnectingClient::new(unique_name().as_str(), &options, eager()).unwrap();
        let error = client.call("").await.unwrap_err();
        assert!(matches!(error, Error::NotStarted { .. }), "{error}");
        assert_eq!(calls.load(Ordering::Relaxed), 1);
        // Each of several ends in that way.
        let (one, two) = tokio::join!(client.call(""), client.call(""));
        assert!(matches!(one, Err(Error::NotStarted { .. })), "{one:?}");
        assert!(matches!(two, Err(Error::NotStarted { .. })), "{two:?}");
    });
}

/// The right to connect is given back by a panic.
#[test]
fn a_hook_that_panics_holds_up_no_other_call() {
    on_each(|| async {
        let name = unique_name();
        let (calls, at) = (AtomicU32::new(0), name.clone());
        let server = Arc::new(Mutex::new(None));
        let here = server.clone();
        let start = Start::hook(move || match calls.fetch_add(1, Ordering::Relaxed) {
            0 => panic!("of the test"),
            _ => {
                *here.lock().unwrap() = Some(Echo::start(&at));
                Ok(())
            }
        });
        let options = options().start_with(start);
        let client = ReconnectingClient::new(name.as_str(), &options, eager()).unwrap();
        let (one, two) = tokio::join!(client.call("one"), client.call("two"));
        let error = one.unwrap_err();
        let is_hook = matches!(&error, Error::NotStarted { problem: StartError::Hook { .. }, .. });
        assert!(is_hook && error.to_string().contains("panicked"), "{error}");
        assert_eq!(two.unwrap(), "two");
        drop(client);
        let echo = server.lock().unwrap().take();
        tokio::task::spawn_blocking(move || drop(echo)).await.unwrap();
    });
}

#[test]
fn a_call_needs_a_runtime() {
    let client = client(&unique_name());
    let mut call = pin!(client.call(""));
    let polled = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    let Poll::Ready(Err(error)) = polled else { panic!() };
    assert!(matches!(error, Error::Misuse { .. }), "{error}");
    // Begun in one and gone on with outside.
    let mut call = pin!(client.call(""));
    one_thread().block_on(begin(call.as_mut()));
    let polled = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(polled, Poll::Ready(Err(Error::Misuse { .. })) | Poll::Pending));
}

#[test]
fn futures_can_go_to_other_threads() {
    fn sent<T: Send>(value: T) -> T {
        value
    }
    one_thread().block_on(async {
        let serving = Serving::start();
        let client = client(&serving.name);
        assert_eq!(sent(client.call("hello")).await.unwrap(), "hello");
        sent(client.client()).await.unwrap();
        let mut parts = sent(client.subscribe("hello")).await.unwrap();
        sent(sent(&mut parts).next()).await.unwrap().unwrap();
    });
}

/// The runtime with the connection ends with calls of another one open: what may have been begun ends, what is
/// idempotent goes on in its own runtime.
#[test]
fn a_runtime_that_ends_takes_the_connection_and_no_call_of_another() {
    for drives in [one_thread(), two_threads()] {
        let serving = Serving::start();
        let client = client(&serving.name);
        drives.block_on(async { client.call("works").await.unwrap() });
        // A call needs it to be driven, by a thread of its own for the one without threads.
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let driving = std::thread::spawn(move || {
            drives.block_on(async { drop(ended.await) });
            drop(drives);
        });
        two_threads().block_on(within(async {
            let held = client.with_method(HOLD);
            let once = tokio::spawn(async move { held.call("once").await });
            assert_eq!(serving.next().await, Seen::Begun);
            let held = client.with_method(HOLD).idempotent();
            let again = tokio::spawn(async move { held.call("again").await });
            assert_eq!(serving.next().await, Seen::Begun);
            end.send(()).unwrap();
            let error = once.await.unwrap().unwrap_err();
            assert!(matches!(&error, Error::Closed { progress: Progress::Unknown, .. }), "{error}");
            // Both are told of, in any order, with the new begin.
            let mut begun = 0;
            while begun < 1 {
                begun += u32::from(serving.next().await == Seen::Begun);
            }
            assert_eq!(client.call("here").await.unwrap(), "here");
            again.abort();
        }));
        driving.join().unwrap();
    }
}

/// A runtime ends while its task makes the connection: that of another call does it.
#[test]
fn a_runtime_that_ends_while_it_connects_leaves_that_to_others() {
    for drives in [one_thread(), two_threads()] {
        let name = unique_name();
        let hour = Duration::from_secs(3600);
        let options = ClientOptions::new()
            .limits(limits().with_start(hour))
            .start_with(Start::hook(|| Ok(())));
        let client = ReconnectingClient::new(name.as_str(), &options, eager()).unwrap();
        let mut first = Box::pin(client.call("first"));
        drives.block_on(async {
            begin(first.as_mut()).await;
            drop(tokio::time::timeout(Duration::from_millis(20), first.as_mut()).await);
        });
        let waiting = std::thread::spawn({
            let client = client.clone();
            move || two_threads().block_on(within(client.call("second")))
        });
        drop(drives);
        let _echo = Echo::start(&name);
        assert_eq!(waiting.join().unwrap().unwrap(), "second");
        assert_eq!(one_thread().block_on(within(first)).unwrap(), "first");
    }
}

/// A runtime that is kept and not driven: a call of another one ends soon after its time, and the next one connects.
#[test]
fn a_runtime_that_is_not_driven_holds_up_others_no_longer_than_their_time() {
    let serving = Serving::start();
    let client = client(&serving.name);
    let kept = one_thread();
    kept.block_on(async { client.call("works").await.unwrap() });
    one_thread().block_on(within(async {
        let error = client.with_timeout(Duration::from_millis(20)).call("late").await.unwrap_err();
        assert!(matches!(error, Error::Deadline { .. }) && !error.is_not_begun(), "{error}");
        assert_eq!(client.call("here").await.unwrap(), "here");
    }));
    // The same while it connects.
    let name = unique_name();
    let none = limits().with_start(Duration::ZERO).with_connect(Duration::ZERO);
    let options = ClientOptions::new().limits(none);
    let client = ReconnectingClient::new(name.as_str(), &options, eager()).unwrap();
    let mut first = Box::pin(client.call("first"));
    kept.block_on(begin(first.as_mut()));
    let _echo = Echo::start(&name);
    one_thread().block_on(within(async {
        assert_eq!(client.call("here").await.unwrap(), "here");
    }));
}
