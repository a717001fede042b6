//! What a server shows to tools, on every transport: to whom, how much, and at whose cost.

use crate::common::serving::{Serving, limits};
use crate::common::{Backend, PATIENCE};
use bytes::Bytes;
use msgpipe::monitor::{DESCRIBE, INFO, Monitor, PING, Seen, TAP, TAPS_MAX, What};
use msgpipe::{Client, Error, ErrorReply, Parts, Server};

crate::on_every_transport!(a_ping_does_not_reach_the_handler, reserved_methods_need_a_meaning);
crate::on_named_transports!(
    the_server_says_what_it_counts_and_who_is_there,
    who_looks_on_sees_frames_without_contents,
    contents_are_shown_up_to_what_the_application_says,
    nothing_is_shown_if_the_application_says_so,
    so_many_look_on_and_no_more,
    nobody_waits_for_one_who_looks_on_and_does_not_read,
    a_server_that_stops_waits_for_nobody_who_looks_on,
);

/// Bytes of which the server sends more than one who looks on is sent ahead.
const LARGE: usize = 16 * 1024;

fn serving<B: Backend>(backend: &B, monitor: Monitor) -> Serving {
    let server = backend.serve_calls(&limits()).unwrap();
    Serving::start(server.monitor(monitor), |request, responder| {
        assert!(!msgpipe::monitor::is_reserved(request.method()), "the handler sees it");
        responder.reply(request.into_body());
    })
}

fn client<B: Backend>(backend: &B) -> Client {
    backend.client(&limits()).unwrap()
}

/// Looks on from when this returns.
fn tap(client: &Client) -> Parts {
    let parts = client.with_method(TAP).stream("").unwrap();
    client.call("and wait for it").unwrap();
    parts
}

fn next(parts: &mut Parts) -> Seen {
    let part = parts.next_within(PATIENCE).unwrap().expect("something is seen");
    Seen::decode(part).unwrap()
}

#[track_caller]
fn assert_refused(result: Result<Bytes, Error>, code: u16) {
    let error = result.unwrap_err();
    assert_eq!(error.reply().map(|reply| reply.code), Some(code), "{error}");
    assert!(error.is_not_begun(), "{error}");
}

/// The refusal of a call for parts.
fn refused(client: &Client, method: u32) -> Result<Bytes, Error> {
    let mut parts = client.with_method(method).stream("")?;
    parts.next_within(PATIENCE).map(Option::unwrap_or_default)
}

fn a_ping_does_not_reach_the_handler<B: Backend>() {
    let backend = B::new();
    let _serving = serving(&backend, Monitor::Off);
    let client = client(&backend);
    assert_eq!(client.with_method(PING).call("still there?").unwrap(), "still there?");
    assert_eq!(client.with_method(PING).call("").unwrap(), "");
}

fn reserved_methods_need_a_meaning<B: Backend>() {
    let backend = B::new();
    let _serving = serving(&backend, Monitor::default());
    let client = client(&backend);
    for method in [DESCRIBE, DESCRIBE + 1, u32::MAX] {
        assert_refused(client.with_method(method).call(""), ErrorReply::NO_METHOD);
    }
    assert_eq!(
        client.with_method(PING - 1).call("the application's").unwrap(),
        "the application's"
    );
    drop(client);
}

fn the_server_says_what_it_counts_and_who_is_there<B: Backend>() {
    let backend = B::new();
    let server = backend.serve_calls(&limits()).unwrap().describe("1: echo");
    let _serving = Serving::start(server, |request, responder| {
        responder.reply(request.into_body());
    });
    let client = client(&backend);
    client.call("one").unwrap();
    let info = client.with_method(INFO).call("").unwrap();
    let info = String::from_utf8(info.to_vec()).unwrap();
    let value = |key: &str| {
        let mut found = info.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        let value = found.next().unwrap_or_else(|| panic!("no {key} in {info}"));
        assert_eq!(found.next(), None, "{key} is there once");
        value.to_owned()
    };
    assert_eq!(value("version"), env!("CARGO_PKG_VERSION"));
    assert_eq!(value("pid"), std::process::id().to_string());
    assert_eq!(value("clients"), "1");
    assert_eq!(value("requests_replied"), "1");
    assert_eq!(value("requests_begun"), "1", "this one counts when it is answered");
    assert_eq!(info.lines().filter(|line| line.starts_with("client.")).count(), 1, "{info}");
    assert_eq!(client.with_method(DESCRIBE).call("").unwrap(), "1: echo");
}

