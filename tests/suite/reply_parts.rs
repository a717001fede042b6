//! Replies of any number of parts, on every transport.

use crate::common::serving::{Serving, limits};
use crate::common::{Backend, PATIENCE, pattern};
use msgpipe::{Client, Error, ErrorReply, Metadata, PartError, PartSender, Parts, Progress};
use std::io::{Read, Write};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

crate::on_every_transport!(
    parts_of_all_sizes_arrive_in_order_and_end,
    a_reply_of_parts_is_written_and_read_as_bytes,
    an_error_comes_after_the_parts,
    a_sender_that_gives_up_leaves_no_complete_reply,
    what_was_sent_before_a_panic_arrives_before_the_error,
    a_client_that_takes_no_more_ends_the_sender,
    a_client_that_goes_ends_the_sender,
    a_client_that_takes_nothing_stops_its_sender_and_nobody_else,
    a_server_that_ends_ends_the_parts,
    a_part_is_looked_for_and_waited_for,
    every_kind_of_reply_can_be_taken_as_parts,
    a_call_takes_no_reply_in_several_parts,
    threads_share_a_client_with_a_reply_each,
    a_handler_cannot_wait_for_itself,
    a_request_brings_its_method_its_metadata_and_its_deadline,
);

/// A server whose replies are made by `reply`, each on a thread of its own.
fn serving<B: Backend>(
    backend: &B,
    reply: impl Fn(String, PartSender) + Send + Sync + Clone + 'static,
) -> Serving {
    let server = backend.serve_calls(&limits()).unwrap();
    Serving::start(server, move |request, responder| {
        let reply = reply.clone();
        thread::spawn(move || {
            let text = String::from_utf8_lossy(&request.body()).into_owned();
            reply(text, responder.into_parts());
        });
    })
}

/// A server that passes on what sends its replies.
fn passing<B: Backend>(backend: &B) -> (Serving, mpsc::Receiver<PartSender>) {
    let (tell, senders) = mpsc::channel();
    let server = backend.serve_calls(&limits()).unwrap();
    let serving = Serving::start(server, move |_, responder| {
        tell.send(responder.into_parts()).unwrap();
    });
    (serving, senders)
}

fn client<B: Backend>(backend: &B) -> Client {
    backend.client(&limits()).unwrap()
}

/// The next part, which has to come.
#[track_caller]
fn next(parts: &mut Parts) -> bytes::Bytes {
    parts.next_within(PATIENCE).unwrap().expect("another part")
}

fn parts_of_all_sizes_arrive_in_order_and_end<B: Backend>() {
    const SIZES: [usize; 9] = [0, 1, 0, 1000, 16 * 1024, 64 * 1024, 100_000, (1 << 20) + 1, 3];
    let backend = B::new();
    let _serving = serving(&backend, |text, mut parts| {
        let count: usize = text.parse().unwrap();
        for at in 0..count {
            parts.send(pattern(SIZES[at % SIZES.len()], at as u8)).unwrap();
        }
        parts.finish();
    });
    let client = client(&backend);
    for count in [0, 1, 2, 9, 40] {
        let mut expected = (0..count).map(|at| pattern(SIZES[at % SIZES.len()], at as u8));
        let mut parts = client.stream(count.to_string()).unwrap();
        for part in &mut parts {
            assert!(part.unwrap() == expected.next().unwrap(), "of {count}: another part");
        }
        assert!(expected.next().is_none(), "of {count}: parts are missing");
        assert!(parts.next().is_none(), "it stays at its end");
    }
}

fn a_reply_of_parts_is_written_and_read_as_bytes<B: Backend>() {
    let backend = B::new();
    let _serving = serving(&backend, |_, mut parts| {
        for piece in pattern(300_000, 5).chunks(7001) {
            parts.write_all(piece).unwrap();
        }
        parts.finish();
    });
    let mut read = Vec::new();
    client(&backend).stream("").unwrap().read_to_end(&mut read).unwrap();
    assert!(read == pattern(300_000, 5), "other bytes");
}

