//! The promises of calls, on every transport: each ends exactly once, in any order, with a reply, an
//! error or a reason.

use crate::common::serving::{Serving, limits};
use crate::common::{Backend, pattern};
use msgpipe::{Client, Error, ErrorReply, Request, Responder};
use std::collections::HashSet;
use std::sync::{Barrier, mpsc};
use std::thread::{self};
use std::time::{Duration, Instant};

crate::on_every_transport!(
    a_request_receives_its_reply,
    threads_that_share_a_client_receive_their_own_replies,
    replies_come_in_any_order_from_any_thread,
    an_error_reply_has_its_code_and_text,
    a_dropped_responder_answers_with_an_error,
    a_call_ends_at_its_deadline_and_its_late_reply_is_dropped,
    a_dropped_call_does_not_disturb_the_others,
    an_unsent_batch_leaks_nothing,
    calls_end_when_the_server_ends,
    a_sending_thread_reads_when_the_leader_stops,
    another_thread_reads_after_the_leader_has_returned,
);
crate::on_named_transports!(
    a_server_that_stops_sends_the_outstanding_replies,
    the_handler_receives_the_peer,
);

fn a_request_receives_its_reply<B: Backend>() {
    let backend = B::new();
    let _serving = Serving::echo(&backend, &limits());
    let client = backend.client(&limits()).unwrap();
    for size in [0, 1, 4079, 4080, 4081, 4096, 4097, 8192, 65_536, 1 << 20] {
        let request = pattern(size, 3);
        assert!(client.call(request.clone()).unwrap() == request, "{size} bytes");
    }
}

fn threads_that_share_a_client_receive_their_own_replies<B: Backend>() {
    const THREADS: usize = 8;
    const ROUNDS: usize = 100;
    let backend = B::new();
    let _serving = Serving::echo(&backend, &limits());
    let client = backend.client(&limits()).unwrap();
    thread::scope(|scope| {
        for number in 0..THREADS {
            let client = client.clone();
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let request = format!("thread {number} round {round}");
                    assert_eq!(client.call(request.clone()).unwrap(), request);
                }
            });
        }
    });
}

/// Holds three requests and answers them in reverse order, each from a separate thread.
fn replies_come_in_any_order_from_any_thread<B: Backend>() {
    let backend = B::new();
    let mut held = Vec::new();
    let _serving =
        Serving::start(backend.serve_calls(&limits()).unwrap(), move |request, responder| {
            held.push((request, responder));
            if held.len() == 3 {
                for (request, responder) in held.drain(..).rev() {
                    thread::spawn(move || responder.reply(request.body())).join().unwrap();
                }
            }
        });
    let client = backend.client(&limits()).unwrap();
    for _ in 0..10 {
        let calls =
            ["one", "two", "three"].map(|request| (request, client.start(request).unwrap()));
        for (request, call) in calls {
            assert_eq!(call.wait().unwrap(), request);
        }
    }
}

fn an_error_reply_has_its_code_and_text<B: Backend>() {
    let backend = B::new();
    let server = backend.serve_calls(&limits()).unwrap();
    let stopper = server.stopper();
    let serving = thread::spawn(move || {
        server.serve(|request| match &request.body()[..] {
            b"text" => Err(ErrorReply::from("no such note")),
            b"code" => Err(ErrorReply::new(404, "ä fault")),
            _ => Ok("fine"),
        })
    });
    let client = backend.client(&limits()).unwrap();
    for (request, code, text) in
        [("text", ErrorReply::FAILED, "no such note"), ("code", 404, "ä fault")]
    {
        match client.call(request).unwrap_err() {
            Error::Answered { reply, .. } => {
                assert_eq!((reply.code, reply.text.as_str()), (code, text))
            }
            error => panic!("{error}"),
        }
    }
    assert_eq!(client.call("neither").unwrap(), "fine");
    stopper.stop();
    serving.join().unwrap().unwrap();
}

