//! Calls that handlers make: their time, and chains of them that need more workers than there are, on every
//! transport.

use crate::common::serving::{Serving, limits};
use crate::common::{Backend, PATIENCE, pattern};
use msgpipe::{Client, Error, ErrorReply, Failure, Limits, Metadata, Request, Stopper, Workers};
use std::sync::{Arc, Barrier, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

crate::on_every_transport!(circles_that_were_begun_apart_end_with_their_time,);
crate::on_named_transports!(
    calls_nest_as_deep_as_there_are_workers_and_no_deeper,
    two_servers_of_one_worker_that_call_each_other_end_with_an_error,
    a_server_without_workers_hands_on_who_waits,
    chains_that_fill_the_pool_all_end,
    a_request_that_waits_is_refused_when_the_last_worker_is_blocked,
    a_worker_that_waits_for_the_reader_of_its_parts_counts_as_blocked,
    a_call_in_a_handler_has_what_is_left_of_the_time,
    metadata_of_a_request_can_be_handed_on,
);

/// A server whose handler makes calls.
struct Nesting {
    stopper: Stopper,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Nesting {
    fn drop(&mut self) {
        self.stopper.stop();
        let joined = self.thread.take().unwrap().join();
        assert!(joined.is_ok() || thread::panicking(), "the server panicked");
    }
}

/// `threads`: 0 for a handler in the loop.
fn serve<B: Backend>(
    backend: &B,
    threads: usize,
    handler: impl Fn(Request) -> Result<String, Failure> + Send + Sync + 'static,
) -> Nesting {
    let server = backend.serve_calls(&limits()).unwrap();
    let stopper = server.stopper();
    let thread = thread::spawn(move || {
        match threads {
            0 => server.serve(handler),
            threads => server.serve_workers(Workers::new().threads(threads), handler),
        }
        .unwrap();
    });
    Nesting { stopper, thread: Some(thread) }
}

fn text(request: &Request) -> String {
    String::from_utf8_lossy(&request.body()).into_owned()
}

/// Calls these servers one after the other, each from the handler of the one before: their numbers are in the request.
fn hand_on<B: Backend + Send + 'static>(
    servers: Arc<Vec<B>>,
) -> impl Fn(Request) -> Result<String, Failure> + Send + Sync + 'static {
    move |request| {
        let path = text(&request);
        let Some(next) = path.bytes().next() else {
            return Ok("done".to_owned());
        };
        let client = servers[usize::from(next - b'0')].client(&limits())?;
        let reply = client.call(&path[1..])?;
        Ok(String::from_utf8_lossy(&reply).into_owned())
    }
}

/// The error of a call deeper than the pool, as the first handler passes it on.
#[track_caller]
fn is_too_nested(error: Error) {
    let reply = error.reply().unwrap_or_else(|| panic!("{error}"));
    assert_eq!(reply.code, ErrorReply::FAILED, "a handler failed: {reply}");
    assert!(!error.is_not_begun() && reply.text.contains("nest fewer calls"), "{reply}");
}

fn calls_nest_as_deep_as_there_are_workers_and_no_deeper<B: Backend + Send + 'static>() {
    const THREADS: usize = 3;
    let servers = Arc::new(vec![B::new()]);
    let _serving = serve(&servers[0], THREADS, hand_on(servers.clone()));
    let client = servers[0].client(&limits()).unwrap();
    for _ in 0..3 {
        for workers in [THREADS - 1, THREADS, THREADS + 1] {
            match client.call("0".repeat(workers - 1)) {
                Ok(reply) => assert!(workers <= THREADS && reply == "done", "{workers}: {reply:?}"),
                Err(error) => {
                    assert!(workers > THREADS, "{workers}: {error}");
                    is_too_nested(error);
                }
            }
        }
    }
}

fn two_servers_of_one_worker_that_call_each_other_end_with_an_error<B: Backend + Send + 'static>() {
    let servers = Arc::new(vec![B::new(), B::new()]);
    let _first = serve(&servers[0], 1, hand_on(servers.clone()));
    let _second = serve(&servers[1], 1, hand_on(servers.clone()));
    let client = servers[0].client(&limits()).unwrap();
    for _ in 0..3 {
        assert_eq!(client.call("1").unwrap(), "done");
        is_too_nested(client.call("10").unwrap_err());
        is_too_nested(client.call("101").unwrap_err());
    }
}

