//! What the simulation has found, each by the shortest program that shows it.

use msgpipe::memory::{Simulation, World};
use msgpipe::tokio::{Client, ReconnectingClient, Tasks};
use msgpipe::{
    Backoff, ClientOptions, Error, ErrorReply, Limits, Metadata, Received, Responder, Topic,
    WhenFull,
};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

const MESSAGE: usize = 64 << 10;
const CLIENTS: usize = 3;

/// A handler that replies with parts of these sizes, once as many requests have arrived as there are clients.
async fn reply_together<const COUNT: usize>(
    world: World,
    arrived: Rc<Cell<usize>>,
    responder: Responder,
    sizes: [usize; COUNT],
) {
    arrived.set(arrived.get() + 1);
    while arrived.get() < CLIENTS {
        world.pass(Duration::from_millis(1)).await;
    }
    let mut parts = responder.into_parts();
    for size in sizes {
        parts.send_async(vec![1; size]).await.unwrap();
    }
    parts.finish();
}

/// Requests hold memory until the ends of their replies, which wait for memory in parts.
async fn all_memory_is_held_by_requests_with_replies_in_parts(world: World) {
    let limits = Limits::default().with_message(MESSAGE).with_memory(4 * MESSAGE);
    let server = world.server("parts", limits.clone()).unwrap();
    let counters = server.counters();
    let arrived = Rc::new(Cell::new(0));
    world.spawn(server.serve_tasks_deferred(Tasks::new(), move |_, responder| {
        reply_together(world, arrived.clone(), responder, [MESSAGE; 4])
    }));
    let options = ClientOptions::new().limits(limits);
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let client = Client::connect_with("parts", &options).await.unwrap();
        clients.push(world.spawn(async move {
            let mut parts = client.stream(vec![2; MESSAGE]).await.unwrap();
            let mut bytes = 0;
            while let Some(part) = parts.next().await {
                bytes += part.unwrap().len();
            }
            bytes
        }));
    }
    for client in clients {
        let came = world.within(Duration::from_secs(60), client).await;
        assert_eq!(came.flatten(), Some(4 * MESSAGE), "{:?}", counters.read());
    }
    world.pass(Duration::from_secs(60)).await;
    assert_eq!(counters.read().memory, 0);
}

#[test]
fn replies_in_parts_end_although_their_requests_hold_all_memory() {
    for seed in 0..50 {
        let program = all_memory_is_held_by_requests_with_replies_in_parts;
        Simulation::new(seed).run(program).unwrap();
    }
}

/// Requests wait for the memory that others hold until the ends of their replies in parts. Their metadata have come.
async fn requests_wait_beside_replies_in_parts(
    world: World,
    limits: Limits,
    clients: usize,
    sizes: [usize; 2],
) {
    let limits = limits.with_message(MESSAGE).with_memory(4 * MESSAGE);
    let limits = limits.with_call_window(MESSAGE).with_connection_window(4 * MESSAGE);
    let server = world.server("parts", limits.clone()).unwrap();
    let arrived = Rc::new(Cell::new(0));
    world.spawn(server.serve_tasks_deferred(Tasks::new(), move |_, responder| {
        reply_together(world, arrived.clone(), responder, sizes)
    }));
    let options = ClientOptions::new().limits(limits);
    let call = |client: Client| async move {
        let (mut parts, mut bytes) = (client.stream(vec![2; 50_000]).await?, 0);
        while let Some(part) = parts.next().await {
            bytes += part?.len();
        }
        Ok::<usize, Error>(bytes)
    };
    let mut calls = Vec::new();
    for _ in 0..clients {
        let client = Client::connect_with("parts", &options).await.unwrap();
        let client = client.with_metadata(Metadata::default().with(b"of", b"each").unwrap());
        calls.extend((0..6 / clients).map(|_| world.spawn(call(client.clone()))));
    }
    for call in calls {
        match world.within(Duration::from_secs(60), call).await.flatten().expect("it ends") {
            Ok(bytes) => assert_eq!(bytes, sizes.iter().sum::<usize>()),
            Err(error) => assert_eq!(error.reply().unwrap().code, ErrorReply::TOO_MANY_REQUESTS),
        }
    }
}

#[test]
fn replies_in_parts_end_although_requests_wait_beside_them() {
    for seed in 0..50 {
        let program = |world| {
            requests_wait_beside_replies_in_parts(world, Limits::default(), 1, [MESSAGE, 0])
        };
        Simulation::new(seed).run(program).unwrap();
    }
}

/// The second part waits for its turn in the send queue, and a request of the same connection for memory.
#[test]
fn a_connection_waits_for_its_queue_and_for_memory() {
    for seed in 0..500 {
        let limits = Limits::default().with_queued(MESSAGE / 2);
        let program = |world| requests_wait_beside_replies_in_parts(world, limits, 3, [40_000; 2]);
        Simulation::new(seed).run(program).unwrap();
    }
}

/// A subscription whose place has somebody else on the new connection.
async fn the_place_of_a_subscription_is_taken(world: World) {
    let limits = Limits::default().with_in_flight(1);
    let server = world.server("news", limits.clone()).unwrap();
    let topic = Topic::new(WhenFull::Close);
    let (publisher, mut kept) = (topic.clone(), Vec::new());
    world.spawn(server.serve_tasks_deferred(Tasks::new(), move |request, responder| {
        match request.method() {
            0 => topic.subscribe(responder),
            _ => kept.push(responder),
        }
        async {}
    }));
    let options = ClientOptions::new().limits(limits);
    let client = ReconnectingClient::new("news", &options, Backoff::new()).unwrap();
    let mut news = client.subscribe("").await.unwrap();
    world.pass(Duration::from_millis(1)).await;
    publisher.publish("one");
    assert!(matches!(news.next().await, Some(Ok(Received::Part(part))) if part == "one"));
    world.connections("news").iter().for_each(|connection| connection.reset());
    world.pass(Duration::from_millis(1)).await;
    let other = client.client().await.unwrap().with_method(1).start("").await.unwrap();
    let ended = news.next().await;
    assert!(matches!(ended, Some(Err(Error::TooManyCalls { .. }))), "{ended:?}");
    assert!(news.next().await.is_none());
    drop(other);
}

#[test]
fn a_subscription_ends_that_has_no_place_on_the_new_connection() {
    for seed in 0..50 {
        Simulation::new(seed).run(the_place_of_a_subscription_is_taken).unwrap();
    }
}
