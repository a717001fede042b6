//! Subscriptions, on every transport: who is fast gets all, who is slow gets what the application has chosen.

use crate::common::serving::{Serving, limits};
use crate::common::{Backend, PATIENCE, pattern};
use bytes::Bytes;
use msgpipe::{Client, Error, ErrorReply, Parts, Topic, WhenFull};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

crate::on_every_transport!(
    a_first_message_is_for_its_subscriber_alone,
    the_oldest_messages_make_room,
    the_newest_messages_are_dropped,
    a_publisher_waits_if_that_is_wanted,
    the_end_of_a_topic_ends_its_subscriptions,
    a_server_that_stops_ends_them_at_once,
);
crate::on_named_transports!(
    all_subscribers_get_all_messages_in_order,
    who_is_too_slow_is_told_so_and_nobody_else_waits,
    a_message_over_the_limit_ends_one_subscription,
    a_subscriber_that_leaves_is_forgotten,
    who_subscribes_and_leaves_again_and_again_may_go_on,
);

/// The bytes of a message with which a subscriber is soon full.
const LARGE: usize = 60_000;

/// More messages than any subscriber is sent ahead: its window, and what waits in the server and in the system.
const MANY: usize = 1000;

fn serving<B: Backend>(backend: &B, topic: &Topic) -> Serving {
    let mut long = limits();
    long.drain = 10 * PATIENCE;
    let topic = topic.clone();
    Serving::start(backend.serve_calls(&long).unwrap(), move |request, responder| {
        match &request.body()[..] {
            b"subscribe" => topic.subscribe(responder),
            b"state" => topic.subscribe_with(responder, "the state"),
            _ => responder.reply(request.into_body()),
        }
    })
}

fn client<B: Backend>(backend: &B) -> Client {
    backend.client(&limits()).unwrap()
}

/// Subscribes, and returns once the server has seen it.
fn subscribe(client: &Client, topic: &Topic) -> Parts {
    let before = topic.subscribers();
    let parts = client.stream("subscribe").unwrap();
    client.call("and wait for it").unwrap();
    assert_eq!(topic.subscribers(), before + 1);
    parts
}

#[track_caller]
fn next(parts: &mut Parts) -> Bytes {
    parts.next_within(PATIENCE).unwrap().expect("another message")
}

/// A message that says which one it is.
fn numbered(number: usize) -> Bytes {
    let mut message = (number as u32).to_le_bytes().to_vec();
    message.extend(pattern(LARGE, number as u8));
    message.into()
}

fn number(message: &[u8]) -> usize {
    u32::from_le_bytes(message[..4].try_into().unwrap()) as usize
}

/// The numbers of all messages until the end.
fn numbers(parts: &mut Parts) -> Vec<usize> {
    let mut numbers = Vec::new();
    while let Some(message) = parts.next_within(PATIENCE).unwrap() {
        assert!(message == numbered(number(&message)), "other bytes");
        numbers.push(number(&message));
    }
    numbers
}

fn all_subscribers_get_all_messages_in_order<B: Backend>() {
    let backend = B::new();
    let topic = Topic::default();
    let _serving = serving(&backend, &topic);
    let clients: Vec<Client> = (0..5).map(|_| client(&backend)).collect();
    let mut all: Vec<Parts> = clients.iter().map(|client| subscribe(client, &topic)).collect();
    thread::scope(|scope| {
        for publisher in 0..2 {
            let topic = &topic;
            scope.spawn(move || {
                for at in 0..100 {
                    let published = topic.publish(format!("{publisher} {at}"));
                    assert_eq!((published.queued, published.dropped, published.closed), (5, 0, 0));
                }
            });
        }
    });
    topic.finish();
    let mut told: Vec<Vec<Bytes>> = Vec::new();
    for parts in &mut all {
        told.push(std::iter::from_fn(|| parts.next_within(PATIENCE).unwrap()).collect());
    }
    assert_eq!(told[0].len(), 200);
    assert!(told.iter().all(|it| *it == told[0]), "in another order");
    for publisher in ["0", "1"] {
        let of_it = told[0].iter().filter(|it| it.starts_with(publisher.as_bytes()));
        let expected: Vec<String> = (0..100).map(|at| format!("{publisher} {at}")).collect();
        assert_eq!(of_it.collect::<Vec<_>>(), expected.iter().collect::<Vec<_>>());
    }
}

