//! What calls promise, whatever carries them: each ends exactly once, in any order, with a reply, an
//! error or a reason.

use crate::common::{Backend, PATIENCE, pattern};
use bytes::Bytes;
use msgpipe::{
    Client, Error, ErrorReply, Limits, MessageServer, Request, Responder, Server, Stopper,
};
use std::collections::HashSet;
use std::sync::{Barrier, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

crate::on_every_transport!(
    a_request_gets_its_reply,
    threads_that_share_a_client_get_their_own_replies,
    replies_come_in_any_order_from_any_thread,
    an_error_reply_has_its_code_and_text,
    a_dropped_responder_answers_with_an_error,
    a_call_ends_at_its_deadline_and_its_late_reply_is_thrown_away,
    a_dropped_call_does_not_disturb_the_others,
    the_limit_of_calls_in_flight_is_exact_at_the_client,
    the_limit_of_calls_in_flight_is_exact_at_the_server,
    the_limit_of_sizes_is_exact_for_requests_and_replies,
    large_calls_in_flight_do_not_block_each_other,
    many_large_deferred_replies_are_held_until_they_are_read,
    a_batch_that_is_not_sent_leaves_nothing_behind,
    a_server_that_stops_gives_the_replies_it_owes,
    calls_end_when_the_server_goes,
    the_handler_knows_who_asks,
    a_caller_with_hardly_any_room_is_answered_or_closed,
    calls_given_up_give_their_places_back,
    who_sends_is_not_stranded_when_who_reads_leaves,
    replies_of_the_largest_size_given_at_once_arrive,
    the_memory_for_replies_has_a_bound,
    who_reads_may_end_and_others_read_on,
);

/// A server in a thread of its own, stopped at the end of the test.
struct Serving {
    stopper: Stopper,
    thread: Option<JoinHandle<()>>,
}

impl Serving {
    fn start<M: MessageServer + Send + 'static>(
        server: Server<M>,
        handler: impl FnMut(Request, Responder) + Send + 'static,
    ) -> Serving {
        let stopper = server.stopper();
        let thread = thread::spawn(move || server.serve_deferred(handler).unwrap());
        Serving { stopper, thread: Some(thread) }
    }

    fn echo<B: Backend>(backend: &B, limits: &Limits) -> Serving {
        let server = backend.serve_calls(limits).unwrap();
        let stopper = server.stopper();
        let thread = thread::spawn(move || server.serve(|request| request.body()).unwrap());
        Serving { stopper, thread: Some(thread) }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stopper.stop();
        let joined = self.thread.take().unwrap().join();
        assert!(joined.is_ok() || thread::panicking(), "the server panicked");
    }
}

/// Limits under which a test that hangs ends with an error.
fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.call = PATIENCE;
    limits
}

fn a_request_gets_its_reply<B: Backend>() {
    let backend = B::new();
    let _serving = Serving::echo(&backend, &limits());
    let client = backend.client(&limits()).unwrap();
    for size in [0, 1, 4079, 4080, 4081, 4096, 4097, 8192, 65_536, 1 << 20] {
        let request = pattern(size, 3);
        assert!(client.call(request.clone()).unwrap() == request, "{size} bytes");
    }
}