fn an_error_comes_after_the_parts<B: Backend>() {
    let backend = B::new();
    let _serving = serving(&backend, |_, mut parts| {
        parts.send("one").unwrap();
        parts.send("two").unwrap();
        parts.fail(ErrorReply::new(404, "there is no third"));
    });
    let mut parts = client(&backend).stream("").unwrap();
    assert_eq!((next(&mut parts), next(&mut parts)), ("one".into(), "two".into()));
    match parts.next_within(PATIENCE) {
        Err(Error::Answered { reply, .. }) => assert_eq!(reply.code, 404),
        other => panic!("{other:?}"),
    }
    assert_eq!(parts.next_within(PATIENCE).unwrap(), None);
}

fn a_sender_that_gives_up_leaves_no_complete_reply<B: Backend>() {
    let backend = B::new();
    let (_serving, senders) = passing(&backend);
    let client = client(&backend);
    let mut parts = client.stream("").unwrap();
    let mut sender = senders.recv_timeout(PATIENCE).unwrap();
    sender.send("one").unwrap();
    assert_eq!(next(&mut parts), "one");
    drop(sender);
    let failed = parts.next_within(PATIENCE).unwrap_err();
    assert!(matches!(failed, Error::Answered { .. }), "{failed}");
    assert!(failed.to_string().contains("before its end"), "{failed}");
}

/// Also what waits for the client to take parts.
fn what_was_sent_before_a_panic_arrives_before_the_error<B: Backend>() {
    // More than the system's buffers, and less than what waits in the server before its sender does.
    const MANY: usize = 10;
    let backend = B::new();
    let (_serving, senders) = passing(&backend);
    let client = client(&backend);
    let mut parts = client.stream("").unwrap();
    let mut sender = senders.recv_timeout(PATIENCE).unwrap();
    let sending = thread::spawn(move || {
        for number in 0..MANY {
            sender.send(pattern(70_000, number as u8)).unwrap();
        }
        std::panic::resume_unwind(Box::new("as it is to"));
    });
    sending.join().unwrap_err();
    for number in 0..MANY {
        assert!(next(&mut parts) == pattern(70_000, number as u8), "another part than {number}");
    }
    let failed = parts.next_within(PATIENCE).unwrap_err();
    assert!(matches!(&failed, Error::Answered { reply, .. } if reply.code == ErrorReply::FAILED));
}

/// The sender is told while it waits, and also before.
fn a_client_that_takes_no_more_ends_the_sender<B: Backend>() {
    let backend = B::new();
    let (_serving, senders) = passing(&backend);
    let client = client(&backend);
    for size in [100, 100_000] {
        let mut parts = client.stream("").unwrap();
        let mut sender = senders.recv_timeout(PATIENCE).unwrap();
        let sending = thread::spawn(move || {
            loop {
                if let Err(error) = sender.send(pattern(size, 1)) {
                    return (error, sender.is_cancelled());
                }
            }
        });
        next(&mut parts);
        drop(parts);
        assert_eq!(sending.join().unwrap(), (PartError::Cancelled, true));
    }
    assert!(!client.is_closed());
}

fn a_client_that_goes_ends_the_sender<B: Backend>() {
    let backend = B::new();
    let (_serving, senders) = passing(&backend);
    let client = client(&backend);
    let parts = client.stream("").unwrap();
    let mut sender = senders.recv_timeout(PATIENCE).unwrap();
    let sending = thread::spawn(move || {
        loop {
            if let Err(error) = sender.send(pattern(100_000, 1)) {
                return error;
            }
        }
    });
    client.close();
    assert!(matches!(parts.last(), Some(Err(Error::Closed { .. }))));
    // On Windows the pipe ends with the last handle.
    drop(client);
    assert_eq!(sending.join().unwrap(), PartError::Cancelled);
}

