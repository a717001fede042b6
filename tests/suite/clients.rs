//! Shared clients and short deadlines: a thread's use of a connection does not harm the
//! other threads.

use crate::common::raw::settings;
use crate::common::{Backend, PATIENCE, connected, message, pattern, welcomed};
use msgpipe::framing::Lines;
use msgpipe::{
    Client, CloseReason, Error, Event, Limits, MessageServer, Progress, Server, memory as in_memory,
};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

crate::on_every_transport!(
    receiving_with_a_zero_timeout_returns_an_arrived_message,
    any_duration_is_accepted,
    a_batch_is_sent_as_a_whole_or_not_at_all,
    the_error_says_whether_a_request_was_begun,
    closing_a_client_ends_all_waits,
    an_arrived_reply_is_returned_without_waiting,
    a_call_ends_at_its_deadline_also_under_a_stream_of_other_replies,
);
crate::on_named_transports!(
    the_rest_of_a_message_is_sent_while_others_wait,
    a_first_message_over_the_servers_limit_does_not_end_the_connection,
);

fn receiving_with_a_zero_timeout_returns_an_arrived_message<B: Backend>() {
    let backend = B::new();
    let mut server = backend.listen(&Limits::default()).unwrap();
    let client = backend.message_client(&Limits::default()).unwrap();
    let id = welcomed(&mut server);
    let error = client.receive(Some(Duration::ZERO)).unwrap_err();
    assert!(matches!(error, Error::Deadline { progress: Progress::NoRequest, .. }), "{error}");
    server.send(id, "hello".into()).unwrap();
    assert!(server.poll(Some(Duration::ZERO)).unwrap().is_none());
    // It has arrived as soon as the system has it.
    let started = Instant::now();
    let received = loop {
        match client.receive(Some(Duration::ZERO)) {
            Err(Error::Deadline { .. }) if started.elapsed() < PATIENCE => thread::yield_now(),
            received => break received.unwrap(),
        }
    };
    assert_eq!(received, "hello");
}

fn any_duration_is_accepted<B: Backend>() {
    let backend = B::new();
    let mut server = backend.listen(&Limits::default()).unwrap();
    let client = backend.message_client(&Limits::default()).unwrap();
    let id = welcomed(&mut server);
    for forever in [Duration::MAX, Duration::from_millis(u64::MAX), Duration::from_secs(1 << 40)] {
        thread::scope(|scope| {
            let waiting = scope.spawn(|| client.receive(Some(forever)).unwrap());
            server.send(id, "hello".into()).unwrap();
            assert!(server.poll(Some(Duration::ZERO)).unwrap().is_none());
            assert_eq!(waiting.join().unwrap(), "hello");
        });
    }
    drop(server);
    let server = backend.serve_calls(&Limits::default()).unwrap();
    let stopper = server.stopper();
    let serving = thread::spawn(move || server.serve(|request| request.body()));
    let client = backend.client(&Limits::default()).unwrap();
    assert_eq!(client.with_timeout(Duration::MAX).call("hello").unwrap(), "hello");
    stopper.stop();
    serving.join().unwrap().unwrap();
}

/// A thread with a short deadline leaves a message half sent. Another waits on the same connection for a reply that
/// arrives only once the server has that message.
fn the_rest_of_a_message_is_sent_while_others_wait<B: Backend>() {
    const MUCH: usize = 1 << 20;
    let backend = B::new();
    let (tell, reads) = mpsc::channel::<()>();
    let limits = Limits::default();
    let server = backend.serve_calls(&limits).unwrap();
    let stopper = server.stopper();
    let serving = thread::spawn(move || {
        let (mut patient, mut busy) = (None, None);
        server.serve_deferred(move |request, responder| match &request.body()[..] {
            b"first" => responder.reply(""),
            b"patient" => patient = Some(responder),
            // No thread reads or sends meanwhile or afterwards.
            b"busy" => {
                busy = Some(responder);
                reads.recv().unwrap();
            }
            body => {
                assert_eq!(body.len(), MUCH);
                patient.take().expect("the first call").reply("now");
                responder.reply("");
                drop(busy.take());
            }
        })
    });
    let client = backend.client(&limits).unwrap();
    client.call("first").unwrap();
    thread::scope(|scope| {
        let patient = client.start("patient").unwrap();
        let waiting = scope.spawn(|| patient.wait());
        let _busy = client.start("busy").unwrap();
        // The server does not read: a part of this is sent, and its thread has ended.
        let hurried = client.with_timeout(Duration::from_millis(50));
        let error = thread::spawn(move || hurried.call(vec![7; MUCH]).unwrap_err()).join().unwrap();
        assert!(
            matches!(error, Error::Deadline { progress: Progress::Unknown, .. }),
            "{error}, of which a part was sent"
        );
        // There is no room for another after it.
        let error = client.with_timeout(Duration::from_millis(1)).call("not sent").unwrap_err();
        assert!(
            matches!(error, Error::Deadline { progress: Progress::NotBegun, .. }),
            "{error}, of which nothing was sent"
        );
        tell.send(()).unwrap();
        assert_eq!(waiting.join().unwrap().unwrap(), "now");
    });
    stopper.stop();
    serving.join().unwrap().unwrap();
}

