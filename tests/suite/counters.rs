//! What servers and clients count, on every transport.

use crate::common::serving::{Serving, limits};
use crate::common::{Backend, PATIENCE, pattern};
use msgpipe::{
    CallCounts, CallEnd, Client, ClientCounts, Counters, ErrorReply, Responder, ServerCounts,
    ServerMessage, Topic, WhenFull, Workers,
};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

crate::on_every_transport!(
    each_call_is_counted_once_by_both_sides,
    both_sides_count_the_same_traffic,
    calls_of_the_server_are_counted,
    refused_requests_are_not_begun,
    what_waits_for_workers_is_counted,
    notifications_and_dropped_messages_are_counted,
    memory_is_what_is_held,
    slow_calls_are_told_with_their_end,
);

/// Waits until the server's counters are as wanted: its loop may be a step behind its client.
fn until(counters: &Counters, is_wanted: impl Fn(&ServerCounts) -> bool) -> ServerCounts {
    let late = Instant::now() + PATIENCE;
    loop {
        let counts = counters.read();
        if is_wanted(&counts) {
            return counts;
        }
        assert!(Instant::now() < late, "{counts:?}");
        thread::yield_now();
    }
}

/// Begun, replied, failed, cancelled, late and closed.
fn list(calls: CallCounts) -> [u64; 6] {
    let CallCounts { begun, replied, failed, cancelled, late, closed, .. } = calls;
    assert_eq!((calls.ended(), calls.open()), (replied + failed + cancelled + late + closed, 0));
    [begun, replied, failed, cancelled, late, closed]
}

/// A handler that does what the request says.
fn obey(body: &[u8], responder: Responder, keep: &mpsc::Sender<Responder>) {
    match body {
        b"fail" => responder.reply(Err::<String, _>(ErrorReply::new(500, "as you wish"))),
        b"forget" => drop(responder),
        b"keep" => keep.send(responder).unwrap(),
        b"parts" => {
            let mut parts = responder.into_parts();
            parts.send("one").unwrap();
            parts.finish();
        }
        b"broken parts" => drop(responder.into_parts()),
        b"too large" => responder.reply(vec![7; 2000]),
        other => responder.reply(other.to_vec()),
    }
}

fn each_call_is_counted_once_by_both_sides<B: Backend>() {
    let backend = B::new();
    let server = backend.serve_calls(&limits()).unwrap();
    let counters = server.counters();
    let (keep, kept) = mpsc::channel();
    let _serving = Serving::start(server, move |request, responder| {
        obey(&request.body(), responder, &keep);
    });
    let mut small = limits();
    small.message = 1000;
    let client = backend.client(&small).unwrap();
    client.call("reply").unwrap();
    client.start("reply").unwrap().wait().unwrap();
    assert_eq!(client.stream("parts").unwrap().count(), 1);
    for fails in ["fail", "forget", "too large"] {
        client.call(fails).unwrap_err();
    }
    assert!(client.stream("broken parts").unwrap().next().unwrap().is_err());
    // Cancelled twice by the client, once by a deadline, twice by its end.
    client.start("keep").unwrap().cancel();
    drop(client.stream("keep").unwrap());
    client.with_timeout(Duration::from_millis(20)).call("keep").unwrap_err();
    let wait = |_| kept.recv_timeout(PATIENCE).unwrap();
    let kept: Vec<_> = (0..3).map(wait).collect();
    until(&counters, |counts| counts.requests.ended() == 10);
    drop(kept); // an answer that nobody waits for
    let open = [client.start("keep").unwrap(), client.start("keep").unwrap()];
    let counts = until(&counters, |counts| counts.requests.begun == 12);
    assert_eq!((counts.requests.open(), client.counts().calls.open()), (2, 2));
    client.close();
    let counts = until(&counters, |counts| counts.closed == 1);
    let wanted = [12, 3, 4, 2, 1, 2];
    assert_eq!(list(client.counts().calls), wanted);
    // At a deadline the client's cancel may be faster than the server's clock.
    let [begun, replied, failed, cancelled, late, closed] = list(counts.requests);
    assert_eq!([begun, replied, failed, cancelled + late, closed], [12, 3, 4, 3, 2]);
    drop(open);
    assert_eq!(list(client.counts().calls), wanted, "nothing ends twice");
    assert_eq!((counts.connected, counts.refused), (1, 0));
}

