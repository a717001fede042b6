//! Async handlers: of a server in the task that awaits it, and of one whose loop has a thread.

use super::common::{PATIENCE, limits, on_each, one_thread, within};
use super::places::{Local, Place, blocking, echo, handler_cases};
use msgpipe::tokio::Tasks;
use msgpipe::{CloseReason, ErrorReply, Failure, Request, Responder};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};

handler_cases!(
    calls_of_any_size_and_of_many_threads_are_answered,
    panics_are_answered_and_end_nothing,
    the_number_of_handlers_has_a_limit,
    who_waits_for_each_reply_is_never_refused,
    parts_wait_for_room_and_for_each_other,
    a_busy_server_lets_other_tasks_run,
);

fn calls_of_any_size_and_of_many_threads_are_answered<P: Place>() {
    on_each(|| async {
        let place = P::new();
        let (stopper, serving) = echo(&place);
        let calling = place.clone();
        blocking(move || {
            let client = calling.client();
            for size in [0, 1, 4096, 65_536, 3 << 20] {
                let request: Vec<u8> = (0..size).map(|at| (at * 7) as u8).collect();
                assert!(client.call(request.clone()).unwrap() == request, "{size} bytes");
            }
            std::thread::scope(|scope| {
                for number in 0..8 {
                    let client = calling.client();
                    scope.spawn(move || {
                        let calls: Vec<_> = (0..100)
                            .map(|at| client.start(format!("{number} {at}")).unwrap())
                            .collect();
                        for (at, call) in calls.into_iter().enumerate() {
                            assert_eq!(call.wait().unwrap(), format!("{number} {at}"));
                        }
                    });
                }
            });
        })
        .await;
        stopper.stop();
        serving.await.unwrap().unwrap();
    });
}

fn panics_are_answered_and_end_nothing<P: Place>() {
    on_each(|| async {
        let place = P::new();
        let (tell, mut told) = mpsc::unbounded_channel();
        let server =
            place.server(limits()).on_panic(move |_, text| tell.send(text.to_owned()).unwrap());
        let stopper = server.stopper();
        let serving = tokio::spawn(server.serve_tasks(Tasks::new(), |request| {
            assert!(request.body() != "at once", "of the test at once");
            async move {
                tokio::task::yield_now().await;
                assert!(request.body() != "later", "of the test later");
                "fine"
            }
        }));
        let calling = place.clone();
        blocking(move || {
            let client = calling.client();
            for when in ["at once", "later"] {
                let error = client.call(when).unwrap_err();
                assert_eq!(
                    error.reply().unwrap(),
                    &ErrorReply::new(ErrorReply::FAILED, "the handler panicked")
                );
                assert_eq!(client.call("").unwrap(), "fine");
            }
        })
        .await;
        for when in ["at once", "later"] {
            assert_eq!(told.recv().await.unwrap(), format!("of the test {when}"));
        }
        stopper.stop();
        serving.await.unwrap().unwrap();
    });
}

fn the_number_of_handlers_has_a_limit<P: Place>() {
    for most in [1, 2, 3] {
        on_each(|| async move {
            let place = P::new();
            let gate = Arc::new(Semaphore::new(0));
            let (server, waits) = (place.server(limits()), gate.clone());
            let stopper = server.stopper();
            let serving =
                tokio::spawn(server.serve_tasks(Tasks::new().at_once(most), move |request| {
                    let gate = waits.clone();
                    async move {
                        gate.acquire().await.unwrap().forget();
                        request.into_body()
                    }
                }));
            let calling = place.clone();
            blocking(move || {
                let client = calling.client();
                let mut calls: Vec<_> =
                    (0..=most).map(|at| client.start(at.to_string()).unwrap()).collect();
                let error = calls.pop().unwrap().wait().unwrap_err();
                assert_eq!(error.reply().unwrap().code, ErrorReply::BUSY);
                assert!(
                    error.is_not_begun() && error.to_string().contains("Tasks::at_once"),
                    "{error}"
                );
                gate.add_permits(most);
                for (at, call) in calls.into_iter().enumerate() {
                    assert_eq!(call.wait().unwrap(), at.to_string());
                }
                gate.add_permits(1);
                assert_eq!(client.call("again").unwrap(), "again");
            })
            .await;
            stopper.stop();
            serving.await.unwrap().unwrap();
        });
    }
}

/// A handler's place is free before its reply is sent.
fn who_waits_for_each_reply_is_never_refused<P: Place>() {
    on_each(|| async {
        let place = P::new();
        let server = place.server(limits());
        let stopper = server.stopper();
        let serving = tokio::spawn(server.serve_tasks(Tasks::new().at_once(2), |request| async {
            tokio::task::yield_now().await;
            request.into_body()
        }));
        let calling = place.clone();
        blocking(move || {
            std::thread::scope(|scope| {
                for _ in 0..2 {
                    let client = calling.client();
                    scope.spawn(move || {
                        for number in 0..1000 {
                            let text = number.to_string();
                            assert_eq!(client.call(text.as_str()).unwrap(), text);
                        }
                    });
                }
            });
        })
        .await;
        stopper.stop();
        within(serving).await.unwrap().unwrap();
    });
}