fn a_client_that_takes_nothing_stops_its_sender_and_nobody_else<B: Backend>() {
    const PART: usize = 10_000;
    let backend = B::new();
    let (_serving, senders) = passing(&backend);
    let client = client(&backend);
    let parts = client.stream("").unwrap();
    let mut sender = senders.recv_timeout(PATIENCE).unwrap();
    // The sender comes to a halt: nothing more is taken although another call's bytes pass.
    let mut sent = 0;
    let mut halted = 0;
    while halted < 3 {
        match sender.try_send(pattern(PART, sent as u8)) {
            Ok(()) => (sent, halted) = (sent + 1, 0),
            Err(PartError::Full(part)) => {
                assert_eq!(part, pattern(PART, sent as u8));
                let other = client.start("beside it").unwrap();
                senders.recv_timeout(PATIENCE).unwrap().finish();
                assert_eq!(other.wait().unwrap(), "");
                halted += 1;
            }
            Err(error) => panic!("{error}"),
        }
        assert!(sent * PART < 8 << 20, "{sent} parts, and no end");
    }
    let sending = thread::spawn(move || {
        for at in sent..sent + 100 {
            sender.send(pattern(PART, at as u8)).unwrap();
        }
        sender.finish();
    });
    let mut count = 0;
    for part in parts {
        assert!(part.unwrap() == pattern(PART, count as u8), "another part {count}");
        count += 1;
    }
    assert_eq!(count, sent + 100);
    sending.join().unwrap();
}

fn a_server_that_ends_ends_the_parts<B: Backend>() {
    let backend = B::new();
    let (serving, senders) = passing(&backend);
    let mut parts = client(&backend).stream("").unwrap();
    let mut sender = senders.recv_timeout(PATIENCE).unwrap();
    sender.send("one").unwrap();
    assert_eq!(next(&mut parts), "one");
    // It drains until the sender has ended.
    let ending = thread::spawn(move || drop(serving));
    sender.send("two").unwrap();
    sender.finish();
    ending.join().unwrap();
    assert_eq!(next(&mut parts), "two");
    assert_eq!(parts.next_within(PATIENCE).unwrap(), None);
}

fn a_part_is_looked_for_and_waited_for<B: Backend>() {
    let backend = B::new();
    let (_serving, senders) = passing(&backend);
    let mut parts = client(&backend).stream("").unwrap();
    let mut sender = senders.recv_timeout(PATIENCE).unwrap();
    assert!(parts.try_next().is_none());
    match parts.next_within(Duration::from_millis(10)) {
        Err(Error::Deadline { progress, .. }) => assert_eq!(progress, Progress::NoRequest),
        other => panic!("{other:?}"),
    }
    sender.send("late").unwrap();
    assert_eq!(next(&mut parts), "late");
    sender.finish();
    loop {
        match parts.try_next() {
            Some(end) => break assert_eq!(end.unwrap(), None),
            None => thread::yield_now(),
        }
    }
}

fn every_kind_of_reply_can_be_taken_as_parts<B: Backend>() {
    let backend = B::new();
    let server = backend.serve_calls(&limits()).unwrap();
    let _serving = Serving::start(server, |request, responder| match &request.body()[..] {
        b"fail" => responder.reply(Err::<(), _>("no")),
        b"" => responder.into_parts().finish(),
        _ => responder.reply(request.body()),
    });
    let client = client(&backend);
    for body in [pattern(10, 1), pattern(100_000, 2), pattern(3 << 20, 3)] {
        let parts: Vec<_> = client.stream(&body).unwrap().map(Result::unwrap).collect();
        assert!(parts == [body], "another reply");
    }
    assert_eq!(client.stream("").unwrap().count(), 0);
    let parts: Vec<_> = client.stream("fail").unwrap().collect();
    assert!(matches!(&parts[..], [Err(Error::Answered { .. })]), "{parts:?}");
    // A call for one reply gets no parts at all as an empty one.
    assert_eq!(client.call("").unwrap(), "");
}