fn both_sides_count_the_same_traffic<B: Backend>() {
    let backend = B::new();
    let server = backend.serve_calls(&limits()).unwrap();
    let counters = server.counters();
    let stopper = server.stopper();
    let serving = thread::spawn(move || server.serve(|request| request.into_body()).unwrap());
    let client = backend.client(&limits()).unwrap();
    for size in [0, 1, 5_000, 100_000, 3 << 20] {
        assert_eq!(client.call(pattern(size, 1)).unwrap().len(), size);
    }
    let counts = counters.read();
    assert_eq!(list(counts.requests), [5, 5, 0, 0, 0, 0]);
    let ClientCounts { sent, received, .. } = client.counts();
    assert!(sent.bytes > 3 << 20 && sent.messages > 5, "{sent:?}");
    // Grants of credit may be on their way.
    let both = until(&counters, |it| it.received == sent && it.sent.bytes >= received.bytes);
    assert!(both.sent.bytes - received.bytes < 100, "{both:?}");
    stopper.stop();
    serving.join().unwrap();
    assert_eq!(counters.read().closed, 1, "also after the end");
}

fn calls_of_the_server_are_counted<B: Backend>() {
    let backend = B::new();
    let server = backend.serve_calls(&limits()).unwrap();
    let counters = server.counters();
    let (give, clients) = mpsc::channel();
    let server = server.on_connected(move |client| give.send(client.clone()).unwrap());
    let _serving = Serving::start(server, |_, responder| responder.reply(""));
    let client = backend.client(&limits()).unwrap();
    let connection = clients.recv_timeout(PATIENCE).unwrap();
    let mut incoming = client.incoming().unwrap();
    let mut next = || match incoming.next_within(PATIENCE).unwrap() {
        ServerMessage::Request(request) => request,
        other => panic!("{other:?}"),
    };
    let calls: Vec<_> = (0..4).map(|_| connection.start("ask").unwrap()).collect();
    let waiting = || client.counts().waiting;
    next().reply("told");
    next().reply(Err::<String, _>(ErrorReply::new(404, "no")));
    drop(next());
    client.call("").unwrap();
    assert_eq!(waiting(), 1);
    drop(calls); // the last one is cancelled
    until(&counters, |counts| counts.calls.ended() == 4);
    client.call("").unwrap();
    let taken = incoming.try_next().unwrap();
    assert!(taken.is_none(), "{taken:?}");
    connection.with_timeout(Duration::from_millis(20)).call("late").unwrap_err();
    let open = connection.start("closed").unwrap();
    let counts = until(&counters, |counts| counts.calls.begun == 6);
    assert_eq!(counts.calls.open(), 1);
    client.close();
    assert!(open.wait().is_err());
    let calls = until(&counters, |counts| counts.calls.open() == 0).calls;
    // What was dropped may have been answered before.
    assert_eq!((calls.begun, calls.replied + calls.cancelled + calls.failed), (6, 4));
    assert_eq!((calls.late, calls.closed), (1, 1));
    assert_eq!(list(client.counts().requests), [3, 1, 2, 0, 0, 0]);
}

fn refused_requests_are_not_begun<B: Backend>() {
    let backend = B::new();
    let server = backend.serve_calls(&limits().with_in_flight(1)).unwrap();
    let counters = server.counters();
    let (keep, kept) = mpsc::channel();
    let _serving = Serving::start(server, move |_, responder| keep.send(responder).unwrap());
    let client = backend.client(&limits()).unwrap();
    let first = client.start("held").unwrap();
    assert!(client.call("one too many").unwrap_err().is_not_begun());
    let counts = until(&counters, |counts| counts.refused > 0);
    assert_eq!((counts.refused, counts.requests.begun, counts.requests.open()), (1, 1, 1));
    kept.recv_timeout(PATIENCE).unwrap().reply("");
    first.wait().unwrap();
    assert_eq!(list(client.counts().calls), [2, 1, 1, 0, 0, 0]);
}

fn what_waits_for_workers_is_counted<B: Backend>() {
    let backend = B::new();
    let server = backend.serve_calls(&limits()).unwrap();
    let counters = server.counters();
    assert_eq!(counters.read(), ServerCounts::default());
    let (go, gone) = mpsc::channel::<()>();
    let gone = std::sync::Mutex::new(gone);
    let _serving = Serving::workers(server, Workers::new().threads(1), move |_, responder| {
        gone.lock().unwrap().recv().unwrap();
        responder.reply("");
    });
    let client = backend.client(&limits()).unwrap();
    let calls: Vec<_> = (0..4).map(|_| client.start("").unwrap()).collect();
    let counts = until(&counters, |counts| counts.waiting == 3 && counts.requests.begun == 4);
    assert_eq!(counts.requests.open(), 4);
    (0..4).for_each(|_| go.send(()).unwrap());
    calls.into_iter().for_each(|call| assert!(call.wait().is_ok()));
    assert_eq!(until(&counters, |counts| counts.requests.open() == 0).waiting, 0);
}

