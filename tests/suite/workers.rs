//! Workers: whose turn it is, full queues, cancelled requests, on every transport.

use crate::common::serving::{Serving, limits};
use crate::common::{Backend, PATIENCE, pattern};
use msgpipe::{Call, Client, Error, ErrorReply, MessageServer, Server, Workers};
use std::collections::HashSet;
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

crate::on_every_transport!(
    what_a_free_worker_takes_does_not_wait,
    a_cancelled_request_is_not_begun_and_leaves_its_place,
    a_worker_does_not_begin_what_was_cancelled,
    there_is_at_least_one_worker_and_one_place,
);
crate::on_named_transports!(
    who_sends_many_requests_does_not_delay_who_sends_few,
    the_queue_of_a_connection_has_a_limit,
    the_queue_of_all_has_a_limit_and_who_has_most_makes_room,
    a_request_whose_time_is_over_is_not_begun,
    who_has_gone_leaves_neither_requests_nor_memory,
    the_loop_goes_on_while_all_workers_are_blocked,
);

/// The other end of handlers, each of which waits until it may go on.
struct Held {
    begun: mpsc::Receiver<String>,
    go: mpsc::Sender<()>,
}

impl Held {
    /// The next request that is begun.
    #[track_caller]
    fn next(&self) -> String {
        self.begun.recv_timeout(PATIENCE).expect("a request is begun")
    }

    /// So many handlers, any of them, may go on.
    fn go(&self, count: usize) {
        (0..count).for_each(|_| self.go.send(()).unwrap());
    }
}

/// A server with workers that echo when they may.
fn holding<M: MessageServer + Send + 'static>(
    server: Server<M>,
    workers: Workers,
) -> (Serving, Held) {
    let (tell, begun) = mpsc::channel();
    let (go, may_go) = mpsc::channel::<()>();
    let may_go = Mutex::new(may_go);
    let serving = Serving::workers(server, workers, move |request, responder| {
        let body = request.into_body();
        let _ = tell.send(String::from_utf8_lossy(&body[..body.len().min(9)]).into_owned());
        // It fails once the test is over.
        let _ = may_go.lock().map(|may_go| may_go.recv());
        responder.reply(body);
    });
    (serving, Held { begun, go })
}

fn client<B: Backend>(backend: &B) -> Client {
    backend.client(&limits()).unwrap()
}

fn start(client: &Client, name: &str, count: usize) -> Vec<Call> {
    (0..count).map(|at| client.start(format!("{name}{at}")).unwrap()).collect()
}

/// Waits for an error, which says that the server is busy and that the request was not begun.
#[track_caller]
fn is_busy(call: Call, limit: &str) {
    let error = call.wait().unwrap_err();
    let reply = error.reply().unwrap_or_else(|| panic!("{error}"));
    assert_eq!(reply.code, ErrorReply::BUSY, "{reply}");
    assert!(error.is_not_begun() && reply.text.contains(limit), "{reply}");
}

fn who_sends_many_requests_does_not_delay_who_sends_few<B: Backend>() {
    let backend = B::new();
    let server = backend.serve_calls(&limits()).unwrap();
    let (_serving, held) = holding(server, Workers::new().threads(1).queue(200));
    let (many, few) = (client(&backend), client(&backend));
    let first = many.start("first").unwrap();
    assert_eq!(held.next(), "first");
    // The one too many shows that those before it are in the queue.
    let mut calls = start(&many, "many", 201);
    is_busy(calls.pop().unwrap(), "Workers::queue)");
    let mut others = start(&few, "few", 201);
    is_busy(others.pop().unwrap(), "Workers::queue)");
    held.go(401);
    let order: Vec<String> = (0..400).map(|_| held.next()).collect();
    for (at, pair) in order.chunks(2).enumerate() {
        assert_eq!(pair, [format!("many{at}"), format!("few{at}")]);
    }
    for call in calls.into_iter().chain(others).chain([first]) {
        call.wait().unwrap();
    }
}

