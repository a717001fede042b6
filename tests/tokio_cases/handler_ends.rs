//! Async handlers whose calls are over, or whose server ends.

use super::common::{PATIENCE, limits, on_each, within};
use super::places::{Place, blocking, handler_cases};
use bytes::Bytes;
use msgpipe::tokio::Tasks;
use msgpipe::{
    ConnectionId, Error, ErrorReply, Event, Goodbye, Limits, MessageServer, Peer, Request,
    SendError, Server, Waker, memory,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};

handler_cases!(
    who_is_cancelled_runs_on_or_is_dropped,
    what_panics_when_it_is_dropped_ends_nothing,
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

/// Panics when it is dropped.
struct Bursts;

impl Drop for Bursts {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("of the test, when it is dropped");
        }
    }
}

fn what_panics_when_it_is_dropped_ends_nothing<P: Place>() {
    on_each(|| async {
        let place = P::new();
        let (tell, mut told) = mpsc::unbounded_channel();
        let server = place.server(limits().with_drain(Duration::from_millis(50)));
        let server = server.on_panic(move |_, text| drop(tell.send(text.to_owned())));
        let (stopper, begun) = (server.stopper(), Arc::new(Notify::new()));
        let begins = begun.clone();
        let serving =
            tokio::spawn(server.serve_tasks(Tasks::new().drop_cancelled(), move |request| {
                let begun = begins.clone();
                async move {
                    if request.body() == "hold" {
                        let _bursts = Bursts;
                        begun.notify_one();
                        std::future::pending::<()>().await;
                    }
                    request.into_body()
                }
            }));
        let calling = place.clone();
        let client = blocking(move || calling.client()).await;
        let cancelled = client.start("hold").unwrap();
        within(begun.notified()).await;
        drop(cancelled);
        assert!(within(told.recv()).await.unwrap().contains("when it is dropped"));
        let asking = client.clone();
        assert_eq!(blocking(move || asking.call("goes on").unwrap()).await, "goes on");
        // The same at the end of the server.
        let held = client.start("hold").unwrap();
        within(begun.notified()).await;
        stopper.stop();
        within(serving).await.unwrap().unwrap();
        drop(held);
    });
}

/// A server whose loop panics.
struct Broken(memory::MemoryServer);

impl MessageServer for Broken {
    fn poll(&mut self, _: Option<Duration>) -> Result<Option<Event>, Error> {
        panic!("of the test, in the loop");
    }

    fn send_with_head(
        &mut self,
        to: ConnectionId,
        head: &[u8],
        body: Bytes,
    ) -> Result<(), SendError> {
        self.0.send_with_head(to, head, body)
    }

    fn close(&mut self, connection: ConnectionId, why: Goodbye) {
        self.0.close(connection, why);
    }

    fn abort(&mut self, connection: ConnectionId) {
        self.0.abort(connection);
    }

    fn peer(&self, connection: ConnectionId) -> Option<&Peer> {
        self.0.peer(connection)
    }

    fn stop_accepting(&mut self) {
        self.0.stop_accepting();
    }

    fn waker(&self) -> Waker {
        self.0.waker()
    }

    fn endpoint(&self) -> &str {
        self.0.endpoint()
    }
}

#[test]
fn a_panic_of_the_loop_goes_on_in_the_task() {
    on_each(|| async {
        let messages = memory::Hub::new().listen_for_calls("broken", Limits::default()).unwrap();
        let server = Server::over(Broken(messages), Limits::default());
        let serving = tokio::spawn(server.serve_tasks(Tasks::new(), |_| async {}));
        assert!(within(serving).await.unwrap_err().is_panic());
    });
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