fn a_dropped_responder_answers_with_an_error<B: Backend>() {
    let backend = B::new();
    let _serving = Serving::start(backend.serve_calls(&limits()).unwrap(), |request, responder| {
        if &request.body()[..] == b"answer" {
            responder.reply("here");
        }
    });
    let client = backend.client(&limits()).unwrap();
    match client.call("forget").unwrap_err() {
        Error::Answered { reply, .. } => assert_eq!(reply.code, ErrorReply::UNANSWERED),
        error => panic!("{error}"),
    }
    assert_eq!(client.call("answer").unwrap(), "here");
}

fn a_call_ends_at_its_deadline_and_its_late_reply_is_dropped<B: Backend>() {
    let backend = B::new();
    let mut held: Option<Responder> = None;
    let _serving =
        Serving::start(backend.serve_calls(&limits()).unwrap(), move |request, responder| {
            match &request.body()[..] {
                b"hold" => held = Some(responder),
                _ => {
                    // The late reply is sent before the expected one.
                    if let Some(held) = held.take() {
                        held.reply("late");
                    }
                    responder.reply("prompt");
                }
            }
        });
    let client = backend.client(&limits()).unwrap();
    let patience = Duration::from_millis(50);
    let started = Instant::now();
    match client.with_timeout(patience).call("hold").unwrap_err() {
        Error::Deadline { after, .. } => assert!(after >= patience, "{after:?}"),
        error => panic!("{error}"),
    }
    assert!(started.elapsed() >= patience, "it ended before its deadline");
    assert_eq!(client.call("now").unwrap(), "prompt");
    assert_eq!(client.call("again").unwrap(), "prompt", "the connection goes on");
    // A deadline that has passed already ends the call too.
    let Err(Error::Deadline { .. }) = client.with_timeout(Duration::ZERO).call("hold") else {
        panic!()
    };
}

fn a_dropped_call_does_not_disturb_the_others<B: Backend>() {
    let backend = B::new();
    let _serving = Serving::echo(&backend, &limits());
    let client = backend.client(&limits()).unwrap();
    for _ in 0..50 {
        drop(client.start("nobody waits for this").unwrap());
        assert_eq!(client.call("but for this").unwrap(), "but for this");
    }
}

fn an_unsent_batch_leaks_nothing<B: Backend>() {
    let backend = B::new();
    let _serving = Serving::echo(&backend, &limits());
    let mut limits = limits();
    limits.in_flight = 2;
    let client = backend.client(&limits).unwrap();
    for _ in 0..5 {
        let mut batch = client.batch();
        batch.add("one").add("two");
        drop(batch);
    }
    assert_eq!(client.call("three").unwrap(), "three");
}

