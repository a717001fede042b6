//! Subscriptions: plain ones, and those that are taken up again and tell of the gap.

use super::common::{PARTS, PATIENCE, Serving, on_each, options, unique_name, within};
use super::reconnecting::{client, eager};
use futures_core::Stream;
use msgpipe::tokio::{ReconnectingClient, Subscription};
use msgpipe::{Error, ErrorReply, Received, Server, Topic, WhenFull};
use std::future::poll_fn;
use std::pin::Pin;
use std::thread;
use std::time::{Duration, Instant};

/// A server with one topic; it stops when dropped.
struct News {
    topic: Topic,
    stopper: msgpipe::Stopper,
    serving: Option<thread::JoinHandle<()>>,
}

impl News {
    fn start(name: &str, when_full: WhenFull) -> News {
        let topic = Topic::new(when_full);
        let until = Instant::now() + PATIENCE;
        let server = loop {
            match Server::bind(name) {
                Err(_) if Instant::now() < until => thread::yield_now(),
                bound => break bound.unwrap(),
            }
        };
        let (stopper, subscribed) = (server.stopper(), topic.clone());
        let serving = thread::spawn(move || {
            let serve = move |_, responder| subscribed.subscribe_with(responder, "first");
            server.serve_deferred(serve).unwrap();
        });
        News { topic, stopper, serving: Some(serving) }
    }
}

impl Drop for News {
    fn drop(&mut self) {
        self.stopper.stop();
        self.serving.take().unwrap().join().unwrap();
    }
}

async fn next(news: &mut Subscription) -> Received {
    within(news.next()).await.unwrap().unwrap()
}

async fn part(news: &mut Subscription) -> msgpipe::bytes::Bytes {
    match next(news).await {
        Received::Part(part) => part,
        other => panic!("{other:?}"),
    }
}

async fn gap(news: &mut Subscription) -> std::sync::Arc<Error> {
    match next(news).await {
        Received::Gap(reason) => reason,
        other => panic!("{other:?}"),
    }
}

/// Without reconnecting a subscription is a reply of parts, which ends with its connection.
#[test]
fn a_plain_subscription_is_a_stream() {
    on_each(|| async {
        let name = unique_name();
        let news = News::start(&name, WhenFull::Close);
        let client = msgpipe::tokio::Client::connect(name.as_str()).await.unwrap();
        let mut parts = client.stream("").await.unwrap();
        let mut next =
            async || within(poll_fn(|context| Pin::new(&mut parts).poll_next(context))).await;
        assert_eq!(next().await.unwrap().unwrap(), "first");
        news.topic.publish("second");
        assert_eq!(next().await.unwrap().unwrap(), "second");
        drop(news);
        assert!(next().await.is_none());
    });
}

#[test]
fn a_subscription_goes_on_when_its_server_is_restarted_and_tells_of_the_gap() {
    on_each(|| async {
        let name = unique_name();
        let mut server = News::start(&name, WhenFull::Close);
        let mut news = client(&name).subscribe("").await.unwrap();
        for round in 0..5 {
            assert_eq!(part(&mut news).await, "first");
            server.topic.publish(round.to_string());
            // Each part once, in order.
            assert_eq!(part(&mut news).await, round.to_string());
            drop(server);
            server = News::start(&name, WhenFull::Close);
            let reason = gap(&mut news).await;
            assert!(reason.to_string().contains("stops"), "{reason}");
        }
    });
}

/// As a stream, and polled with little time again and again while the server is away: nothing is lost or told twice.
#[test]
fn a_wait_that_is_dropped_takes_nothing() {
    on_each(|| async {
        let name = unique_name();
        let server = News::start(&name, WhenFull::Close);
        let mut news = client(&name).subscribe("").await.unwrap();
        assert_eq!(part(&mut news).await, "first");
        drop(server);
        let mut received = Vec::new();
        let mut back = None;
        for at in 0.. {
            let next = poll_fn(|context| Pin::new(&mut news).poll_next(context));
            match tokio::time::timeout(Duration::from_micros(300), next).await {
                Ok(next) => received.push(match next.unwrap().unwrap() {
                    Received::Part(_) => "part",
                    Received::Gap(_) => "gap",
                    other => panic!("{other:?}"),
                }),
                Err(_) if at == 100 => back = Some(News::start(&name, WhenFull::Close)),
                Err(_) => {}
            }
            if received.len() == 2 {
                break;
            }
        }
        assert_eq!(received, ["gap", "part"]);
        let back = back.unwrap();
        back.topic.publish("more");
        assert_eq!(part(&mut news).await, "more");
        assert_eq!(back.topic.subscribers(), 1);
        drop(news);
        within(async {
            while back.topic.subscribers() > 0 {
                back.topic.publish("is it there?");
                tokio::task::yield_now().await;
            }
        })
        .await;
    });
}

#[test]
fn a_subscription_that_was_too_slow_goes_on_after_a_gap() {
    on_each(|| async {
        let name = unique_name();
        let server = News::start(&name, WhenFull::Close);
        let mut news = client(&name).subscribe("").await.unwrap();
        assert_eq!(part(&mut news).await, "first");
        let topic = server.topic.clone();
        let publishing = tokio::task::spawn_blocking(move || {
            while topic.subscribers() > 0 {
                topic.publish(vec![0; 100_000]);
            }
        });
        within(publishing).await.unwrap();
        let mut parts = 0;
        let reason = loop {
            match next(&mut news).await {
                Received::Gap(reason) => break reason,
                _ => parts += 1,
            }
        };
        assert!(parts > 0);
        assert_eq!(reason.reply().unwrap().code, ErrorReply::LAGGED);
        assert_eq!(part(&mut news).await, "first");
    });
}

#[test]
fn a_subscription_gives_up_once_and_is_over() {
    on_each(|| async {
        let name = unique_name();
        let backoff = eager().with_tries(3);
        let client = ReconnectingClient::new(name.as_str(), &options(), backoff).unwrap();
        let error = client.subscribe("").await.unwrap_err();
        assert!(matches!(error, Error::GaveUp { tries: 3, .. }), "{error}");
        let server = News::start(&name, WhenFull::Close);
        let mut news = client.subscribe("").await.unwrap();
        assert_eq!(part(&mut news).await, "first");
        drop(server);
        let error = within(async {
            loop {
                if let Err(error) = news.next().await.unwrap() {
                    return error;
                }
            }
        })
        .await;
        assert!(matches!(error, Error::GaveUp { tries: 3, .. }), "{error}");
        assert!(within(news.next()).await.is_none());
    });
}

#[test]
fn the_end_of_the_reply_an_error_reply_and_a_close_end_a_subscription() {
    on_each(|| async {
        let serving = Serving::start();
        let client = client(&serving.name);
        let mut three = client.with_method(PARTS).subscribe("3").await.unwrap();
        for _ in 0..3 {
            assert_eq!(part(&mut three).await.len(), 1000);
        }
        assert!(within(three.next()).await.is_none() && three.next().await.is_none());
        let mut fails = client.with_method(super::common::FAIL).subscribe("").await.unwrap();
        let error = within(fails.next()).await.unwrap().unwrap_err();
        assert_eq!(error.reply().unwrap().code, 404);
        assert!(fails.next().await.is_none());
        let mut held = client.with_method(super::common::HOLD).subscribe("").await.unwrap();
        client.close();
        let error = within(held.next()).await.unwrap().unwrap_err();
        assert!(matches!(error, Error::Closed { .. }), "{error}");
        assert!(held.next().await.is_none());
    });
}