fn a_first_message_is_for_its_subscriber_alone<B: Backend>() {
    let backend = B::new();
    let topic = Topic::default();
    let _serving = serving(&backend, &topic);
    let client = client(&backend);
    let mut old = subscribe(&client, &topic);
    let mut new = client.stream("state").unwrap();
    assert_eq!(next(&mut new), "the state");
    assert_eq!(topic.publish("a change").queued, 2);
    assert_eq!((next(&mut old), next(&mut new)), ("a change".into(), "a change".into()));
}

/// The one that is too slow gets what waits before its end.
fn who_is_too_slow_is_told_so_and_nobody_else_waits<B: Backend>() {
    let backend = B::new();
    let topic = Topic::new(WhenFull::Close);
    let _serving = serving(&backend, &topic);
    let (slow_client, fast_client) = (client(&backend), client(&backend));
    let mut slow = subscribe(&slow_client, &topic);
    let mut fast = subscribe(&fast_client, &topic);
    let closed_at = (0..MANY).find(|&at| {
        let published = topic.publish(numbered(at));
        assert!(next(&mut fast) == numbered(at), "another message");
        published.closed == 1
    });
    let closed_at = closed_at.expect("nothing grows without a limit");
    assert_eq!(topic.publish("later").queued, 1);
    assert_eq!(next(&mut fast), "later");
    for at in 0..closed_at {
        assert!(next(&mut slow) == numbered(at), "message {at}");
    }
    match slow.next_within(PATIENCE) {
        Err(Error::Answered { reply, .. }) => assert_eq!(reply.code, ErrorReply::LAGGED),
        other => panic!("{other:?}"),
    }
    drop(subscribe(&slow_client, &topic));
}

fn the_oldest_messages_make_room<B: Backend>() {
    let backend = B::new();
    let topic = Topic::new(WhenFull::DropOldest);
    let _serving = serving(&backend, &topic);
    let client = client(&backend);
    let mut parts = subscribe(&client, &topic);
    let dropped: usize = (0..MANY).map(|at| topic.publish(numbered(at)).dropped).sum();
    topic.finish();
    let told = numbers(&mut parts);
    assert!(dropped > 0 && told.len() == MANY - dropped, "{dropped} were dropped");
    assert!(told.is_sorted() && *told.last().unwrap() == MANY - 1, "{told:?}");
}

fn the_newest_messages_are_dropped<B: Backend>() {
    let backend = B::new();
    let topic = Topic::new(WhenFull::DropNewest);
    let _serving = serving(&backend, &topic);
    let client = client(&backend);
    let mut parts = subscribe(&client, &topic);
    let mut queued = Vec::new();
    for at in 0..MANY {
        let published = topic.publish(numbered(at));
        assert_eq!(published.queued + published.dropped, 1);
        queued.extend((published.queued == 1).then_some(at));
    }
    assert!(queued.len() < MANY, "nothing grows without a limit");
    topic.finish();
    assert_eq!(numbers(&mut parts), queued);
}

fn a_publisher_waits_if_that_is_wanted<B: Backend>() {
    let backend = B::new();
    let topic = Topic::new(WhenFull::Wait);
    let _serving = serving(&backend, &topic);
    let client = client(&backend);
    let mut parts = subscribe(&client, &topic);
    let publisher = thread::spawn({
        let topic = topic.clone();
        move || {
            for at in 0..MANY {
                assert_eq!(topic.publish(numbered(at)).queued, 1);
            }
            topic.finish();
        }
    });
    // The server serves others while the publisher waits; the topic can be looked at.
    assert_eq!(client.call("hello").unwrap(), "hello");
    assert_eq!(topic.subscribers(), 1);
    assert_eq!(numbers(&mut parts), (0..MANY).collect::<Vec<_>>());
    publisher.join().unwrap();
}