fn who_looks_on_sees_frames_without_contents<B: Backend>() {
    let backend = B::new();
    let _serving = serving(&backend, Monitor::default());
    let looker = client(&backend);
    let mut seen = tap(&looker);
    let other = client(&backend);
    assert_eq!(other.with_method(7).call("a secret").unwrap(), "a secret");
    drop(other);
    let mut all = Vec::new();
    loop {
        let it = next(&mut seen);
        all.push(it.what.clone());
        if matches!(it.what, What::Closed(_)) {
            assert_eq!(it.number as usize + 1, all.len(), "nothing was dropped");
            break;
        }
    }
    assert!(matches!(all[0], What::Connected(_)), "{all:?}");
    let requests = all.iter().filter_map(|what| match what {
        What::FromClient(frame) if frame.kind == 1 => Some(frame),
        _ => None,
    });
    let requests: Vec<_> = requests.collect();
    assert_eq!(requests.len(), 1, "{all:?}");
    assert_eq!((requests[0].first, requests[0].size), (7, 16 + 8));
    let replies = all.iter().filter(|what| match what {
        What::ToClient(frame) => frame.kind == 2 && frame.id == requests[0].id && frame.size == 24,
        _ => false,
    });
    assert_eq!(replies.count(), 1, "{all:?}");
    let shown = all.iter().map(|what| match what {
        What::FromClient(frame) | What::ToClient(frame) => frame.rest.len(),
        _ => 0,
    });
    assert_eq!(shown.max(), Some(0), "{all:?}");
}

fn contents_are_shown_up_to_what_the_application_says<B: Backend>() {
    let backend = B::new();
    for (most, shown) in [(0, ""), (7, "a secre"), (8, "a secret"), (9, "a secret")] {
        let _serving = serving(&backend, Monitor::Bodies(most));
        let looker = client(&backend);
        let mut seen = tap(&looker);
        client(&backend).call("a secret").unwrap();
        let rest = loop {
            if let What::FromClient(frame) = next(&mut seen).what {
                if frame.kind == 1 {
                    break frame.rest;
                }
            }
        };
        assert_eq!(rest, shown, "{most}");
    }
}

fn nothing_is_shown_if_the_application_says_so<B: Backend>() {
    let backend = B::new();
    let _serving = serving(&backend, Monitor::Off);
    let client = client(&backend);
    assert_refused(client.with_method(INFO).call(""), ErrorReply::NOT_ALLOWED);
    assert_refused(refused(&client, TAP), ErrorReply::NOT_ALLOWED);
}

fn so_many_look_on_and_no_more<B: Backend>() {
    let backend = B::new();
    let _serving = serving(&backend, Monitor::default());
    let clients: Vec<Client> = (0..TAPS_MAX + 1).map(|_| client(&backend)).collect();
    let mut taps: Vec<Parts> = clients[..TAPS_MAX].iter().map(tap).collect();
    let last = &clients[TAPS_MAX];
    assert_refused(refused(last, TAP), ErrorReply::BUSY);
    taps.pop();
    // The cancel is on its way on another connection.
    while let Err(error) = refused_or_taken(last) {
        assert_eq!(error.reply().map(|reply| reply.code), Some(ErrorReply::BUSY), "{error}");
    }
}

/// Looks on, until something is seen.
fn refused_or_taken(client: &Client) -> Result<(), Error> {
    let mut parts = client.with_method(TAP).stream("")?;
    // Its own connection is hidden only once it looks on: the answer to this is the refusal or nothing.
    client.call("")?;
    match parts.try_next() {
        Some(Err(error)) => Err(error),
        _ => Ok(()),
    }
}

fn nobody_waits_for_one_who_looks_on_and_does_not_read<B: Backend>() {
    let backend = B::new();
    let _serving = serving(&backend, Monitor::Bodies(LARGE));
    let looker = client(&backend);
    let mut seen = tap(&looker);
    let other = client(&backend);
    let body = vec![7; LARGE];
    for _ in 0..200 {
        assert!(other.call(&body).unwrap() == body, "another reply");
    }
    let mut last = next(&mut seen).number;
    let gap = loop {
        let number = next(&mut seen).number;
        if number != last + 1 {
            break number - last;
        }
        last = number;
        other.call("more is seen once there is room").unwrap();
    };
    assert!(gap > 1, "what was dropped is missed");
}

fn a_server_that_stops_waits_for_nobody_who_looks_on<B: Backend>() {
    let backend = B::new();
    let mut long = limits();
    long.drain = 10 * PATIENCE;
    let server: Server<_> = backend.serve_calls(&long).unwrap();
    let serving = Serving::start(server, |request, responder| {
        responder.reply(request.into_body());
    });
    let looker = client(&backend);
    let mut seen = tap(&looker);
    serving.stopper().stop();
    while let Ok(Some(_)) = seen.next_within(PATIENCE) {}
    drop(serving);
}