/// Sends back the parts that it gets.
async fn parts_back(request: Request, responder: Responder) {
    let (mut parts, mut back) = (request.into_parts(), responder.into_parts());
    loop {
        match parts.next_async().await {
            Ok(Some(part)) => back.send_async(part).await.unwrap(),
            Ok(None) => return back.finish(),
            Err(error) => return back.fail(error.to_string()),
        }
    }
}

fn parts_wait_for_room_and_for_each_other<P: Place>() {
    on_each(|| async {
        let place = P::new();
        let server = place.server(limits()).accept_streams();
        let stopper = server.stopper();
        let serving = tokio::spawn(server.serve_tasks_deferred(Tasks::new(), parts_back));
        let calling = place.clone();
        blocking(move || {
            let (mut says, mut hears) = calling.client().duplex().unwrap();
            // More than all windows hold.
            let sending = std::thread::spawn(move || {
                for number in 0..200u8 {
                    says.send(vec![number; 100_000]).unwrap();
                }
                says.end().unwrap();
            });
            for number in 0..200u8 {
                assert!(hears.next_within(PATIENCE).unwrap().unwrap() == vec![number; 100_000]);
            }
            assert!(hears.next_within(PATIENCE).unwrap().is_none());
            sending.join().unwrap();
        })
        .await;
        stopper.stop();
        within(serving).await.unwrap().unwrap();
    });
}

fn a_busy_server_lets_other_tasks_run<P: Place>() {
    one_thread().block_on(within(async {
        let place = P::new();
        let (stopper, serving) = echo(&place);
        let calling = place.clone();
        let (begin, begun) = tokio::sync::oneshot::channel();
        let busy = std::thread::spawn(move || {
            let client = calling.client();
            client.call("first").unwrap();
            begin.send(()).unwrap();
            while client.call("again").is_ok() {}
        });
        begun.await.unwrap();
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        stopper.stop();
        serving.await.unwrap().unwrap();
        busy.join().unwrap();
    }));
}

/// More sockets become ready at once than one look at them returns, and most of that makes no message whole.
#[cfg(unix)]
#[test]
fn all_of_very_many_clients_are_served() {
    on_each(|| async {
        let place = Local::new();
        let (stopper, serving) = echo(&place);
        let calling = place.clone();
        blocking(move || {
            let body = vec![7; 300_000];
            std::thread::scope(|scope| {
                for _ in 0..400 {
                    let (place, body) = (&calling, &body);
                    scope.spawn(move || {
                        let client = place.client();
                        (0..3).for_each(|_| assert!(client.call(&body[..]).unwrap() == body[..]));
                    });
                }
            });
        })
        .await;
        stopper.stop();
        within(serving).await.unwrap().unwrap();
    });
}

/// The future of such a server is not `Send`, and neither are its handlers.
#[test]
fn handlers_need_not_be_send() {
    let place = Local::new();
    let server = place.server(limits());
    let (stopper, count) = (server.stopper(), Rc::new(std::cell::Cell::new(0)));
    let counted = count.clone();
    let calling = std::thread::spawn(move || {
        let client = place.client();
        (0..10).for_each(|_| drop(client.call("").unwrap()));
        stopper.stop();
    });
    let served = server.serve_tasks(Tasks::new(), move |_| {
        let count = counted.clone();
        async move {
            tokio::task::yield_now().await;
            count.set(count.get() + 1);
        }
    });
    one_thread().block_on(within(served)).unwrap();
    calling.join().unwrap();
    assert_eq!(count.get(), 10);
}

/// A call inside a handler has at most the time of its request, and may go to the server itself.
#[test]
fn a_handler_calls_its_own_server() {
    on_each(|| async {
        let place = Local::new();
        let server = place.server(limits());
        let stopper = server.stopper();
        let name = place.0.clone();
        let serving = tokio::spawn(server.serve_tasks(Tasks::new(), move |request: Request| {
            let name = name.clone();
            async move {
                let depth: u32 = String::from_utf8_lossy(&request.body()).parse()?;
                if depth == 0 {
                    return Ok::<_, Failure>("done".into());
                }
                let client = msgpipe::tokio::Client::connect(name.as_str()).await?;
                Ok(client.call((depth - 1).to_string()).await?)
            }
        }));
        let calling = place.clone();
        assert_eq!(blocking(move || calling.client().call("10").unwrap()).await, "done");
        stopper.stop();
        within(serving).await.unwrap().unwrap();
    });
}

/// Nothing happens but that the time passes.
#[test]
fn deadlines_of_connections_are_kept() {
    on_each(|| async {
        let place = Local::new();
        let server = place.server(limits().with_idle(Some(Duration::from_millis(50))));
        let (tell, mut told) = mpsc::unbounded_channel();
        let server = server.on_closed(move |_, reason| tell.send(reason.clone()).unwrap());
        let stopper = server.stopper();
        let serving = tokio::spawn(server.serve_tasks(Tasks::new(), |_| async {}));
        let client = blocking(move || place.client()).await;
        let reason = within(told.recv()).await.unwrap();
        assert!(matches!(reason, CloseReason::Idle { .. }), "{reason}");
        drop(client);
        stopper.stop();
        within(serving).await.unwrap().unwrap();
    });
}