fn a_first_message_over_the_servers_limit_does_not_end_the_connection<B: Backend>() {
    let backend = B::new();
    let limits = small(1000);
    let server = backend.serve_calls(&limits).unwrap();
    let stopper = server.stopper();
    let serving = thread::spawn(move || server.serve(|request| request.body()));
    for size in [999, 1000, 1001, 100_000] {
        let client = backend.client(&Limits::default()).unwrap();
        match client.call(pattern(size, 1)) {
            Ok(reply) => assert!(size <= 1000 && reply == pattern(size, 1)),
            Err(Error::TooLarge { message, .. }) => {
                assert!(size > 1000 && message == pattern(size, 1), "{size}");
            }
            Err(error) => panic!("{size}: {error}"),
        }
        assert_eq!(client.call("and a small one").unwrap(), "and a small one");
    }
    stopper.stop();
    serving.join().unwrap().unwrap();
}

fn small(message: usize) -> Limits {
    let mut limits = Limits::default();
    limits.message = message;
    limits
}

fn a_batch_is_sent_as_a_whole_or_not_at_all<B: Backend>() {
    let backend = B::new();
    let server = backend.serve_calls(&small(1000)).unwrap();
    let stopper = server.stopper();
    let serving = thread::spawn(move || {
        let mut handled = 0;
        server.serve(move |_| {
            handled += 1;
            handled.to_string()
        })
    });
    let client = backend.client(&Limits::default()).unwrap();
    assert_eq!(client.call("").unwrap(), "1");
    let mut batch = client.batch();
    batch.add("one").add("two").add(vec![0; 1001]).add("four");
    match batch.send().unwrap_err() {
        Error::TooLarge { message, .. } => assert_eq!(message.len(), 1001),
        error => panic!("{error}"),
    }
    assert_eq!(client.call("").unwrap(), "2", "a part of the batch was sent");
    let mut batch = client.batch();
    batch.add("one").add("two");
    let replies: Vec<_> = batch.send().unwrap().into_iter().map(|c| c.wait().unwrap()).collect();
    assert_eq!(replies, ["3", "4"]);
    stopper.stop();
    serving.join().unwrap().unwrap();
}

/// A request with an unsent last byte was certainly not begun; for a sent one it is unknown.
fn the_error_says_whether_a_request_was_begun<B: Backend>() {
    let backend = B::new();
    let mut server = backend.listen_for_calls(&Limits::default());
    let client = backend.client(&Limits::default()).unwrap();
    let id = connected(&mut server);
    thread::scope(|scope| {
        let call = client.start("arrives").unwrap();
        // The client's settings, and its request.
        message(&mut server);
        message(&mut server);
        server.send(id, settings().into()).unwrap();
        assert!(matches!(server.poll(Some(Duration::ZERO)), Ok(None)));
        // Larger than the system's buffer, and the server does not read.
        let large = scope.spawn(|| client.call(vec![0; 8 << 20]).unwrap_err());
        let started = Instant::now();
        while started.elapsed() < Duration::from_millis(50) {
            thread::yield_now();
        }
        server.abort(id);
        while !matches!(server.poll(None).unwrap(), Some(Event::Closed(..))) {}
        let known = |error: Error| match error {
            Error::Closed { progress, .. } => progress,
            error => panic!("{error}"),
        };
        assert_eq!(known(large.join().unwrap()), Progress::NotBegun);
        assert_eq!(known(call.wait().unwrap_err()), Progress::Unknown);
        let later = client.call("too late").unwrap_err();
        assert!(later.is_not_begun(), "{later}");
    });
}

fn closing_a_client_ends_all_waits<B: Backend>() {
    let backend = B::new();
    let mut server = backend.listen(&Limits::default()).unwrap();
    let client = backend.message_client(&Limits::default()).unwrap();
    welcomed(&mut server);
    let other = client.clone();
    let waiting = thread::spawn(move || other.receive(None).unwrap_err());
    assert!(!client.is_closed() && !client.endpoint().is_empty());
    client.close();
    let error = waiting.join().unwrap();
    assert!(matches!(error, Error::Closed { reason: CloseReason::Local, .. }), "{error}");
    assert!(client.is_closed());
    let Err(Error::Closed { .. }) = client.send("more") else { panic!("it was sent") };
}

