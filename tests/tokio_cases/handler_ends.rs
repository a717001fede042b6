//! Async handlers whose calls are over, or whose server ends.

use super::common::{PATIENCE, limits, on_each, within};
use super::places::{Place, blocking, handler_cases};
use msgpipe::tokio::Tasks;
use msgpipe::{Error, ErrorReply, Request};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};

handler_cases!(
    who_is_cancelled_runs_on_or_is_dropped,
    a_stop_waits_for_handlers_and_drops_those_that_are_late,
    a_dropped_server_closes_its_connections,
    a_sender_of_parts_learns_that_nobody_takes_them,
);

/// Counts when it is dropped.
struct Counts(Arc<AtomicUsize>, Arc<Notify>);

impl Drop for Counts {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
        self.1.notify_one();
    }
}

fn who_is_cancelled_runs_on_or_is_dropped<P: Place>() {
    for drops in [false, true] {
        on_each(|| async move {
            let place = P::new();
            let (dropped, changed) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
            let (gate, begun) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
            let server = place.server(limits());
            let stopper = server.stopper();
            let tasks = if drops { Tasks::new().drop_cancelled() } else { Tasks::new() };
            let shared = (dropped.clone(), changed.clone(), gate.clone(), begun.clone());
            let serving = tokio::spawn(server.serve_tasks(tasks, move |request: Request| {
                let (dropped, changed, gate, begun) = shared.clone();
                async move {
                    let _counts = Counts(dropped, changed);
                    begun.notify_one();
                    gate.notified().await;
                    assert!(request.is_cancelled());
                }
            }));
            let calling = place.clone();
            let client = blocking(move || calling.client()).await;
            let call = client.start("").unwrap();
            within(begun.notified()).await;
            drop(call);
            if !drops {
                // The client's cancel comes before its next call.
                let asking = client.clone();
                let _ =
                    blocking(move || asking.with_timeout(Duration::from_millis(20)).call("")).await;
                assert_eq!(dropped.load(Ordering::SeqCst), 0);
                gate.notify_one();
                gate.notify_one();
            }
            within(changed.notified()).await;
            assert!(dropped.load(Ordering::SeqCst) > 0);
            gate.notify_waiters();
            drop(client);
            stopper.stop();
            within(serving).await.unwrap().unwrap();
        });
    }
}

fn a_stop_waits_for_handlers_and_drops_those_that_are_late<P: Place>() {
    for late in [false, true] {
        on_each(|| async move {
            let place = P::new();
            let drain = if late { Duration::from_millis(50) } else { PATIENCE };
            let server = place.server(limits().with_drain(drain));
            let stopper = server.stopper();
            let (gate, begun) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
            let (dropped, changed) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
            let shared = (gate.clone(), begun.clone(), dropped.clone(), changed);
            let serving = tokio::spawn(server.serve_tasks(Tasks::new(), move |_| {
                let (gate, begun, dropped, changed) = shared.clone();
                async move {
                    let _counts = Counts(dropped, changed);
                    begun.notify_one();
                    gate.notified().await;
                    "held"
                }
            }));
            let calling = place.clone();
            let call = tokio::task::spawn_blocking(move || calling.client().call(""));
            within(begun.notified()).await;
            stopper.stop();
            if !late {
                gate.notify_one();
            }
            within(serving).await.unwrap().unwrap();
            assert_eq!(dropped.load(Ordering::SeqCst), 1);
            match within(call).await.unwrap() {
                Ok(reply) => assert!(!late && reply == "held"),
                Err(error) => assert!(late && matches!(error, Error::Closed { .. }), "{error}"),
            }
        });
    }
}

fn a_dropped_server_closes_its_connections<P: Place>() {
    on_each(|| async {
        let place = P::new();
        let begun = Arc::new(Notify::new());
        let (server, begins) =
            (place.server(limits().with_drain(Duration::from_millis(50))), begun.clone());
        let serving = tokio::spawn(server.serve_tasks(Tasks::new(), move |_| {
            let begun = begins.clone();
            async move {
                begun.notify_one();
                std::future::pending::<()>().await;
            }
        }));
        let calling = place.clone();
        let call = tokio::task::spawn_blocking(move || calling.client().call(""));
        within(begun.notified()).await;
        serving.abort();
        assert!(serving.await.unwrap_err().is_cancelled());
        let error = within(call).await.unwrap().unwrap_err();
        let is_unanswered = error.reply().is_some_and(|reply| reply.code == ErrorReply::UNANSWERED);
        assert!(is_unanswered || matches!(error, Error::Closed { .. }), "{error}");
    });
}

fn a_sender_of_parts_learns_that_nobody_takes_them<P: Place>() {
    on_each(|| async {
        let place = P::new();
        let server = place.server(limits());
        let (stopper, (tell, mut told)) = (server.stopper(), mpsc::unbounded_channel());
        let serving =
            tokio::spawn(server.serve_tasks_deferred(Tasks::new(), move |_, responder| {
                let tell = tell.clone();
                async move {
                    let mut parts = responder.into_parts();
                    while parts.send_async(vec![7; 10_000]).await.is_ok() {}
                    tell.send(()).unwrap();
                }
            }));
        let calling = place.clone();
        let client = blocking(move || calling.client()).await;
        let streaming = client.clone();
        let mut parts = blocking(move || {
            let mut parts = streaming.stream("").unwrap();
            parts.next_within(PATIENCE).unwrap().unwrap();
            parts
        })
        .await;
        assert!(told.try_recv().is_err());
        assert!(parts.try_next().is_none_or(|next| next.is_ok()));
        drop(parts);
        let flushing = client.clone();
        let waits = tokio::task::spawn_blocking(move || {
            // A thread that reads lets the cancel be sent.
            drop(flushing.with_timeout(PATIENCE).call(""));
        });
        within(told.recv()).await.unwrap();
        client.close();
        within(waits).await.unwrap();
        stopper.stop();
        within(serving).await.unwrap().unwrap();
    });
}
