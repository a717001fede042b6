//! Servers with workers that stop: what was accepted is carried out, once, on every transport.

use crate::common::serving::{Serving, limits};
use crate::common::{Backend, PATIENCE};
use msgpipe::{Error, Limits, Request, Responder, Server, Workers};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

crate::on_every_transport!(
    what_waits_is_carried_out_before_the_server_ends,
    what_waits_at_the_end_of_the_drain_is_not_begun,
    a_handler_that_does_not_end_holds_up_nobody,
    a_server_waits_for_handlers_that_have_answered,
);
crate::on_named_transports!(restarts_under_load_lose_nothing_and_run_nothing_twice,);

/// Serves on one worker, with handlers that tell of their request and wait.
struct Holding {
    serving: Serving,
    begun: mpsc::Receiver<String>,
    go: mpsc::Sender<()>,
}

impl Holding {
    fn start<B: Backend>(backend: &B, limits: &Limits) -> Holding {
        let (tell, begun) = mpsc::channel();
        let (go, may_go) = mpsc::channel::<()>();
        let may_go = Mutex::new(may_go);
        let server = backend.serve_calls(limits).unwrap();
        let workers = Workers::new().threads(1).queue(2);
        let serving = Serving::workers(server, workers, move |request, responder| {
            let text = String::from_utf8_lossy(&request.body()).into_owned();
            let _ = tell.send(text.clone());
            let _ = may_go.lock().map(|may_go| may_go.recv());
            responder.reply(text);
        });
        Holding { serving, begun, go }
    }

    #[track_caller]
    fn next(&self) -> String {
        self.begun.recv_timeout(PATIENCE).expect("a request is begun")
    }
}

fn what_waits_is_carried_out_before_the_server_ends<B: Backend>() {
    let backend = B::new();
    let Holding { serving, begun, go } = {
        let mut patient = limits();
        patient.drain = PATIENCE;
        Holding::start(&backend, &patient)
    };
    let client = backend.client(&limits()).unwrap();
    let calls: Vec<_> = ["a", "b", "c"].iter().map(|it| client.start(*it).unwrap()).collect();
    // So the others are in the queue.
    client.call("one too many").unwrap_err();
    serving.stopper().stop();
    let ended = thread::spawn(move || drop(serving));
    (0..3).for_each(|_| go.send(()).unwrap());
    for (call, body) in calls.into_iter().zip(["a", "b", "c"]) {
        assert_eq!(call.wait().unwrap(), body);
    }
    ended.join().unwrap();
    assert_eq!(begun.iter().collect::<Vec<_>>(), ["a", "b", "c"]);
}

fn what_waits_at_the_end_of_the_drain_is_not_begun<B: Backend>() {
    let backend = B::new();
    let mut hasty = limits();
    hasty.drain = Duration::from_millis(20);
    let holding = Holding::start(&backend, &hasty);
    let client = backend.client(&limits()).unwrap();
    let running = client.start("running").unwrap();
    assert_eq!(holding.next(), "running");
    let waiting: Vec<_> = (0..2).map(|_| client.start("waits").unwrap()).collect();
    client.call("one too many").unwrap_err();
    let Holding { serving, begun, go } = holding;
    drop(serving);
    let error = running.wait().unwrap_err();
    assert!(matches!(error, Error::Closed { .. }) && !error.is_not_begun(), "{error}");
    for call in waiting {
        let error = call.wait().unwrap_err();
        assert!(error.is_not_begun() && error.to_string().contains("stops"), "{error}");
    }
    // The thread ends with its handler.
    drop(go);
    assert_eq!(begun.iter().count(), 0);
}

/// It hangs on, and can see that nobody waits. Another server has the name meanwhile.
fn a_handler_that_does_not_end_holds_up_nobody<B: Backend>() {
    let backend = B::new();
    let mut hasty = limits();
    hasty.drain = Duration::from_millis(20);
    let server = backend.serve_calls(&hasty).unwrap();
    let (tell, begun) = mpsc::channel();
    let serving =
        Serving::workers(server, Workers::new().threads(2), move |request, _responder| {
            tell.send(()).unwrap();
            let started = Instant::now();
            while !request.is_cancelled() {
                assert!(started.elapsed() < PATIENCE);
                thread::yield_now();
            }
            tell.send(()).unwrap();
        });
    let client = backend.client(&limits()).unwrap();
    let call = client.start("").unwrap();
    begun.recv_timeout(PATIENCE).unwrap();
    drop(serving);
    call.wait().unwrap_err();
    begun.recv_timeout(PATIENCE).expect("it is told");
    // All that the handler has is dropped.
    assert!(begun.recv_timeout(PATIENCE).is_err());
    let _again = Serving::echo(&backend, &limits());
    assert_eq!(backend.client(&limits()).unwrap().call("again").unwrap(), "again");
}