/// One of them would be taken for all of it. One part is all, whether its end comes with it or later.
fn a_call_takes_no_reply_in_several_parts<B: Backend>() {
    let backend = B::new();
    let (_serving, senders) = passing(&backend);
    let client = client(&backend);
    for size in [3, 100_000] {
        let mut call = client.start("").unwrap();
        let mut sender = senders.recv_timeout(PATIENCE).unwrap();
        sender.send(vec![7; size]).unwrap();
        // Its first part arrives, and is not all of it yet.
        assert!(call.wait_within(Duration::from_millis(20)).is_none());
        sender.finish();
        assert!(call.wait().unwrap() == vec![7; size]);

        let call = client.start("").unwrap();
        let mut sender = senders.recv_timeout(PATIENCE).unwrap();
        sender.send(vec![7; size]).unwrap();
        sender.send(vec![8; size]).unwrap();
        let error = call.wait().unwrap_err();
        assert_eq!(error.reply().unwrap().code, ErrorReply::REPLY_IN_PARTS);
        assert!(!error.is_not_begun() && error.to_string().contains("`stream`"), "{error}");
        while sender.send("more").is_ok() {}
        assert!(sender.is_cancelled());
    }
    let counts = client.counts().calls;
    assert_eq!((counts.replied, counts.failed, counts.ended()), (2, 2, 4));
}

fn threads_share_a_client_with_a_reply_each<B: Backend>() {
    let backend = B::new();
    let _serving = serving(&backend, |text, mut parts| {
        for at in 0..200 {
            parts.send(format!("{text} {at}")).unwrap();
        }
        parts.finish();
    });
    let client = client(&backend);
    thread::scope(|scope| {
        for name in ["one", "two", "three", "four"] {
            let client = &client;
            scope.spawn(move || {
                for (at, part) in client.stream(name).unwrap().enumerate() {
                    assert_eq!(part.unwrap(), format!("{name} {at}"));
                }
            });
        }
    });
}

fn a_handler_cannot_wait_for_itself<B: Backend>() {
    let backend = B::new();
    let server = backend.serve_calls(&limits()).unwrap();
    let _serving = Serving::start(server, |_, responder| {
        let mut parts = responder.into_parts();
        let mut sent = 0;
        let full = loop {
            match parts.send(pattern(1000, 0)) {
                Ok(()) => sent += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(full, PartError::Full(_)), "{full}");
        parts.fail(sent.to_string());
    });
    let parts: Vec<_> = client(&backend).stream("").unwrap().collect();
    let sent = parts.iter().filter(|part| part.is_ok()).count();
    // As many as may wait, with 64 bytes more for each.
    assert_eq!(sent, (512 << 10) / (1000 + 64));
    assert_eq!(parts.len(), sent + 1);
}

fn a_request_brings_its_method_its_metadata_and_its_deadline<B: Backend>() {
    let backend = B::new();
    let server = backend.serve_calls(&limits()).unwrap();
    let _serving = Serving::start(server, |request, responder| {
        let trace = request.metadata().get(b"trace").unwrap_or_default();
        let left = request.deadline().map(|at| at.saturating_duration_since(Instant::now()));
        let has_time = left.is_some_and(|left| left > PATIENCE / 2 && left <= PATIENCE);
        let (method, body) = (request.method(), request.body());
        responder.reply(format!("{method} {trace:?} {has_time} {body:?}"));
    });
    let plain = client(&backend);
    let trace = Metadata::default().with(b"trace", b"1-2").unwrap();
    let traced = plain.with_metadata(trace.clone());
    assert_eq!(plain.call("a").unwrap(), r#"0 b"" true b"a""#);
    assert_eq!(plain.with_method(7).call("b").unwrap(), r#"7 b"" true b"b""#);
    assert_eq!(traced.call("c").unwrap(), r#"0 b"1-2" true b"c""#);
    assert_eq!(traced.with_method(0xFFFF_FEFF).call("").unwrap(), r#"4294967039 b"1-2" true b"""#);
    let mut batch = traced.batch();
    batch.add("d").add("e");
    for call in batch.send().unwrap() {
        assert!(call.wait().unwrap().starts_with(br#"0 b"1-2" true"#));
    }
    // A reply of parts has any time.
    let mut parts = traced.stream("f").unwrap();
    assert_eq!(next(&mut parts), r#"0 b"1-2" false b"f""#);
}
