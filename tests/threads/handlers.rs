//! Handlers whose replies come from other threads, workers, and a stop.

use super::{explore, serving};
use msgpipe::{Error, Limits, Server, Workers, memory};
use shuttle::thread;

/// A reply of another thread wakes the loop, whatever the loop is doing.
#[test]
fn replies_of_other_threads_are_sent() {
    explore(|| {
        serving(
            |request, responder| {
                thread::spawn(move || responder.reply(request.into_body()));
            },
            |connect| {
                let client = connect();
                let (first, second) = (client.start("1").unwrap(), client.start("2").unwrap());
                assert_eq!(second.wait().unwrap(), "2");
                assert_eq!(first.wait().unwrap(), "1");
            },
        );
    });
}

/// Half from the handler, half from elsewhere.
#[test]
fn replies_of_the_loop_and_of_another_thread_are_sent() {
    explore(|| {
        let mut is_here = false;
        serving(
            move |request, responder| {
                is_here = !is_here;
                match is_here {
                    true => responder.reply(request.into_body()),
                    false => drop(thread::spawn(move || responder.reply(request.into_body()))),
                }
            },
            |connect| {
                let client = connect();
                let all: Vec<_> = (0..4).map(|it| client.start(it.to_string()).unwrap()).collect();
                for (number, call) in all.into_iter().enumerate() {
                    assert_eq!(call.wait().unwrap(), number.to_string());
                }
            },
        );
    });
}

/// Requests of two clients to two workers. None panics: to shuttle's threads, which are one of the system, all would.
#[test]
fn workers_answer_all_requests() {
    explore(|| {
        let hub = memory::Hub::new();
        let messages = hub.listen_for_calls("threads", Limits::default()).unwrap();
        let server = Server::over(messages, Limits::default());
        let stopper = server.stopper();
        let serving = thread::spawn(move || {
            server.serve_workers(Workers::new().threads(2), |request| request.into_body())
        });
        let calling: Vec<_> = (0..2)
            .map(|_| {
                let client = hub.client("threads", Limits::default()).unwrap();
                thread::spawn(move || {
                    let (first, second) = (client.start("1").unwrap(), client.start("2").unwrap());
                    assert_eq!(second.wait().unwrap(), "2");
                    assert_eq!(first.wait().unwrap(), "1");
                })
            })
            .collect();
        calling.into_iter().for_each(|it| it.join().unwrap());
        stopper.stop();
        serving.join().unwrap().unwrap();
    });
}

/// A stop while requests arrive and are answered elsewhere: each call ends, with its reply or with a refusal.
#[test]
fn a_stop_ends_all_calls() {
    explore(|| {
        let hub = memory::Hub::new();
        let messages = hub.listen_for_calls("threads", Limits::default()).unwrap();
        let server = Server::over(messages, Limits::default());
        let stopper = server.stopper();
        let serving = thread::spawn(move || {
            server.serve_deferred(|request, responder| {
                thread::spawn(move || responder.reply(request.into_body()));
            })
        });
        let client = hub.client("threads", Limits::default()).unwrap();
        let calling = thread::spawn(move || {
            loop {
                match client.call("asked") {
                    Ok(reply) => assert_eq!(reply, "asked"),
                    Err(error) => break error,
                }
            }
        });
        stopper.stop();
        serving.join().unwrap().unwrap();
        let error: Error = calling.join().unwrap();
        assert!(!error.to_string().is_empty());
    });
}