/// The one in the middle has no workers, which wait in its place.
fn a_server_without_workers_hands_on_who_waits<B: Backend + Send + 'static>() {
    let servers = Arc::new(vec![B::new(), B::new()]);
    let _first = serve(&servers[0], 1, hand_on(servers.clone()));
    let _second = serve(&servers[1], 0, hand_on(servers.clone()));
    let client = servers[0].client(&limits()).unwrap();
    assert_eq!(client.call("1").unwrap(), "done");
    is_too_nested(client.call("10").unwrap_err());
    assert_eq!(client.call("").unwrap(), "done");
}

fn chains_that_fill_the_pool_all_end<B: Backend + Send + 'static>() {
    let servers = Arc::new(vec![B::new(), B::new()]);
    let _first = serve(&servers[0], 3, hand_on(servers.clone()));
    let _second = serve(&servers[1], 2, hand_on(servers.clone()));
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let client = servers[0].client(&limits()).unwrap();
                for path in ["0", "10", "00", "1", "010"].iter().cycle().take(25) {
                    match client.call(*path) {
                        Ok(reply) => assert_eq!(reply, "done"),
                        Err(error) => is_too_nested(error),
                    }
                }
            });
        }
    });
    assert_eq!(servers[0].client(&limits()).unwrap().call("010").unwrap(), "done");
}

/// The nested request is in the queue, as one worker still runs; then that one makes a call too.
fn a_request_that_waits_is_refused_when_the_last_worker_is_blocked<B: Backend + Send + 'static>() {
    let backend = Arc::new(B::new());
    let own = backend.clone();
    let (tell, begun) = mpsc::channel();
    let (go, may_go) = mpsc::channel::<()>();
    let may_go = std::sync::Mutex::new(may_go);
    let _serving = serve(&*backend, 2, move |request| {
        let text = text(&request);
        tell.send(text.clone()).unwrap();
        match &text[..] {
            "waits" => drop(may_go.lock().unwrap().recv()),
            "inner" => return Ok("done".to_owned()),
            _ => {}
        }
        // In a connection of its own.
        let reply = own.client(&limits())?.call("inner")?;
        Ok(String::from_utf8_lossy(&reply).into_owned())
    });
    let client = backend.client(&limits()).unwrap();
    let waits = client.start("waits").unwrap();
    assert_eq!(begun.recv_timeout(PATIENCE).unwrap(), "waits");
    let calls = client.start("calls").unwrap();
    assert_eq!(begun.recv_timeout(PATIENCE).unwrap(), "calls");
    go.send(()).unwrap();
    // One of them may have ended before the other one called.
    let ends = [waits.wait(), calls.wait()];
    assert!(ends.iter().any(Result::is_err), "two workers, and three requests at once: {ends:?}");
    ends.into_iter().filter_map(Result::err).for_each(is_too_nested);
    assert_eq!(client.call("inner").unwrap(), "done");
}

fn a_worker_that_waits_for_the_reader_of_its_parts_counts_as_blocked<
    B: Backend + Send + 'static,
>() {
    let backend = Arc::new(B::new());
    let own = backend.clone();
    let server = backend.serve_calls(&limits()).unwrap();
    let workers = Workers::new().threads(2);
    let _serving = Serving::workers(server, workers, move |request, responder| {
        match &text(&request)[..] {
            "parts" => {
                let mut parts = responder.into_parts();
                while parts.send(pattern(50_000, 1)).is_ok() {}
            }
            "reads" => {
                let client = own.client(&limits()).unwrap();
                let mut parts = client.stream("parts").unwrap();
                parts.next_within(PATIENCE).unwrap();
                // The sender of the parts has the other worker, and waits for this one.
                responder.reply(client.call("third").map_err(|error| error.to_string()));
            }
            _ => responder.reply("done"),
        }
    });
    let client = backend.client(&limits()).unwrap();
    is_too_nested(client.call("reads").unwrap_err());
    assert_eq!(client.call("third").unwrap(), "done");
}