fn the_queue_of_a_connection_has_a_limit<B: Backend>() {
    const LIMIT: usize = 3;
    let backend = B::new();
    let server = backend.serve_calls(&limits()).unwrap();
    let (_serving, held) = holding(server, Workers::new().threads(1).queue(LIMIT));
    let (client, other) = (client(&backend), client(&backend));
    for count in [LIMIT - 1, LIMIT, LIMIT + 1] {
        let running = client.start("running").unwrap();
        assert_eq!(held.next(), "running");
        let mut calls = start(&client, "waits", count);
        if count > LIMIT {
            is_busy(calls.pop().unwrap(), "3 requests of this connection");
        }
        // Another connection has its own queue.
        let others = start(&other, "other", 1);
        let waiting = calls.len();
        held.go(1 + waiting + 1);
        let begun: HashSet<String> = (0..=waiting).map(|_| held.next()).collect();
        assert_eq!(begun.len(), waiting + 1, "each is begun once: {begun:?}");
        for (at, call) in calls.into_iter().enumerate() {
            assert_eq!(call.wait().unwrap(), format!("waits{at}"));
        }
        assert_eq!(running.wait().unwrap(), "running");
        assert!(others.into_iter().all(|call| call.wait().is_ok()));
    }
}

fn what_a_free_worker_takes_does_not_wait<B: Backend>() {
    let backend = B::new();
    let server = backend.serve_calls(&limits()).unwrap();
    let (_serving, held) = holding(server, Workers::new().threads(2).queue(1).queue_in_all(1));
    let client = client(&backend);
    // At once: two are taken and one waits, however fast the threads are.
    let mut batch = client.batch();
    for body in ["a", "b", "c", "d"] {
        batch.add(body);
    }
    let mut calls = batch.send().unwrap();
    is_busy(calls.pop().unwrap(), "Workers::queue)");
    held.go(3);
    for (call, body) in calls.into_iter().zip(["a", "b", "c"]) {
        assert_eq!(call.wait().unwrap(), body);
    }
}

fn the_queue_of_all_has_a_limit_and_who_has_most_makes_room<B: Backend>() {
    const LIMIT: usize = 4;
    let backend = B::new();
    let server = backend.serve_calls(&limits()).unwrap();
    let (_serving, held) = holding(server, Workers::new().threads(1).queue_in_all(LIMIT));
    let (many, few) = (client(&backend), client(&backend));
    for count in [LIMIT - 1, LIMIT, LIMIT + 1] {
        let mut calls = start(&many, "first", 1);
        held.next();
        calls.extend(start(&many, "many", count));
        if count > LIMIT {
            is_busy(calls.pop().unwrap(), "4 requests of all clients");
        }
        // Who has none displaces the newest of who has most, until it has nearly as many.
        let mut others = start(&few, "few", 3);
        let refused = others.pop().unwrap();
        let displaced = if count < LIMIT { 1 } else { 2 };
        for _ in 0..displaced {
            is_busy(calls.pop().unwrap(), "Workers::queue_in_all)");
        }
        is_busy(refused, "Workers::queue_in_all)");
        held.go(1 + LIMIT);
        (0..LIMIT).for_each(|_| drop(held.next()));
        assert_eq!(calls.len() + others.len(), 1 + LIMIT);
        for call in calls.into_iter().chain(others) {
            call.wait().unwrap();
        }
    }
}

fn a_cancelled_request_is_not_begun_and_leaves_its_place<B: Backend>() {
    let backend = B::new();
    let server = backend.serve_calls(&limits()).unwrap();
    let (_serving, held) = holding(server, Workers::new().threads(1).queue(2));
    let client = client(&backend);
    let running = client.start("running").unwrap();
    assert_eq!(held.next(), "running");
    drop(start(&client, "cancelled", 2));
    let mut kept = start(&client, "kept", 3);
    is_busy(kept.pop().unwrap(), "Workers::queue)");
    held.go(2);
    assert_eq!((held.next(), held.next()), ("kept0".into(), "kept1".into()));
    held.go(1);
    for call in kept.into_iter().chain([running]) {
        call.wait().unwrap();
    }
}

/// There is room in the queue, so that it stays there until a worker takes it.
fn a_worker_does_not_begin_what_was_cancelled<B: Backend>() {
    let backend = B::new();
    let mut few = limits();
    few.in_flight = 3;
    let (_serving, held) = holding(backend.serve_calls(&few).unwrap(), Workers::new().threads(1));
    let client = client(&backend);
    let running = client.start("running").unwrap();
    assert_eq!(held.next(), "running");
    drop(start(&client, "cancelled", 1));
    let last = client.start("last").unwrap();
    // It shows that the server has read what was sent before.
    let error = client.call("one too many").unwrap_err();
    assert_eq!(error.reply().map(|it| it.code), Some(ErrorReply::TOO_MANY_REQUESTS), "{error}");
    held.go(2);
    assert_eq!(held.next(), "last");
    for call in [running, last] {
        call.wait().unwrap();
    }
}

