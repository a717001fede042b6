//! Subscriptions that go on over the end of a server, and tell of the gap.

use super::roles::{PATIENCE, SUBSCRIBE, Scene};
use msgpipe::{
    Backoff, Client, ClientOptions, Error, ErrorReply, Received, ReconnectingClient, Server,
    Subscription, Topic, WhenFull,
};
use std::thread;
use std::time::Duration;

fn client(scene: &Scene) -> ReconnectingClient {
    let backoff = Backoff::new().with_first(Duration::from_millis(5)).with_tries(100);
    scene.starting("server of news").reconnecting(scene.name.as_str(), backoff).unwrap()
}

/// A call on a connection of its own.
fn tell(scene: &Scene, text: &str) -> Result<bytes::Bytes, Error> {
    Client::connect(scene.name.as_str())?.call(text)
}

#[track_caller]
fn part(subscription: &mut Subscription) -> String {
    match subscription.next_within(PATIENCE).unwrap() {
        Some(Received::Part(part)) => String::from_utf8_lossy(&part).into_owned(),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn gap(subscription: &mut Subscription) -> String {
    match subscription.next_within(PATIENCE) {
        Ok(Some(Received::Gap(reason))) => reason.to_string(),
        other => panic!("{other:?}"),
    }
}

/// Under Wine starting a process fails sometimes, so the first connection is made beforehand.
fn subscribe(scene: &Scene) -> Subscription {
    scene.connect("server of news").unwrap();
    client(scene).with_method(SUBSCRIBE).subscribe("all").unwrap()
}

#[test]
fn a_subscription_goes_on_over_the_death_of_its_server() {
    let scene = Scene::new();
    let mut news = subscribe(&scene);
    let mut server = part(&mut news);
    for round in 0..3 {
        tell(&scene, "one").unwrap();
        assert_eq!(part(&mut news), "one");
        tell(&scene, "die").unwrap_err();
        let reason = gap(&mut news);
        assert!(reason.contains(&scene.name), "{reason}");
        let other = part(&mut news);
        assert_ne!(server, other, "round {round}");
        server = other;
    }
    tell(&scene, "two").unwrap();
    assert_eq!(part(&mut news), "two");
    tell(&scene, "finish").unwrap();
    assert!(news.next_within(PATIENCE).unwrap().is_none(), "the server has ended it");
    assert!(news.next().is_none());
}

#[test]
fn a_subscription_goes_on_when_its_server_is_stopped() {
    let scene = Scene::new();
    let mut news = subscribe(&scene);
    let server = part(&mut news);
    tell(&scene, "").unwrap();
    let reason = gap(&mut news);
    assert!(reason.contains("stops"), "{reason}");
    assert_ne!(part(&mut news), server);
}

#[test]
fn a_subscription_that_was_too_slow_goes_on_after_a_gap() {
    let scene = Scene::new();
    let topic = Topic::new(WhenFull::Close);
    let server = Server::bind(scene.name.as_str()).unwrap();
    let (stopper, publisher) = (server.stopper(), topic.clone());
    let serving = thread::spawn(move || {
        server
            .serve_deferred(move |_, responder| topic.subscribe_with(responder, "first"))
            .unwrap();
    });
    let client = ClientOptions::new().reconnecting(scene.name.as_str(), Backoff::new()).unwrap();
    let mut news = client.subscribe("").unwrap();
    assert_eq!(part(&mut news), "first");
    while publisher.subscribers() > 0 {
        publisher.publish(vec![0; 100_000]);
    }
    let mut parts = 0;
    let reason = loop {
        match news.next().unwrap().unwrap() {
            Received::Gap(reason) => break reason,
            _ => parts += 1,
        }
    };
    assert!(parts > 0);
    assert_eq!(reason.reply().unwrap().code, ErrorReply::LAGGED);
    assert_eq!(part(&mut news), "first");
    stopper.stop();
    serving.join().unwrap();
}

#[test]
fn a_subscription_gives_up_once_and_is_over() {
    let scene = Scene::new();
    let backoff = Backoff::new().with_first(Duration::from_millis(1)).with_tries(3);
    let options = ClientOptions::new();
    let client = options.reconnecting(scene.name.as_str(), backoff).unwrap();
    let Err(Error::GaveUp { tries: 3, .. }) = client.subscribe("") else { panic!("subscribed") };
    let topic = Topic::default();
    let server = Server::bind(scene.name.as_str()).unwrap();
    let stopper = server.stopper();
    let serving = thread::spawn(move || {
        server
            .serve_deferred(move |_, responder| topic.subscribe_with(responder, "first"))
            .unwrap();
    });
    let mut news = client.subscribe("").unwrap();
    assert_eq!(part(&mut news), "first");
    // A time that ends is no reason to be over.
    let late = news.next_within(Duration::from_millis(5)).unwrap_err();
    assert!(matches!(late, Error::Deadline { .. }), "{late}");
    stopper.stop();
    serving.join().unwrap();
    let given_up = news.find_map(Result::err).unwrap();
    assert!(matches!(given_up, Error::GaveUp { tries: 3, .. }), "{given_up}");
    assert!(news.next().is_none());
}

#[test]
fn an_error_reply_ends_a_subscription() {
    let scene = Scene::new();
    let server = Server::bind(scene.name.as_str()).unwrap();
    let stopper = server.stopper();
    let serving = thread::spawn(move || {
        server.serve(|_| Err::<(), _>(ErrorReply::new(404, "no such news"))).unwrap();
    });
    let client = ClientOptions::new().reconnecting(scene.name.as_str(), Backoff::new()).unwrap();
    let mut news = client.subscribe("").unwrap();
    let error = news.next().unwrap().unwrap_err();
    assert_eq!(error.reply().unwrap().code, 404);
    assert!(news.next().is_none());
    stopper.stop();
    serving.join().unwrap();
}