/// No request comes back to a server that waits for it, so no chain shows the circle.
fn circles_that_were_begun_apart_end_with_their_time<B: Backend + Send + 'static>() {
    let servers = Arc::new([B::new(), B::new()]);
    let both_run = Arc::new(Barrier::new(2));
    let serving = [0, 1].map(|own| {
        let (servers, both_run) = (servers.clone(), both_run.clone());
        let other = 1 - own;
        serve(&servers.clone()[own], 1, move |request| {
            if text(&request) == "begin" {
                both_run.wait();
                let hasty = servers[other].client(&limits())?;
                hasty.with_timeout(Duration::from_millis(100)).call("continue")?;
            }
            Ok("done".to_owned())
        })
    });
    let clients = [0, 1].map(|at| servers[at].client(&limits()).unwrap());
    let calls = clients.each_ref().map(|it| it.start("begin").unwrap());
    // The first whose time is over frees its worker, perhaps in time for the other.
    let ends = calls.map(|call| call.wait());
    assert!(ends.iter().any(Result::is_err), "{ends:?}");
    for client in &clients {
        assert_eq!(client.call("and now").unwrap(), "done");
    }
    drop(serving);
}

/// Also that of a batch, and of each call that is started.
fn a_call_in_a_handler_has_what_is_left_of_the_time<B: Backend + Send + 'static>() {
    const LITTLE: Duration = Duration::from_secs(5);
    let told = Arc::new(B::new());
    let _told = serve(&*told, 0, |request| {
        let left = request.deadline().map(|at| at.saturating_duration_since(Instant::now()));
        Ok(left.is_some_and(|left| left <= LITTLE).to_string())
    });
    for threads in [0, 1] {
        let (backend, told) = (B::new(), told.clone());
        let _serving = serve(&backend, threads, move |request| {
            let client = told.client(&limits())?;
            if text(&request) == "wait" {
                // Its own time is over before this handler looks.
                while request.deadline().is_some_and(|at| at > Instant::now()) {
                    thread::yield_now();
                }
                let refused = client.start("");
                assert!(refused.is_err_and(|error| error.is_not_begun()), "no time was left");
            }
            let mut batch = client.batch();
            batch.add("");
            let batched = batch.send()?.remove(0).wait()?;
            let replies = [client.call("")?, client.start("")?.wait()?, batched];
            Ok(replies.map(|reply| String::from_utf8_lossy(&reply).into_owned()).join(" "))
        });
        let client = backend.client(&limits()).unwrap();
        assert_eq!(client.call("").unwrap(), "false false false");
        assert_eq!(client.with_timeout(LITTLE).call("").unwrap(), "true true true");
        let error = client.with_timeout(Duration::from_millis(50)).call("wait").unwrap_err();
        // The client or the handler sees it first.
        assert!(error.to_string().contains("timed out"), "{error}");
        // Nothing is left behind in the thread.
        assert_eq!(client.call("").unwrap(), "false false false");
    }
}

/// The chain of the request that is in them is not taken for the chain of the call.
fn metadata_of_a_request_can_be_handed_on<B: Backend + Send + 'static>() {
    let backend = Arc::new(B::new());
    let own = backend.clone();
    let _serving = serve(&*backend, 3, move |request| {
        let trace = request.metadata().get(b"trace").unwrap_or_default();
        let depth = text(&request).len();
        if depth == 0 {
            return Ok(String::from_utf8_lossy(&trace).into_owned());
        }
        let client = own.client(&Limits::default())?.with_metadata(request.metadata());
        let reply = client.call("0".repeat(depth - 1))?;
        Ok(String::from_utf8_lossy(&reply).into_owned())
    });
    let trace = Metadata::default().with(b"trace", b"1-2").unwrap();
    let client: Client = backend.client(&limits()).unwrap().with_metadata(trace);
    assert_eq!(client.call("00").unwrap(), "1-2");
    is_too_nested(client.call("000").unwrap_err());
}
