//! Counters: the async client counts what the blocking one does.

use super::common::{FAIL, HOLD, NOTIFY, PARTS, Seen, Serving, limits, on_each, within};
use msgpipe::{Client, ClientCounts};
use std::time::Duration;

/// What the number of reads and writes does not change.
fn steady(counts: &ClientCounts) -> impl PartialEq + std::fmt::Debug {
    let ClientCounts { calls, requests, notifications_received, notifications_sent, .. } = *counts;
    (calls, requests, notifications_received, notifications_sent, counts.waiting)
}

fn blocking(name: &str) -> ClientCounts {
    let client = msgpipe::ClientOptions::new().limits(limits()).connect(name).unwrap();
    client.call("hello").unwrap();
    client.with_method(FAIL).call("").unwrap_err();
    let late = client.with_method(HOLD).with_timeout(Duration::from_millis(20));
    late.call("late").unwrap_err();
    client.with_method(HOLD).start("cancelled").unwrap().cancel();
    for part in client.with_method(PARTS).stream("3").unwrap() {
        part.unwrap();
    }
    client.notify("heard").unwrap();
    let _listening: msgpipe::Incoming = client.incoming().unwrap();
    client.with_method(NOTIFY).call("2").unwrap();
    let _open = client.with_method(HOLD).start("open").unwrap();
    Client::counts(&client)
}

#[test]
fn the_counts_are_those_of_the_blocking_client() {
    on_each(|| async {
        let serving = Serving::start();
        let name = serving.name.clone();
        let expected = within(tokio::task::spawn_blocking(move || blocking(&name))).await.unwrap();
        let client = serving.client().await;
        client.call("hello").await.unwrap();
        client.with_method(FAIL).call("").await.unwrap_err();
        let late = client.with_method(HOLD).with_timeout(Duration::from_millis(20));
        late.call("late").await.unwrap_err();
        client.with_method(HOLD).start("cancelled").await.unwrap().cancel();
        let mut parts = client.with_method(PARTS).stream("3").await.unwrap();
        while let Some(part) = parts.next().await {
            part.unwrap();
        }
        client.notify("heard").await.unwrap();
        let _listening = client.incoming().unwrap();
        client.with_method(NOTIFY).call("2").await.unwrap();
        let _open = client.with_method(HOLD).start("open").await.unwrap();
        let counts = client.counts();
        assert_eq!(steady(&counts), steady(&expected));
        assert_eq!((counts.calls.begun, counts.calls.open(), counts.waiting), (7, 1, 2));
        assert!(counts.sent.bytes > 0 && counts.received.bytes > 0, "{counts:?}");
        while serving.next().await != Seen::Notified(b"heard".to_vec()) {}
    });
}