fn a_server_waits_for_handlers_that_have_answered<B: Backend>() {
    let backend = B::new();
    let mut patient = limits();
    patient.drain = PATIENCE;
    let server = backend.serve_calls(&patient).unwrap();
    let (go, may_go) = mpsc::channel::<()>();
    let may_go = Mutex::new(may_go);
    let is_over = Arc::new(AtomicBool::new(false));
    let over = is_over.clone();
    let serving = Serving::workers(server, Workers::new().threads(1), move |_, responder| {
        responder.reply("answered");
        let _ = may_go.lock().unwrap().recv();
        over.store(true, Ordering::SeqCst);
    });
    assert_eq!(backend.client(&limits()).unwrap().call("").unwrap(), "answered");
    serving.stopper().stop();
    let going = thread::spawn(move || go.send(()).unwrap());
    drop(serving);
    assert!(is_over.load(Ordering::SeqCst), "the server has ended before its handler");
    going.join().unwrap();
}

/// How often each request was carried out, by its number.
type Carried = Arc<Mutex<HashMap<String, usize>>>;

/// Carries requests out on workers; each takes a moment, so that some wait.
fn counting(
    carried: &Carried,
    tell: mpsc::Sender<()>,
) -> impl Fn(Request, Responder) + Send + Sync + 'static {
    let carried = carried.clone();
    move |request: Request, responder: Responder| {
        let number = String::from_utf8_lossy(&request.body()).into_owned();
        *carried.lock().unwrap().entry(number).or_default() += 1;
        let _ = tell.send(());
        thread::yield_now();
        responder.reply(request.into_body());
    }
}

/// The next server, as soon as the one before has left the name.
fn serve<B: Backend>(backend: &B, limits: &Limits) -> Server<B::Messages> {
    loop {
        match backend.serve_calls(limits) {
            Err(Error::AlreadyServed { .. }) => thread::yield_now(),
            server => return server.unwrap(),
        }
    }
}

/// Calls until `is_over`, and connects again after each end. A request is repeated only if it was surely not begun.
/// Returns the numbers of those that were answered, and of those of which nothing is known.
fn load<B: Backend>(backend: &B, name: usize, is_over: &AtomicBool) -> (Vec<String>, Vec<String>) {
    let (mut answered, mut unknown) = (Vec::new(), Vec::new());
    let mut number = 0;
    while !is_over.load(Ordering::SeqCst) {
        let Ok(client) = backend.client(&limits()) else {
            thread::yield_now();
            continue;
        };
        while !client.is_closed() && !is_over.load(Ordering::SeqCst) {
            let numbers: Vec<String> =
                (number..number + 5).map(|at| format!("{name} {at}")).collect();
            let calls: Vec<_> = numbers.iter().map(|number| client.start(number)).collect();
            number += 5;
            for (number, call) in numbers.into_iter().zip(calls) {
                match call.and_then(|call| call.wait()) {
                    Ok(reply) => {
                        assert_eq!(reply, number);
                        answered.push(number);
                    }
                    Err(error) if error.is_not_begun() => {}
                    Err(Error::Closed { .. }) => unknown.push(number),
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }
    (answered, unknown)
}

fn restarts_under_load_lose_nothing_and_run_nothing_twice<B: Backend>() {
    const RESTARTS: usize = if cfg!(windows) { 60 } else { 200 };
    const LEAST: usize = 20;
    let backend = B::new();
    let mut patient = limits();
    patient.drain = PATIENCE;
    let carried = Carried::default();
    let is_over = AtomicBool::new(false);
    let ended: Vec<_> = thread::scope(|scope| {
        let (backend, is_over) = (&backend, &is_over);
        let clients: Vec<_> =
            (0..3).map(|name| scope.spawn(move || load(backend, name, is_over))).collect();
        for _ in 0..RESTARTS {
            let server = serve(backend, &patient);
            let workers = Workers::new().threads(3).queue(8);
            let (tell, begun) = mpsc::channel();
            let serving = Serving::workers(server, workers, counting(&carried, tell));
            // It stops in the middle of something.
            (0..LEAST).for_each(|_| begun.recv_timeout(PATIENCE).expect("some are carried out"));
            drop(serving);
        }
        is_over.store(true, Ordering::SeqCst);
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    let carried = carried.lock().unwrap();
    let count = |number: &String| carried.get(number).copied().unwrap_or(0);
    for (answered, unknown) in &ended {
        assert!(answered.iter().all(|number| count(number) == 1), "carried out more than once");
        // What was accepted was answered: of the others nothing was begun.
        let lost: Vec<_> = unknown.iter().filter(|number| count(number) > 0).collect();
        assert!(lost.is_empty(), "carried out, and the answer was lost: {lost:?}");
    }
    let answered: usize = ended.iter().map(|(answered, _)| answered.len()).sum();
    assert_eq!(carried.values().sum::<usize>(), answered, "carried out although it was refused");
}