fn a_server_that_stops_sends_the_outstanding_replies<B: Backend>() {
    let backend = B::new();
    let (send_held, held) = mpsc::channel();
    let server = backend.serve_calls(&limits()).unwrap();
    let stopper = server.stopper();
    let serving = thread::spawn(move || {
        server
            .serve_deferred(move |request, responder| send_held.send((request, responder)).unwrap())
    });
    let client = backend.client(&limits()).unwrap();
    let call = client.start("before").unwrap();
    let (request, responder): (Request, Responder) = held.recv().unwrap();
    stopper.stop();
    // New requests are refused, or find the connection closed; the old one is still answered.
    let refused = loop {
        match client.with_timeout(Duration::from_millis(20)).call("after") {
            Err(Error::Answered { reply, .. }) => break reply,
            // It was sent before the server noticed the stop, and is held.
            Err(Error::Deadline { .. }) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refused.code, ErrorReply::STOPPING);
    responder.reply(request.body());
    assert_eq!(call.wait().unwrap(), "before");
    drop(held);
    serving.join().unwrap().unwrap();
    match client.call("much later").unwrap_err() {
        Error::Closed { .. } => {}
        error => panic!("{error}"),
    }
    let Err(Error::NoServer { .. }) = backend.client(&limits()) else { panic!("still there") };
}

fn calls_end_when_the_server_ends<B: Backend>() {
    const CALLS: usize = 5;
    let backend = B::new();
    let (arrived, all_arrived) = mpsc::channel();
    let mut limits = limits();
    limits.drain = Duration::ZERO;
    let server = backend.serve_calls(&limits).unwrap();
    let mut held = Vec::new();
    let serving = Serving::start(server, move |_, responder| {
        held.push(responder);
        arrived.send(()).unwrap();
    });
    let client = backend.client(&limits).unwrap();
    let ready = Barrier::new(CALLS + 1);
    thread::scope(|scope| {
        for _ in 0..CALLS {
            scope.spawn(|| {
                let call = client.start("never answered").unwrap();
                ready.wait();
                match call.wait().unwrap_err() {
                    Error::Closed { .. } => {}
                    error => panic!("{error}"),
                }
            });
        }
        ready.wait();
        (0..CALLS).for_each(|_| all_arrived.recv().unwrap());
        drop(serving);
    });
}

fn the_handler_receives_the_peer<B: Backend>() {
    let backend = B::new();
    let server = backend.serve_calls(&limits()).unwrap();
    let _serving = Serving::start(server, |request, responder| {
        let pid = request.peer().pid.map_or(0, |pid| pid);
        responder.reply(format!("{pid} {}", request.connection().id().number()));
    });
    let ask = |client: &Client| String::from_utf8(client.call("who?").unwrap().to_vec()).unwrap();
    let clients: Vec<_> = (0..3).map(|_| backend.client(&limits()).unwrap()).collect();
    let answers: HashSet<_> = clients.iter().map(ask).collect();
    assert_eq!(answers.len(), 3, "each client is a connection");
    assert!(answers.iter().all(|answer| answer.starts_with(&format!("{} ", std::process::id()))));
    assert_eq!(ask(&clients[0]), ask(&clients[0].clone()), "a clone is the same connection");
}

/// One thread reads until its deadline. Another sends more than fits, to a server that waits until
/// its replies are read: when the first thread stops, the second has to read.
fn a_sending_thread_reads_when_the_leader_stops<B: Backend>() {
    let backend = B::new();
    let mut never = Vec::new();
    let server = backend.serve_calls(&limits()).unwrap();
    let _serving = Serving::start(server, move |request, responder| match &request.body()[..] {
        b"never" => never.push(responder),
        body => responder.reply(vec![body[0]; 500_000]),
    });
    let client = backend.client(&limits()).unwrap();
    for round in 0..3 {
        let reading = client.with_timeout(Duration::from_millis(20)).start("never").unwrap();
        thread::scope(|scope| {
            scope.spawn(|| reading.wait().unwrap_err());
            let mut batch = client.batch();
            for _ in 0..60 {
                batch.add(vec![round; 100_000]);
            }
            for call in batch.send().unwrap() {
                assert_eq!(call.wait().unwrap().len(), 500_000);
            }
        });
    }
}

/// A thread that stopped reading ends; Windows then cancels its pending read.
fn another_thread_reads_after_the_leader_has_returned<B: Backend>() {
    let backend = B::new();
    let mut never = Vec::new();
    let server = backend.serve_calls(&limits()).unwrap();
    let _serving = Serving::start(server, move |request, responder| match &request.body()[..] {
        b"never" => never.push(responder),
        _ => responder.reply(request.body()),
    });
    let client = backend.client(&limits()).unwrap();
    for _ in 0..5 {
        let hasty = client.with_timeout(Duration::from_millis(5));
        let ended = thread::spawn(move || hasty.call("never").unwrap_err()).join().unwrap();
        assert!(matches!(ended, Error::Deadline { .. }), "{ended}");
        assert_eq!(client.call("still there?").unwrap(), "still there?");
    }
}