fn a_message_over_the_limit_ends_one_subscription<B: Backend>() {
    let backend = B::new();
    let topic = Topic::default();
    let _serving = serving(&backend, &topic);
    let mut small = limits();
    small.message = 1000;
    let (one, other) = (backend.client(&small).unwrap(), client(&backend));
    let (mut limited, mut unlimited) = (subscribe(&one, &topic), subscribe(&other, &topic));
    for size in [999, 1000] {
        topic.publish(pattern(size, 1));
        assert_eq!(next(&mut limited), pattern(size, 1));
        assert_eq!(next(&mut unlimited), pattern(size, 1));
    }
    topic.publish(pattern(1001, 1));
    match limited.next_within(PATIENCE) {
        Err(Error::Answered { reply, .. }) => assert_eq!(reply.code, ErrorReply::REPLY_TOO_LARGE),
        other => panic!("{other:?}"),
    }
    assert_eq!(next(&mut unlimited), pattern(1001, 1));
    assert_eq!(one.call("goes on").unwrap(), "goes on");
    assert_eq!(topic.publish("small").queued, 1);
    assert_eq!(next(&mut unlimited), "small");
}

/// Also if nothing is published any more.
fn a_subscriber_that_leaves_is_forgotten<B: Backend>() {
    let backend = B::new();
    let topic = Topic::default();
    let (tell, closed) = mpsc::channel();
    let server = backend.serve_calls(&limits()).unwrap();
    let server = server.on_closed(move |_, _| tell.send(()).unwrap());
    let taken = topic.clone();
    let _serving = Serving::start(server, move |request, responder| match request.body().len() {
        9 => taken.subscribe(responder),
        _ => responder.reply(""),
    });
    let (one, other) = (client(&backend), client(&backend));
    let (first, _second) = (subscribe(&one, &topic), subscribe(&one, &topic));
    let _third = subscribe(&other, &topic);
    drop(first);
    one.call("and wait for it").unwrap();
    assert_eq!(topic.subscribers(), 2);
    one.close();
    closed.recv_timeout(PATIENCE).unwrap();
    assert_eq!(topic.subscribers(), 1);
}

fn the_end_of_a_topic_ends_its_subscriptions<B: Backend>() {
    let backend = B::new();
    let (give, responders) = mpsc::channel();
    let server = backend.serve_calls(&limits()).unwrap();
    let _serving = Serving::start(server, move |_, responder| give.send(responder).unwrap());
    let client = client(&backend);
    let mut parts = client.stream("subscribe").unwrap();
    let topic = Topic::default();
    topic.subscribe(responders.recv_timeout(PATIENCE).unwrap());
    topic.publish("the last");
    drop(topic);
    assert_eq!(next(&mut parts), "the last");
    assert_eq!(parts.next_within(PATIENCE).unwrap(), None);
}

/// The server has a long time to drain, and does not need it.
fn a_server_that_stops_ends_them_at_once<B: Backend>() {
    let backend = B::new();
    let topic = Topic::default();
    let serving = serving(&backend, &topic);
    let client = client(&backend);
    let mut parts = subscribe(&client, &topic);
    topic.publish("the last");
    let reader = thread::spawn(move || {
        let told = next(&mut parts);
        (told, parts.next_within(Duration::from_secs(600)).map(|end| end.is_none()))
    });
    drop(serving);
    let (told, ended) = reader.join().unwrap();
    assert_eq!(told, "the last");
    assert!(matches!(ended, Ok(true)), "{ended:?}");
    assert_eq!(topic.subscribers(), 0);
}

/// More often than calls may be open; and a server that stops then waits for nobody.
fn who_subscribes_and_leaves_again_and_again_may_go_on<B: Backend>() {
    let backend = B::new();
    let topic = Topic::default();
    let serving = serving(&backend, &topic);
    let mut few = limits();
    few.in_flight = 4;
    let client = backend.client(&few).unwrap();
    for round in 0..1100 {
        let mut parts = client.stream("state").unwrap();
        assert_eq!(next(&mut parts), "the state", "round {round}");
        drop(parts);
    }
    assert_eq!(client.call("it goes on").unwrap(), "it goes on");
    drop(serving);
}