fn notifications_and_dropped_messages_are_counted<B: Backend>() {
    let backend = B::new();
    let topic = Topic::new(WhenFull::DropNewest);
    let server = backend.serve_calls(&limits()).unwrap();
    let counters = server.counters();
    let (give, clients) = mpsc::channel();
    let server = server.on_connected(move |client| give.send(client.clone()).unwrap());
    let subscribing = topic.clone();
    let _serving = Serving::start(server, move |request, responder| match &request.body()[..] {
        b"subscribe" => subscribing.subscribe(responder),
        _ => responder.reply(""),
    });
    let client = backend.client(&limits()).unwrap();
    let _incoming = client.incoming().unwrap();
    let connection = clients.recv_timeout(PATIENCE).unwrap();
    (0..3).for_each(|_| connection.notify("news").unwrap());
    (0..2).for_each(|_| client.notify("done").unwrap());
    client.call("both have sent").unwrap();
    let counts = until(&counters, |counts| counts.notifications_sent == 3);
    assert_eq!(counts.notifications_received, 2);
    while client.counts().notifications_received < 3 {
        client.call("they arrive").unwrap();
    }
    let counts = client.counts();
    assert_eq!((counts.notifications_sent, counts.waiting), (2, 3));
    let _subscription = client.stream("subscribe").unwrap();
    client.call("it has subscribed").unwrap();
    let mut dropped = 0;
    while dropped < 3 {
        dropped += topic.publish(vec![7; 100_000]).dropped as u64;
    }
    assert_eq!(counters.read().dropped, 3);
}

fn memory_is_what_is_held<B: Backend>() {
    let backend = B::new();
    let server = backend.serve_calls(&limits()).unwrap();
    let counters = server.counters();
    let (keep, kept) = mpsc::channel();
    let _serving = Serving::start(server, move |_, responder| keep.send(responder).unwrap());
    let client: Client = backend.client(&limits()).unwrap();
    let call = client.start(pattern(100_000, 1)).unwrap();
    let responder = kept.recv_timeout(PATIENCE).unwrap();
    let counts = until(&counters, |counts| counts.memory > 0);
    assert!((100_000..400_000).contains(&counts.memory), "{counts:?}");
    responder.reply("");
    call.wait().unwrap();
    until(&counters, |counts| counts.memory == 0);
}

fn slow_calls_are_told_with_their_end<B: Backend>() {
    for limit in [Duration::ZERO, 10 * PATIENCE] {
        let backend = B::new();
        let server = backend.serve_calls(&limits()).unwrap();
        let (tell, told) = mpsc::channel();
        let server = server.on_slow_call(limit, move |call| {
            tell.send((call.connection.id(), call.method, call.end, call.took)).unwrap();
            panic!("a hook's panic ends nothing");
        });
        let counters = server.counters();
        let (keep, kept) = mpsc::channel();
        let serving = Serving::start(server, move |request, responder| {
            obey(&request.body(), responder, &keep);
        });
        let client = backend.client(&limits()).unwrap();
        client.with_method(7).call("reply").unwrap();
        client.with_method(8).call("fail").unwrap_err();
        client.with_method(9).start("keep").unwrap().cancel();
        let responder = kept.recv_timeout(PATIENCE).unwrap();
        until(&counters, |counts| counts.requests.ended() == 3);
        drop((responder, client));
        until(&counters, |counts| counts.closed == 1);
        drop(serving);
        let told: Vec<_> = told.try_iter().collect();
        assert!(told.iter().all(|(.., took)| *took >= limit && *took < PATIENCE));
        let told: Vec<_> = told.into_iter().map(|(_, method, end, _)| (method, end)).collect();
        let all = [(7, CallEnd::Replied), (8, CallEnd::Failed), (9, CallEnd::Cancelled)];
        assert_eq!(told, if limit.is_zero() { &all[..] } else { &[] });
    }
    // A handler that answers at once.
    let backend = B::new();
    let (tell, told) = mpsc::channel();
    let server = backend.serve_calls(&limits()).unwrap();
    let stopper = server.stopper();
    let server = server.on_slow_call(Duration::ZERO, move |call| {
        tell.send((call.method, call.end)).unwrap();
    });
    let serving = thread::spawn(move || {
        server.serve(|request| match &request.body()[..] {
            b"fail" => Err(ErrorReply::new(500, "as you wish")),
            _ => Ok("done"),
        })
    });
    let client = backend.client(&limits()).unwrap();
    client.with_method(1).call("").unwrap();
    client.with_method(2).call("fail").unwrap_err();
    stopper.stop();
    serving.join().unwrap().unwrap();
    let told: Vec<_> = told.try_iter().collect();
    assert_eq!(told, [(1, CallEnd::Replied), (2, CallEnd::Failed)]);
}
