//! What Prometheus is told of a server.

use msgpipe::{Client, ErrorReply, Limits, Server, memory};
use msgpipe_prometheus::ServerMetrics;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use std::thread;

#[test]
fn requests_are_counted_by_their_end_and_timed_by_their_method() {
    let hub = memory::Hub::new();
    let limits = Limits::default();
    let server =
        Server::over(hub.listen_for_calls("test", limits.clone()).unwrap(), limits.clone());
    let metrics = ServerMetrics::new(server.counters()).with_methods([
        (1, "one"),
        (2, "two"),
        (3, "two"),
        (4, "other"),
    ]);
    let server = metrics.observe(server);
    let mut registry = Registry::default();
    registry.register_collector(Box::new(metrics));
    let stopper = server.stopper();
    let serving = thread::spawn(move || {
        server.serve(|request| match request.method() {
            9 => Err(ErrorReply::new(100, "no")),
            _ => Ok(request.into_body()),
        })
    });
    let client = Client::over(Box::new(hub.connect("test").unwrap()), "test", limits);
    for method in [1, 1, 7, 8] {
        client.with_method(method).call("x").unwrap();
    }
    client.with_method(9).call("x").unwrap_err();
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    for line in [
        "msgpipe_clients 1",
        "msgpipe_connections_total 1",
        "msgpipe_requests_total{end=\"replied\"} 4",
        "msgpipe_requests_total{end=\"failed\"} 1",
        "msgpipe_requests_open 0",
        "msgpipe_request_seconds_count{method=\"one\"} 2",
        "msgpipe_request_seconds_count{method=\"two\"} 0",
        // However many numbers clients make up.
        "msgpipe_request_seconds_count{method=\"other\"} 3",
        "# TYPE msgpipe_memory_bytes gauge",
    ] {
        assert!(text.lines().any(|it| it == line), "{line} is not in {text}");
    }
    let limits = text.lines().filter(|line| line.starts_with("msgpipe_request_seconds_bucket"));
    assert_eq!(limits.count(), 3 * 15, "{text}");
    stopper.stop();
    serving.join().unwrap().unwrap();
}
