//! Clients in several runtimes, in none, and in one that ends.

use super::common::{HOLD, Seen, Serving, one_thread, two_threads, within};
use msgpipe::{Error, Progress};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake};
use std::thread::{self, Thread};

/// Runs a future on this thread, without tokio.
fn run<T>(future: impl Future<Output = T>) -> T {
    struct Unparks(Thread);
    impl Wake for Unparks {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let mut future = pin!(future);
    let waker = Arc::new(Unparks(thread::current())).into();
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(done) => return done,
            Poll::Pending => thread::park(),
        }
    }
}

#[test]
fn a_client_is_used_from_two_runtimes_and_from_none() {
    let serving = Serving::start();
    let drives = two_threads();
    let client = drives.block_on(serving.client());
    thread::scope(|scope| {
        for number in 0..4 {
            let client = client.clone();
            scope.spawn(move || {
                let calls = async {
                    for round in 0..100 {
                        let text = format!("{number} {round}");
                        assert_eq!(client.call(text.clone()).await.unwrap(), text);
                    }
                };
                match number {
                    0 => one_thread().block_on(calls),
                    1 => two_threads().block_on(calls),
                    _ => run(calls),
                }
            });
        }
    });
    // The timer is the driver's.
    let late = client.with_method(HOLD).with_timeout(std::time::Duration::from_millis(20));
    assert!(matches!(run(late.call("held")), Err(Error::Deadline { .. })));
}

#[test]
fn a_runtime_that_ends_ends_the_calls_in_others() {
    for drives in [one_thread(), two_threads()] {
        let serving = Serving::start();
        let (client, calls) = drives.block_on(async {
            let client = serving.client().await;
            client.call("works").await.unwrap();
            let mut calls = Vec::new();
            for _ in 0..50 {
                calls.push(client.with_method(HOLD).start("held").await.unwrap());
                assert_eq!(serving.next().await, Seen::Begun);
            }
            (client, calls)
        });
        let waiting: Vec<_> = calls.into_iter().map(|call| thread::spawn(|| run(call))).collect();
        drop(drives);
        for call in waiting {
            let error = call.join().unwrap().unwrap_err();
            assert!(matches!(&error, Error::Closed { progress: Progress::Unknown, .. }), "{error}");
        }
        assert!(run(client.call("late")).unwrap_err().is_not_begun());
        assert!(client.is_closed());
    }
}

/// Calls in the tasks of the runtime itself are dropped with it, in any order.
#[test]
fn a_runtime_ends_with_calls_in_its_own_tasks() {
    for drives in [one_thread(), two_threads()] {
        let serving = Serving::start();
        let client = drives.block_on(async {
            let client = serving.client().await;
            for _ in 0..50 {
                let held = client.with_method(HOLD);
                tokio::spawn(async move { held.call("held").await });
                assert_eq!(serving.next().await, Seen::Begun);
            }
            client
        });
        drop(drives);
        assert!(client.is_closed());
        one_thread().block_on(within(async {
            for _ in 0..50 {
                assert!(matches!(serving.next().await, Seen::Ended(_)));
            }
        }));
    }
}
