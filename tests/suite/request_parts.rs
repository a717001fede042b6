//! Requests of any number of parts, on every transport.

use crate::common::serving::{Serving, limits};
use crate::common::{Backend, PATIENCE, pattern};
use bytes::Bytes;
use msgpipe::{
    Client, Error, ErrorReply, Interrupt, Limits, Metadata, ReceiveError, Request, RequestParts,
    Responder, Upload,
};
use std::io::{Read, Write};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

crate::on_every_transport!(
    parts_of_all_sizes_arrive_in_order_and_end,
    a_request_of_parts_is_written_and_read_as_bytes,
    a_request_of_one_message_is_one_part,
    a_request_brings_its_method_and_its_metadata,
    a_server_that_does_not_accept_them_says_so,
    an_answer_before_the_end_stops_the_request,
    a_request_that_is_dropped_is_cancelled,
    a_request_that_is_given_up_is_incomplete,
    a_client_that_goes_ends_its_request,
    a_server_that_ends_ends_the_request,
    both_directions_go_on_at_once,
    a_part_is_looked_for_and_waited_for,
    the_time_of_a_call_counts_from_the_end_of_its_request,
    an_upload_has_one_right_end,
);

/// A server that passes on its requests.
pub fn passing_with<B: Backend>(
    backend: &B,
    limits: &Limits,
) -> (Serving, mpsc::Receiver<(Request, Responder)>) {
    let (tell, requests) = mpsc::channel();
    let server = backend.serve_calls(limits).unwrap().accept_streams();
    let serving = Serving::start(server, move |request, responder| match &request.body()[..] {
        b"echo" => responder.reply("echo"),
        _ => tell.send((request, responder)).unwrap(),
    });
    (serving, requests)
}

pub fn passing<B: Backend>(backend: &B) -> (Serving, mpsc::Receiver<(Request, Responder)>) {
    passing_with(backend, &limits())
}

pub fn client<B: Backend>(backend: &B) -> Client {
    backend.client(&limits()).unwrap()
}

/// The next part, which has to come.
#[track_caller]
pub fn next(parts: &mut RequestParts) -> Bytes {
    parts.next_within(PATIENCE).unwrap().expect("another part")
}

/// Begins an upload, and returns it with what the server has of it.
#[track_caller]
pub fn upload(
    client: &Client,
    requests: &mpsc::Receiver<(Request, Responder)>,
) -> (Upload, RequestParts, Responder) {
    let upload = client.upload().unwrap();
    let (request, responder) = requests.recv_timeout(PATIENCE).unwrap();
    (upload, request.into_parts(), responder)
}

fn parts_of_all_sizes_arrive_in_order_and_end<B: Backend>() {
    const SIZES: [usize; 9] = [0, 1, 0, 1000, 16 * 1024, 64 * 1024, 100_000, (1 << 20) + 1, 3];
    let backend = B::new();
    let (_serving, requests) = passing(&backend);
    let client = client(&backend);
    let server = thread::spawn(move || {
        for (request, responder) in requests {
            let mut count = 0;
            for part in request.into_parts() {
                let expected = pattern(SIZES[count % SIZES.len()], count as u8);
                assert!(part.unwrap() == expected, "another part {count}");
                count += 1;
            }
            responder.reply(count.to_string());
        }
    });
    for count in [0, 1, 2, 9, 40] {
        let mut upload = client.upload().unwrap();
        for at in 0..count {
            upload.send(pattern(SIZES[at % SIZES.len()], at as u8)).unwrap();
        }
        assert_eq!(upload.finish().unwrap().wait().unwrap(), count.to_string());
    }
    drop((client, _serving));
    server.join().unwrap();
}

fn a_request_of_parts_is_written_and_read_as_bytes<B: Backend>() {
    let backend = B::new();
    let (_serving, requests) = passing(&backend);
    let client = client(&backend);
    let (mut upload, mut parts, responder) = upload(&client, &requests);
    let reader = thread::spawn(move || {
        let mut read = Vec::new();
        parts.read_to_end(&mut read).unwrap();
        responder.reply(read);
    });
    for piece in pattern(3_000_000, 5).chunks(7001) {
        upload.write_all(piece).unwrap();
    }
    let reply = upload.finish().unwrap().wait().unwrap();
    assert!(reply == pattern(3_000_000, 5), "other bytes");
    reader.join().unwrap();
}

fn a_request_of_one_message_is_one_part<B: Backend>() {
    let backend = B::new();
    let (_serving, requests) = passing(&backend);
    let client = client(&backend);
    let call = client.start("hello").unwrap();
    let (request, responder) = requests.recv_timeout(PATIENCE).unwrap();
    assert!(!request.is_stream() && request.body() == "hello");
    let mut parts = request.into_parts();
    assert_eq!(next(&mut parts), "hello");
    assert_eq!(parts.next(), None);
    responder.reply("");
    call.wait().unwrap();
}