fn threads_that_share_a_client_get_their_own_replies<B: Backend>() {
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

/// Holds three requests and answers them backwards, each from a thread of its own.
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

fn a_call_ends_at_its_deadline_and_its_late_reply_is_thrown_away<B: Backend>() {
    let backend = B::new();
    let mut held: Option<Responder> = None;
    let _serving =
        Serving::start(backend.serve_calls(&limits()).unwrap(), move |request, responder| {
            match &request.body()[..] {
                b"hold" => held = Some(responder),
                _ => {
                    // The late reply goes out before the one that is waited for.
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
    match client.within(patience).call("hold").unwrap_err() {
        Error::Deadline { after, .. } => assert!(after >= patience, "{after:?}"),
        error => panic!("{error}"),
    }
    assert!(started.elapsed() >= patience, "it ended before its deadline");
    assert_eq!(client.call("now").unwrap(), "prompt");
    assert_eq!(client.call("again").unwrap(), "prompt", "the connection goes on");
    // A deadline that has passed already ends the call too.
    let Err(Error::Deadline { .. }) = client.within(Duration::ZERO).call("hold") else { panic!() };
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

fn the_limit_of_calls_in_flight_is_exact_at_the_client<B: Backend>() {
    let backend = B::new();
    let mut held = Vec::new();
    let _serving = Serving::start(backend.serve_calls(&limits()).unwrap(), move |_, responder| {
        held.push(responder);
        if held.len() == 3 {
            held.drain(..).for_each(|responder| responder.reply("done"));
        }
    });
    let mut limits = limits();
    limits.in_flight = 3;
    let client = backend.client(&limits).unwrap();
    for _ in 0..3 {
        // They are held until the third is there.
        let mut calls: Vec<_> = (0..2).map(|_| client.start("call").unwrap()).collect();
        let mut batch = client.batch();
        batch.add("one").add("one too many");
        match batch.send().unwrap_err() {
            Error::TooManyCalls { limit: 3, request, .. } => assert_eq!(request, "one too many"),
            error => panic!("{error}"),
        }
        // Of that batch none has begun.
        calls.push(client.start("call").unwrap());
        for call in calls {
            assert_eq!(call.wait().unwrap(), "done");
        }
    }
}

fn the_limit_of_calls_in_flight_is_exact_at_the_server<B: Backend>() {
    let backend = B::new();
    let mut server_limits = limits();
    server_limits.in_flight = 3;
    let mut held = Vec::new();
    let server = backend.serve_calls(&server_limits).unwrap();
    let _serving = Serving::start(server, move |request, responder| match &request.body()[..] {
        b"hold" => held.push(responder),
        b"free" => {
            held.drain(..).for_each(|responder| responder.reply("done"));
            responder.reply("freed");
        }
        _ => unreachable!(),
    });
    let client = backend.client(&limits()).unwrap();
    let held: Vec<_> = (0..2).map(|_| client.start("hold").unwrap()).collect();
    // Two are held, so this one is the third: still allowed.
    let third = client.start("hold").unwrap();
    match client.call("free").unwrap_err() {
        Error::Answered { reply, .. } => assert_eq!(reply.code, ErrorReply::TOO_MANY_REQUESTS),
        error => panic!("{error}"),
    }
    // It was refused, not begun: the others are as they were. Another connection has its own limit.
    let other = backend.client(&limits()).unwrap();
    assert_eq!(other.call("free").unwrap(), "freed");
    for call in held.into_iter().chain([third]) {
        assert_eq!(call.wait().unwrap(), "done");
    }
    assert_eq!(client.call("free").unwrap(), "freed");
}

fn the_limit_of_sizes_is_exact_for_requests_and_replies<B: Backend>() {
    let backend = B::new();
    let mut small = limits();
    small.message = 5_000;
    // The request is a number: the reply is to have that size.
    let server = backend.serve_calls(&limits()).unwrap();
    let _serving = Serving::start(server, |request, responder| {
        let size = String::from_utf8_lossy(&request.body()).parse().unwrap_or(request.body().len());
        responder.reply(pattern(size, 9));
    });
    let client = backend.client(&small).unwrap();
    for size in [4_999, 5_000, 5_001] {
        let reply = client.call(size.to_string());
        match reply {
            Ok(reply) => assert!(size <= 5_000 && reply == pattern(size, 9)),
            Err(Error::Answered { reply, .. }) => {
                assert_eq!(reply.code, ErrorReply::REPLY_TOO_LARGE, "{reply}");
                assert_eq!(size, 5_001);
            }
            Err(error) => panic!("{error}"),
        }
        let request = client.call(vec![b'x'; size]);
        match request {
            Ok(reply) => assert!(size <= 5_000 && reply.len() == size),
            Err(Error::TooLarge { size: refused, limit: 5_000, message, .. }) => {
                assert_eq!((size, refused, message.len()), (5_001, 5_001, 5_001));
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn large_calls_in_flight_do_not_block_each_other<B: Backend>() {
    let backend = B::new();
    let _serving = Serving::echo(&backend, &limits());
    let client = backend.client(&limits()).unwrap();
    let requests: Vec<_> = (0..24).map(|seed| pattern(400_000, seed)).collect();
    let mut batch = client.batch();
    for request in &requests {
        batch.add(request);
    }
    for (request, call) in requests.iter().zip(batch.send().unwrap()) {
        assert!(call.wait().unwrap() == *request);
    }
}

/// All replies are given at once, and are much more than may be queued for one connection.
fn many_large_deferred_replies_are_held_until_they_are_read<B: Backend>() {
    const CALLS: usize = 40;
    let backend = B::new();
    let mut held = Vec::new();
    let _serving =
        Serving::start(backend.serve_calls(&limits()).unwrap(), move |request, responder| {
            held.push((request, responder));
            if held.len() == CALLS {
                let all = std::mem::take(&mut held);
                thread::spawn(move || {
                    for (request, responder) in all {
                        let seed = request.body()[0];
                        responder.reply(pattern(200_000, seed));
                    }
                });
            }
        });
    let client = backend.client(&limits()).unwrap();
    let calls: Vec<_> = (0..CALLS as u8).map(|seed| client.start(vec![seed]).unwrap()).collect();
    for (seed, call) in calls.into_iter().enumerate() {
        assert!(call.wait().unwrap() == pattern(200_000, seed as u8));
    }
}

fn a_batch_that_is_not_sent_leaves_nothing_behind<B: Backend>() {
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

fn a_server_that_stops_gives_the_replies_it_owes<B: Backend>() {
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
        match client.within(Duration::from_millis(20)).call("after") {
            Err(Error::Answered { reply, .. }) => break reply,
            // It was asked before the server saw that it shall stop, and is held.
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

fn calls_end_when_the_server_goes<B: Backend>() {
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

fn the_handler_knows_who_asks<B: Backend>() {
    let backend = B::new();
    let server = backend.serve_calls(&limits()).unwrap();
    let _serving = Serving::start(server, |request, responder| {
        let pid = request.peer().pid.map_or(0, |pid| pid);
        responder.reply(format!("{pid} {}", request.connection().number()));
    });
    let ask = |client: &Client| String::from_utf8(client.call("who?").unwrap().to_vec()).unwrap();
    let clients: Vec<_> = (0..3).map(|_| backend.client(&limits()).unwrap()).collect();
    let answers: HashSet<_> = clients.iter().map(ask).collect();
    assert_eq!(answers.len(), 3, "each client is a connection");
    assert!(answers.iter().all(|answer| answer.starts_with(&format!("{} ", std::process::id()))));
    assert_eq!(ask(&clients[0]), ask(&clients[0].clone()), "a clone is the same connection");
}

/// The error that says that an answer is too large has to fit too.
fn a_caller_with_hardly_any_room_is_answered_or_closed<B: Backend>() {
    let backend = B::new();
    let _serving = Serving::start(backend.serve_calls(&limits()).unwrap(), |_, responder| {
        responder.reply(pattern(1000, 0));
    });
    for room in [0, 8, 9, 100, 999] {
        let mut small = limits();
        small.message = room;
        let client = backend.client(&small).unwrap();
        match client.call("").unwrap_err() {
            Error::Answered { reply, .. } => {
                assert_eq!(reply.code, ErrorReply::REPLY_TOO_LARGE);
                assert!(reply.text.len() <= room, "{room}: {reply}");
            }
            error => panic!("{room}: {error}"),
        }
    }
}

/// Their replies have to be read for that, also when nobody waits for one.
fn calls_given_up_give_their_places_back<B: Backend>() {
    let backend = B::new();
    let _serving = Serving::echo(&backend, &limits());
    for places in [1, 2, 100] {
        let mut limits = limits();
        limits.in_flight = places;
        let client = backend.client(&limits).unwrap();
        let started = Instant::now();
        for _ in 0..3 {
            (0..places).for_each(|_| drop(client.start("nobody waits for this")));
            let _ = client.within(Duration::ZERO).call("nor for this");
            // The replies are on their way: once they are there, there is a place.
            while let Err(error) = client.call("but for this") {
                assert!(matches!(error, Error::TooManyCalls { .. }), "{error}");
                assert!(started.elapsed() < PATIENCE, "no place was given back");
                thread::yield_now();
            }
        }
    }
}

/// One thread reads until its deadline; another sends more than fits, to a server that waits until
/// its replies are read: when the first leaves, the second has to read.
fn who_sends_is_not_stranded_when_who_reads_leaves<B: Backend>() {
    let backend = B::new();
    let mut never = Vec::new();
    let server = backend.serve_calls(&limits()).unwrap();
    let _serving = Serving::start(server, move |request, responder| match &request.body()[..] {
        b"never" => never.push(responder),
        body => responder.reply(vec![body[0]; 500_000]),
    });
    let client = backend.client(&limits()).unwrap();
    for round in 0..3 {
        let reading = client.within(Duration::from_millis(20)).start("never").unwrap();
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

/// More than are queued, given at once, to a client that does nothing but read.
fn replies_of_the_largest_size_given_at_once_arrive<B: Backend>() {
    const REPLIES: usize = 6;
    let backend = B::new();
    let size = Limits::default().message;
    let reply = Bytes::from(pattern(size, 3));
    let mut waiting = Vec::new();
    let answer = reply.clone();
    let server = backend.serve_calls(&Limits::default()).unwrap();
    let _serving = Serving::start(server, move |_, responder| {
        waiting.push(responder);
        if waiting.len() == REPLIES {
            waiting.drain(..).for_each(|responder| responder.reply(answer.clone()));
        }
    });
    let client = backend.client(&Limits::default()).unwrap();
    thread::scope(|scope| {
        for _ in 0..REPLIES {
            scope.spawn(|| assert!(client.call("").unwrap() == reply));
        }
    });
}

/// Where there is no memory for one more, its caller is told, and the others arrive.
fn the_memory_for_replies_has_a_bound<B: Backend>() {
    const REPLIES: usize = 20;
    let backend = B::new();
    let mut server_limits = limits();
    (server_limits.message, server_limits.memory) = (1 << 20, 8 << 20);
    let server = backend.serve_calls(&server_limits).unwrap();
    let mut waiting = Vec::new();
    let _serving = Serving::start(server, move |_, responder| {
        waiting.push(responder);
        if waiting.len() == REPLIES {
            waiting.drain(..).for_each(|responder| responder.reply(vec![7; 1 << 20]));
        }
    });
    let client = backend.client(&limits()).unwrap();
    let calls: Vec<_> = (0..REPLIES).map(|_| client.start("").unwrap()).collect();
    let (mut arrived, mut dropped) = (0, 0);
    for call in calls {
        match call.wait() {
            Ok(reply) => arrived += usize::from(reply.len() == 1 << 20),
            Err(Error::Answered { reply, .. }) => {
                assert_eq!(reply.code, ErrorReply::REPLY_DROPPED, "{reply}");
                dropped += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    // Eight fit, and what the system itself holds.
    assert_eq!(arrived + dropped, REPLIES);
    assert!((8..=10).contains(&arrived), "{arrived} arrived");
    // It is as it was before.
    let calls: Vec<_> = (0..REPLIES).map(|_| client.start("").unwrap()).collect();
    assert!(calls.into_iter().map(|call| call.wait()).filter(Result::is_ok).count() >= 8);
}

/// A thread that gave up reading ends; Windows then cancels the read that it had begun.
fn who_reads_may_end_and_others_read_on<B: Backend>() {
    let backend = B::new();
    let mut never = Vec::new();
    let server = backend.serve_calls(&limits()).unwrap();
    let _serving = Serving::start(server, move |request, responder| match &request.body()[..] {
        b"never" => never.push(responder),
        _ => responder.reply(request.body()),
    });
    let client = backend.client(&limits()).unwrap();
    for _ in 0..5 {
        let hasty = client.within(Duration::from_millis(5));
        let ended = thread::spawn(move || hasty.call("never").unwrap_err()).join().unwrap();
        assert!(matches!(ended, Error::Deadline { .. }), "{ended}");
        assert_eq!(client.call("still there?").unwrap(), "still there?");
    }
}