fn an_arrived_reply_is_returned_without_waiting<B: Backend>() {
    let backend = B::new();
    let server = backend.serve_calls(&Limits::default()).unwrap();
    let stopper = server.stopper();
    let (go, goes) = mpsc::channel::<()>();
    let serving = thread::spawn(move || {
        server.serve(move |request| {
            goes.recv().unwrap();
            request.body()
        })
    });
    let client = backend.client(&Limits::default()).unwrap();
    let mut call = client.start("hello").unwrap();
    assert!(call.try_wait().is_none());
    go.send(()).unwrap();
    let started = Instant::now();
    let reply = loop {
        if let Some(reply) = call.try_wait() {
            break reply.unwrap();
        }
        assert!(started.elapsed() < PATIENCE, "no reply came");
        thread::yield_now();
    };
    assert_eq!(reply, "hello");
    assert!(call.try_wait().is_none());
    assert!(matches!(call.wait(), Err(Error::Misuse { .. })));
    let mut late = client.with_timeout(Duration::from_millis(1)).start("late").unwrap();
    let error = loop {
        if let Some(ended) = late.try_wait() {
            break ended.unwrap_err();
        }
        thread::yield_now();
    };
    assert!(matches!(error, Error::Deadline { .. }), "{error}");
    go.send(()).unwrap();
    stopper.stop();
    serving.join().unwrap().unwrap();
}

/// The reading thread always has more replies of other threads to read.
fn a_call_ends_at_its_deadline_also_under_a_stream_of_other_replies<B: Backend>() {
    let backend = B::new();
    let server = backend.serve_calls(&Limits::default()).unwrap();
    let stopper = server.stopper();
    let serving = thread::spawn(move || {
        let mut never = Vec::new();
        server.serve_deferred(move |request, responder| match &request.body()[..] {
            b"never" => never.push(responder),
            _ => responder.reply(vec![1; 100_000]),
        })
    });
    let client = backend.client(&Limits::default()).unwrap();
    let (tell, ended) = mpsc::channel();
    let never = client.with_timeout(Duration::from_millis(20)).start("never").unwrap();
    thread::scope(|scope| {
        scope.spawn(move || {
            let error = never.wait().unwrap_err();
            assert!(matches!(error, Error::Deadline { .. }), "{error}");
            tell.send(()).unwrap();
        });
        // Enough to keep replies arriving until that call has ended.
        let mut calls = std::collections::VecDeque::new();
        while ended.try_recv().is_err() {
            calls.push_back(client.start("more").unwrap());
            if calls.len() > 20 {
                calls.pop_front().unwrap().wait().unwrap();
            }
        }
        calls.into_iter().for_each(|call| drop(call.wait().unwrap()));
    });
    stopper.stop();
    serving.join().unwrap().unwrap();
}

#[test]
fn calls_are_refused_over_a_framing_that_cannot_carry_them() {
    let name = crate::common::unique_name();
    let options = msgpipe::ServerOptions::new().framing(Lines::new(1000));
    let error = options.bind(name.as_str()).unwrap_err();
    assert!(matches!(error, Error::Misuse { .. }), "{error}");
    let _server = options.bind_messages(name.as_str()).unwrap();
    let options = msgpipe::ClientOptions::new().framing(Lines::new(1000));
    let error = options.connect(name.as_str()).unwrap_err();
    assert!(matches!(error, Error::Misuse { .. }) && error.to_string().contains(&name), "{error}");
    options.connect_messages(name.as_str()).unwrap();
}

/// A reply that stays unread past the server's write_stall is lost with the connection; the error says
/// that this side had not read.
#[test]
fn a_client_that_reads_its_reply_too_late_learns_why_the_connection_ended() {
    let hub = in_memory::Hub::new();
    let mut limits = Limits::default();
    limits.write_stall = Duration::from_millis(1100);
    let messages = hub.listen_for_calls("test", limits.clone()).unwrap();
    let server = Server::over(messages, limits);
    let (tell, left) = mpsc::channel();
    let server = server.on_closed(move |_, reason| tell.send(reason.clone()).unwrap());
    let stopper = server.stopper();
    let serving = thread::spawn(move || server.serve(|_| vec![1; 1 << 20]));
    let client: Client = hub.client("test", Limits::default()).unwrap();
    let call = client.start("").unwrap();
    let reason = left.recv_timeout(PATIENCE).unwrap();
    assert!(matches!(reason, CloseReason::Unread { .. }), "{reason}");
    let error = call.wait().unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::Closed { progress: Progress::Unknown, .. }), "{text}");
    assert!(text.contains("had not read") && text.contains("write_stall"), "{text}");
    stopper.stop();
    serving.join().unwrap().unwrap();
}