fn a_request_brings_its_method_and_its_metadata<B: Backend>() {
    let backend = B::new();
    let (_serving, requests) = passing(&backend);
    let metadata = Metadata::default().with(b"name", b"notes.txt").unwrap();
    let client = client(&backend).with_method(9).with_metadata(metadata.clone());
    let _upload = client.upload().unwrap();
    let (request, _responder) = requests.recv_timeout(PATIENCE).unwrap();
    assert_eq!((request.method(), request.metadata()), (9, metadata));
}

fn a_server_that_does_not_accept_them_says_so<B: Backend>() {
    let backend = B::new();
    let _serving = Serving::echo(&backend, &limits());
    let client = client(&backend);
    let mut upload = client.upload().unwrap();
    // The refusal may come before or after the first part.
    let _ = upload.send("a part").and_then(|()| upload.send("another"));
    match upload.finish().unwrap().wait() {
        Err(error @ Error::Answered { .. }) => {
            assert_eq!(error.reply().unwrap().code, ErrorReply::PARTS_REFUSED);
            assert!(error.is_not_begun());
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(client.call("goes on").unwrap(), "goes on");
}

fn an_answer_before_the_end_stops_the_request<B: Backend>() {
    let backend = B::new();
    let (_serving, requests) = passing(&backend);
    let client = client(&backend);
    let (mut upload, mut parts, responder) = upload(&client, &requests);
    upload.send("one").unwrap();
    assert_eq!(next(&mut parts), "one");
    responder.reply(Err::<&str, _>(ErrorReply::new(507, "the disk is full")));
    let stopped = (0..10_000).find_map(|_| upload.send(pattern(1000, 1)).err());
    assert!(matches!(stopped, Some(Error::Stopped { .. })), "{stopped:?}");
    assert_eq!(parts.next_within(PATIENCE), Err(ReceiveError::Cancelled));
    match upload.finish().unwrap().wait() {
        Err(Error::Answered { reply, .. }) => assert_eq!(reply.code, 507),
        other => panic!("{other:?}"),
    }
}

fn a_request_that_is_dropped_is_cancelled<B: Backend>() {
    let backend = B::new();
    let (_serving, requests) = passing(&backend);
    let client = client(&backend);
    let (mut upload, mut parts, responder) = upload(&client, &requests);
    let (tell, told) = mpsc::channel();
    responder.on_interrupt(move |why| tell.send(why).unwrap());
    upload.send("one").unwrap();
    assert_eq!(next(&mut parts), "one");
    let waits = thread::spawn(move || parts.next_within(PATIENCE));
    drop(upload);
    assert_eq!(waits.join().unwrap(), Err(ReceiveError::Cancelled));
    assert_eq!(told.recv_timeout(PATIENCE), Ok(Interrupt::Cancelled));
    assert!(responder.is_cancelled());
    assert_eq!(client.call("echo").unwrap(), "echo");
}

fn a_request_that_is_given_up_is_incomplete<B: Backend>() {
    let backend = B::new();
    let (_serving, requests) = passing(&backend);
    let client = client(&backend);
    let (mut says, mut hears) = client.duplex().unwrap();
    let (request, responder) = requests.recv_timeout(PATIENCE).unwrap();
    says.send("one").unwrap();
    drop(says);
    let mut parts = request.into_parts();
    assert_eq!(next(&mut parts), "one");
    assert_eq!(parts.next_within(PATIENCE), Err(ReceiveError::Incomplete));
    let mut rest = Vec::new();
    let broken = parts.read_to_end(&mut rest).unwrap_err();
    assert_eq!(broken.kind(), std::io::ErrorKind::UnexpectedEof);
    responder.reply("what there was");
    assert_eq!(hears.next_within(PATIENCE).unwrap().unwrap(), "what there was");
    assert_eq!(hears.next_within(PATIENCE).unwrap(), None);
}

fn a_client_that_goes_ends_its_request<B: Backend>() {
    let backend = B::new();
    let (_serving, requests) = passing(&backend);
    let client = client(&backend);
    let (mut upload, mut parts, responder) = upload(&client, &requests);
    upload.send("one").unwrap();
    assert_eq!(next(&mut parts), "one");
    let waits = thread::spawn(move || parts.next_within(PATIENCE));
    client.close();
    assert_eq!(waits.join().unwrap(), Err(ReceiveError::Cancelled));
    assert!(matches!(upload.send("two"), Err(Error::Closed { .. })));
    assert!(responder.is_cancelled());
}

/// The one that waits to send is told, too.
fn a_server_that_ends_ends_the_request<B: Backend>() {
    let backend = B::new();
    let mut short = limits();
    short.drain = Duration::from_millis(1);
    let (serving, requests) = passing_with(&backend, &short);
    let client = client(&backend);
    let (mut upload, mut parts, _responder) = upload(&client, &requests);
    upload.send("one").unwrap();
    assert_eq!(next(&mut parts), "one");
    let sends = thread::spawn(move || {
        let failed = (0..100_000).find_map(|_| upload.send(pattern(50_000, 1)).err());
        failed.expect("nothing grows without a limit")
    });
    drop(serving);
    let failed = sends.join().unwrap();
    assert!(matches!(failed, Error::Closed { .. } | Error::Stopped { .. }), "{failed}");
    let end = (0..).find_map(|_| parts.next_within(PATIENCE).err());
    assert_eq!(end, Some(ReceiveError::Cancelled));
}

fn both_directions_go_on_at_once<B: Backend>() {
    const ROUNDS: usize = 300;
    let backend = B::new();
    let (_serving, requests) = passing(&backend);
    let server = thread::spawn(move || {
        let (request, responder) = requests.recv_timeout(PATIENCE).unwrap();
        let mut replies = responder.into_parts();
        for part in request.into_parts() {
            replies.send(part.unwrap()).unwrap();
        }
        replies.finish();
    });
    let (mut says, mut hears) = client(&backend).duplex().unwrap();
    // One after the other,
    for at in 0..10 {
        says.send(at.to_string()).unwrap();
        assert_eq!(hears.next_within(PATIENCE).unwrap().unwrap(), at.to_string());
    }
    // and both at once, with more than fits anywhere.
    let sender = thread::spawn(move || {
        for at in 0..ROUNDS {
            says.send(pattern(30_000, at as u8)).unwrap();
        }
        says.end().unwrap();
    });
    for at in 0..ROUNDS {
        assert!(hears.next_within(PATIENCE).unwrap().unwrap() == pattern(30_000, at as u8));
    }
    assert_eq!(hears.next_within(PATIENCE).unwrap(), None);
    sender.join().unwrap();
    server.join().unwrap();
}

fn a_part_is_looked_for_and_waited_for<B: Backend>() {
    let backend = B::new();
    let (tell, told) = mpsc::channel();
    let server = backend.serve_calls(&limits()).unwrap().accept_streams();
    let mut held = None;
    let _serving = Serving::start(server, move |request, responder| {
        if !request.is_stream() {
            let mut parts: RequestParts = held.take().unwrap();
            tell.send(parts.next_within(PATIENCE)).unwrap();
            tell.send(parts.next_within(PATIENCE)).unwrap();
            return responder.reply("");
        }
        let mut parts = request.into_parts();
        assert!(parts.try_next().is_none());
        assert_eq!(parts.next_within(PATIENCE), Err(ReceiveError::WouldBlock));
        held = Some(parts);
        thread::spawn(move || (told_late(responder), ()));
    });
    let client = client(&backend);
    let mut upload = client.upload().unwrap();
    upload.send("one").unwrap();
    client.call("look").unwrap();
    assert_eq!(told.recv_timeout(PATIENCE), Ok(Ok(Some("one".into()))));
    assert_eq!(told.recv_timeout(PATIENCE), Ok(Err(ReceiveError::WouldBlock)));
}

/// Keeps a responder until its call is over.
fn told_late(responder: Responder) {
    let (tell, told) = mpsc::channel();
    responder.on_interrupt(move |why| tell.send(why).unwrap());
    let _ = told.recv_timeout(PATIENCE);
}

fn the_time_of_a_call_counts_from_the_end_of_its_request<B: Backend>() {
    let backend = B::new();
    let (_serving, requests) = passing(&backend);
    let short = Duration::from_millis(30);
    let client = client(&backend).with_timeout(short);
    let began = std::time::Instant::now();
    let (mut upload, mut parts, responder) = upload(&client, &requests);
    upload.send("one").unwrap();
    assert_eq!(next(&mut parts), "one");
    let late = parts.next_within(short);
    assert_eq!(late, Err(ReceiveError::Late { after: short }));
    assert!(began.elapsed() >= short && !responder.is_cancelled());
    let call = upload.finish().unwrap();
    assert!(matches!(call.wait(), Err(Error::Deadline { .. })));
    // The server is told.
    let told = thread::spawn(move || told_late(responder));
    told.join().unwrap();
}

fn an_upload_has_one_right_end<B: Backend>() {
    let backend = B::new();
    let (_serving, requests) = passing(&backend);
    let client = client(&backend);
    let (says, hears) = client.duplex().unwrap();
    assert!(matches!(says.finish(), Err(Error::Misuse { .. })));
    drop(hears);
    assert!(matches!(client.upload().unwrap().end(), Err(Error::Misuse { .. })));
    drop(requests);
}