/// The loop is held up by a hook, so that nobody but the worker looks at the time.
fn a_request_whose_time_is_over_is_not_begun<B: Backend>() {
    const TIME: Duration = Duration::from_millis(20);
    let backend = B::new();
    let (tell, in_hook) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let mut clients = 0;
    let server = backend.serve_calls(&limits()).unwrap().on_connected(move |_| {
        clients += 1;
        if clients == 2 {
            tell.send(()).unwrap();
            let _ = may_go_on.recv();
        }
    });
    let (_serving, held) = holding(server, Workers::new().threads(1).queue(1));
    let go_on = go_on; // dropped before the server, which would wait for the hook
    let first = client(&backend);
    let running = first.start("running").unwrap();
    assert_eq!(held.next(), "running");
    // Nobody waits for it, so nobody cancels it.
    let late = first.with_timeout(TIME).start("late").unwrap();
    let refused = first.start("one too many").unwrap();
    is_busy(refused, "Workers::queue)");
    // The server has read it before now.
    let read = Instant::now();
    let _second = client(&backend);
    in_hook.recv_timeout(PATIENCE).unwrap();
    while read.elapsed() <= TIME {
        thread::yield_now();
    }
    held.go(2);
    let after = first.start("in time").unwrap();
    // It would be begun before the next one, and while the loop stands.
    assert!(held.begun.recv_timeout(TIME).is_err(), "it was begun");
    go_on.send(()).unwrap();
    assert_eq!(held.next(), "in time");
    assert_eq!(
        (running.wait().unwrap(), after.wait().unwrap()),
        ("running".into(), "in time".into())
    );
    assert!(late.wait().is_err());
}

fn who_has_gone_leaves_neither_requests_nor_memory<B: Backend>() {
    const SIZE: usize = 60_000;
    let backend = B::new();
    let mut small = limits();
    (small.message, small.memory) = (64 * 1024, 256 * 1024);
    let (tell, gone) = mpsc::channel();
    let server = backend.serve_calls(&small).unwrap();
    let server = server.on_closed(move |connection, _| tell.send(connection.id()).unwrap());
    let (_serving, held) = holding(server, Workers::new().threads(1).queue(10));
    let patient = client(&backend);
    let running = patient.start("running").unwrap();
    assert_eq!(held.next(), "running");
    // Half of the memory of the server, again and again: with more of it a pipe is not read, and its end not noticed.
    for _ in 0..5 {
        let greedy = client(&backend);
        let calls: Vec<_> = (0..2).map(|_| greedy.start(pattern(SIZE, 1)).unwrap()).collect();
        greedy.close();
        drop(calls);
        drop(greedy);
        gone.recv_timeout(PATIENCE).unwrap();
    }
    let large = patient.start(pattern(SIZE, 2)).unwrap();
    held.go(2);
    assert!(large.wait().unwrap() == pattern(SIZE, 2), "another reply");
    assert_eq!(running.wait().unwrap(), "running");
    held.next();
    assert!(held.begun.try_recv().is_err(), "a request of nobody was begun");
}

/// All handlers hang, and a request waits: the loop refuses, accepts and answers as before.
fn the_loop_goes_on_while_all_workers_are_blocked<B: Backend>() {
    let backend = B::new();
    let server = backend.serve_calls(&limits()).unwrap();
    let (_serving, held) = holding(server, Workers::new().threads(2).queue(1));
    let first = client(&backend);
    let running = start(&first, "running", 2);
    assert_ne!(held.next(), held.next());
    let mut waiting = start(&first, "waits", 1);
    for at in 0..100 {
        is_busy(first.start("one too many").unwrap(), "Workers::queue)");
        if at % 10 == 0 {
            let newcomer = client(&backend);
            waiting.extend(start(&newcomer, "new", 1));
            is_busy(newcomer.start("one too many").unwrap(), "Workers::queue)");
        }
    }
    let count = waiting.len();
    held.go(2 + count);
    for call in running.into_iter().chain(waiting) {
        call.wait().unwrap();
    }
}

fn there_is_at_least_one_worker_and_one_place<B: Backend>() {
    let backend = B::new();
    let server = backend.serve_calls(&limits()).unwrap();
    let (_serving, held) = holding(server, Workers::new().threads(0).queue(0).queue_in_all(0));
    let client = client(&backend);
    let running = client.start("running").unwrap();
    assert_eq!(held.next(), "running");
    let waiting = client.start("waits").unwrap();
    is_busy(client.start("one too many").unwrap(), "1 requests of this connection");
    held.go(2);
    assert_eq!(
        (running.wait().unwrap(), waiting.wait().unwrap()),
        ("running".into(), "waits".into())
    );
    assert!(matches!(client.with_timeout(Duration::ZERO).call(""), Err(Error::Deadline { .. })));
}
