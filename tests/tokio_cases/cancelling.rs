//! Futures that are dropped, forgotten, or not polled: no other call is stopped, and no half message is sent.

use super::common::{COUNT, HOLD, Seen, Serving, limits, on_each, within};
use msgpipe::tokio::Client;
use msgpipe::{ClientOptions, Error, Interrupt};
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

/// Polls a future once.
async fn poll_once<F: Future + ?Sized>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
}

#[test]
fn a_dropped_call_is_cancelled_and_the_others_go_on() {
    on_each(|| async {
        let serving = Serving::start();
        let client = serving.client().await;
        let other = client.start("other").await.unwrap();
        let call = client.with_method(HOLD).start("held").await.unwrap();
        assert_eq!(serving.next().await, Seen::Begun);
        drop(call);
        assert_eq!(serving.next().await, Seen::Ended(Interrupt::Cancelled));
        assert_eq!(other.await.unwrap(), "other");
        // The future of `call`, in the middle.
        let held = client.with_method(HOLD);
        {
            let mut call = pin!(held.call("held"));
            assert!(poll_once(call.as_mut()).await.is_pending());
            tokio::task::yield_now().await;
            assert_eq!(serving.next().await, Seen::Begun);
        }
        assert_eq!(serving.next().await, Seen::Ended(Interrupt::Cancelled));
        assert_eq!(client.counts().calls.cancelled, 2);
    });
}

#[test]
fn before_its_first_poll_nothing_is_sent() {
    on_each(|| async {
        let serving = Serving::start();
        let client = serving.client().await;
        drop(client.call("not sent"));
        assert_eq!(client.counts().calls.begun, 0);
    });
}

/// Large ones are cut wherever they are: what follows is whole.
#[test]
fn calls_that_are_dropped_at_any_moment_leave_the_stream_whole() {
    on_each(|| async {
        let serving = Serving::start();
        let client = serving.client().await;
        for round in 0..200 {
            let size = [10, 1000, 100_000, 2 << 20][round % 4];
            let mut call = pin!(client.call(vec![1; size]));
            for _ in 0..round % 7 {
                if poll_once(call.as_mut()).await.is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(client.call("whole").await.unwrap(), "whole");
        assert!(client.close_reason().is_none());
    });
}

#[test]
fn forgotten_futures_stop_nobody() {
    on_each(|| async {
        let serving = Serving::start();
        let limits = limits().with_queued(1000);
        let options = ClientOptions::new().limits(limits);
        let client = Client::connect_with(serving.name.as_str(), &options).await.unwrap();
        for _ in 0..50 {
            // Each in another state: not polled, begun, waiting for the settings, and for room.
            for size in [10, 1000] {
                let mut call = Box::pin({
                    let client = client.clone();
                    async move { client.call(vec![1; size]).await }
                });
                let _ = poll_once(call.as_mut()).await;
                std::mem::forget(call);
            }
            let mut notify = Box::pin({
                let client = client.clone();
                async move { client.notify_within(vec![1; 900], Duration::from_secs(60)).await }
            });
            let _ = poll_once(notify.as_mut()).await;
            std::mem::forget(notify);
        }
        for round in 0..100 {
            let text = format!("round {round}");
            assert_eq!(client.call(text.clone()).await.unwrap(), text);
            client.notify_within(text, Duration::from_secs(60)).await.unwrap();
        }
    });
}

/// A select loop holds a call that it does not poll while it waits for another one of the same client.
#[test]
fn a_future_that_is_not_polled_does_not_hold_up_another() {
    on_each(|| async {
        let serving = Serving::start();
        let client = serving.client().await;
        let mut unpolled = pin!(client.call(vec![1; 1 << 20]));
        assert!(poll_once(unpolled.as_mut()).await.is_pending());
        for round in 0..20 {
            tokio::select! {
                biased;
                _ = std::future::ready(()) => {
                    // Here `unpolled` is held, and not polled.
                    let reply = within(client.call(vec![2; 1 << 20])).await;
                    assert_eq!(reply.unwrap().len(), 1 << 20, "{round}");
                }
                _ = &mut unpolled => panic!("it was not polled"),
            }
        }
        assert_eq!(within(unpolled).await.unwrap().len(), 1 << 20);
    });
}

/// The same of waits for room, which are woken: the woken one that does not come must not keep the room.
#[test]
fn a_wait_that_is_not_polled_does_not_hold_up_another() {
    on_each(|| async {
        let serving = Serving::start();
        let options = ClientOptions::new().limits(limits().with_queued(1));
        let client = Client::connect_with(serving.name.as_str(), &options).await.unwrap();
        client.call("the settings have come").await.unwrap();
        let hour = Duration::from_secs(3600);
        let mut waits = Vec::new();
        loop {
            let mut wait = Box::pin(client.notify_within(vec![1; 100_000], hour));
            if poll_once(wait.as_mut()).await.is_pending() {
                waits.push(wait);
            }
            if waits.len() == 3 {
                break;
            }
        }
        within(client.notify_within("comes through", hour)).await.unwrap();
        drop(waits);
    });
}

/// A part is sent wholly or not at all.
#[test]
fn a_dropped_send_of_a_part_has_sent_all_of_it_or_nothing() {
    on_each(|| async {
        let serving = Serving::start();
        let client = serving.client().await.with_method(COUNT);
        let mut upload = client.upload().unwrap();
        let mut sent = 0;
        for round in 0..100 {
            let mut send = pin!(upload.send(vec![1; 50_000]));
            let polled = match round % 3 {
                0 => poll_once(send.as_mut()).await,
                _ => Poll::Ready(within(send.as_mut()).await),
            };
            if let Poll::Ready(done) = polled {
                done.unwrap();
                sent += 50_000;
            }
        }
        assert_eq!(upload.finish().unwrap().await.unwrap(), sent.to_string());
    });
}

#[test]
fn a_notification_that_finds_no_room_is_returned_or_waits_at_most_as_long_as_it_may() {
    on_each(|| async {
        let serving = Serving::start();
        // The driver takes none: it is not polled.
        let options = ClientOptions::new().limits(limits().with_queued(1000));
        let (client, driver) =
            Client::connect_with_driver(serving.name.as_str(), &options).await.unwrap();
        let mut taken = 0;
        let error = loop {
            match client.notify(vec![1; 200]).await {
                Ok(()) => taken += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(&error, Error::Full { limit: 1000, message, .. } if message.len() == 200));
        assert_eq!((taken, error.is_not_begun()), (4, true));
        let driver = tokio::spawn(driver);
        within(client.notify_within("after", Duration::from_secs(60))).await.unwrap();
        for _ in 0..4 {
            assert_eq!(serving.next().await, Seen::Notified(vec![1; 200]));
        }
        assert_eq!(serving.next().await, Seen::Notified(b"after".to_vec()));
        drop(client);
        driver.await.unwrap();
    });
}
