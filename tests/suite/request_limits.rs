//! Requests of any number of parts that are more than somebody takes, on every transport.

use crate::common::serving::{Serving, limits};
use crate::common::{Backend, PATIENCE, pattern};
use crate::request_parts::{client, next, passing, passing_with, upload};
use msgpipe::{Call, Client, Error, ErrorReply, Metadata, Request, Responder};
use std::io::Write;
use std::sync::mpsc;
use std::thread;

crate::on_every_transport!(
    a_request_that_waits_for_its_turn_keeps_its_metadata,
    a_request_that_is_given_up_before_its_turn_ends_only_its_reply,
    requests_that_are_refused_or_dropped_give_their_credit_back,
    a_part_over_the_limit_comes_back,
);
crate::on_named_transports!(
    a_handler_that_takes_nothing_stops_its_client_and_nobody_else,
    what_waits_in_a_server_has_a_limit,
);

/// Its parts wait within its credit, and the other calls of its connection go on.
fn a_handler_that_takes_nothing_stops_its_client_and_nobody_else<B: Backend>() {
    const PART: usize = 50_000;
    const PARTS: usize = 200;
    let backend = B::new();
    let (_serving, requests) = passing(&backend);
    let client = client(&backend);
    let (mut upload, mut parts, responder) = upload(&client, &requests);
    let sender = thread::spawn(move || {
        for at in 0..PARTS {
            upload.send(pattern(PART, at as u8)).unwrap();
        }
        upload.finish().unwrap().wait().unwrap()
    });
    assert_eq!(next(&mut parts), pattern(PART, 0));
    for _ in 0..10 {
        assert_eq!(client.call("echo").unwrap(), "echo");
    }
    let other = backend.client(&limits()).unwrap();
    assert_eq!(other.call("echo").unwrap(), "echo");
    for at in 1..PARTS {
        assert!(next(&mut parts) == pattern(PART, at as u8), "part {at}");
    }
    assert_eq!(parts.next(), None);
    responder.reply("all");
    assert_eq!(sender.join().unwrap(), "all");
}

/// More of them than any credit lasts.
fn requests_that_are_refused_or_dropped_give_their_credit_back<B: Backend>() {
    const PART: usize = 100_000;
    let backend = B::new();
    let mut small = limits();
    small.call_window = 256 << 10;
    small.connection_window = 256 << 10;
    let refusing = Serving::echo(&backend, &small);
    let first = client(&backend);
    for _ in 0..20 {
        let mut upload = first.upload().unwrap();
        let _ = upload.send(pattern(PART, 1));
        let _ = upload.send(pattern(PART, 1));
        assert!(upload.finish().unwrap().wait().is_err());
    }
    assert_eq!(first.call("goes on").unwrap(), "goes on");
    drop(refusing);
    let backend = B::new();
    let (_serving, requests) = passing_with(&backend, &small);
    let client = client(&backend);
    for taken in 0..20 {
        let (mut upload, mut parts, responder) = upload(&client, &requests);
        for _ in 0..2 {
            upload.send(pattern(PART, 1)).unwrap();
        }
        upload.flush().unwrap();
        for _ in 0..taken % 3 {
            assert_eq!(next(&mut parts).len(), PART);
        }
        match taken % 4 {
            0 => drop(upload),
            1 => drop(parts),
            2 => responder.reply("enough"),
            _ => drop((parts, responder)),
        }
    }
    let mut upload = client.upload().unwrap();
    let (request, responder) = requests.recv_timeout(PATIENCE).unwrap();
    let reader = thread::spawn(move || {
        let sizes = request.into_parts().map(|part| part.unwrap().len());
        responder.reply(sizes.sum::<usize>().to_string());
    });
    for _ in 0..20 {
        upload.send(pattern(PART, 1)).unwrap();
    }
    assert_eq!(upload.finish().unwrap().wait().unwrap(), (20 * PART).to_string());
    reader.join().unwrap();
}

fn a_part_over_the_limit_comes_back<B: Backend>() {
    let backend = B::new();
    let mut small = limits();
    small.message = 1000;
    let (_serving, requests) = passing_with(&backend, &small);
    let client = client(&backend);
    let (mut upload, parts, responder) = upload(&client, &requests);
    for size in [999, 1000] {
        upload.send(pattern(size, 1)).unwrap();
    }
    match upload.send(pattern(1001, 1)) {
        Err(error) => {
            assert!(!error.is_not_begun(), "the request goes on");
            match error {
                Error::PartTooLarge { size, limit, part, .. } => {
                    assert_eq!((size, limit, &part[..]), (1001, 1000, &pattern(1001, 1)[..]));
                }
                other => panic!("{other:?}"),
            }
        }
        other => panic!("{other:?}"),
    }
    upload.send("goes on").unwrap();
    let call = upload.finish().unwrap();
    let sizes: Vec<usize> = parts.map(|part| part.unwrap().len()).collect();
    assert_eq!(sizes, [999, 1000, 7]);
    responder.reply("");
    call.wait().unwrap();
}

/// Parts that nobody takes count as memory of the client.
fn what_waits_in_a_server_has_a_limit<B: Backend>() {
    let backend = B::new();
    let mut small = limits();
    small.memory = 8 << 20;
    small.message = 1 << 20;
    small.call_window = 2 << 20;
    small.connection_window = 16 << 20;
    let (_serving, requests) = passing_with(&backend, &small);
    let mut senders = Vec::new();
    let mut held = Vec::new();
    for _ in 0..8 {
        let client = client(&backend);
        let (mut upload, parts, responder) = upload(&client, &requests);
        held.push((parts, responder));
        senders.push(thread::spawn(move || {
            for at in 0..60 {
                upload.send(pattern(50_000, at)).unwrap();
            }
            drop(client);
            upload.finish().unwrap().wait().unwrap()
        }));
    }
    // Together they have more than the memory; one after the other they are taken.
    for (parts, responder) in held {
        let mut count = 0;
        for part in parts {
            assert!(part.unwrap() == pattern(50_000, count), "another part");
            count += 1;
        }
        responder.reply(count.to_string());
    }
    for sender in senders {
        assert_eq!(sender.join().unwrap(), "60");
    }
}

/// As many requests as a server takes at once, before which none of a client waits.
const AT_ONCE: usize = 128;

type Requests = mpsc::Receiver<(Request, Responder)>;
type Held = (Call, Responder);

/// A client with so many calls that the request of a further one waits in it.
fn crowded<B: Backend>(backend: &B) -> (Serving, Requests, Client, Vec<Held>) {
    let (serving, requests) = passing_with(backend, &limits().with_in_flight(AT_ONCE));
    let client = client(backend);
    let held = (0..AT_ONCE).map(|_| {
        let call = client.start("held").unwrap();
        (call, requests.recv_timeout(PATIENCE).unwrap().1)
    });
    let held = held.collect();
    (serving, requests, client, held)
}

fn end_all(held: Vec<Held>) {
    for (call, responder) in held {
        responder.reply("done");
        assert_eq!(call.wait().unwrap(), "done");
    }
}

fn a_request_that_waits_for_its_turn_keeps_its_metadata<B: Backend>() {
    let backend = B::new();
    let (_serving, requests, client, held) = crowded(&backend);
    let metadata = Metadata::default().with(b"key", b"value").unwrap();
    let client = client.with_metadata(metadata.clone());
    let mut with_a_part = client.upload().unwrap();
    with_a_part.send("a part").unwrap();
    with_a_part.send("another").unwrap();
    let calls = [with_a_part, client.upload().unwrap()].map(|upload| upload.finish().unwrap());
    end_all(held);
    for (call, expected) in calls.into_iter().zip([vec!["a part", "another"], vec![]]) {
        let (request, responder) = requests.recv_timeout(PATIENCE).unwrap();
        assert_eq!(request.metadata(), metadata);
        let parts: Vec<_> = request.into_parts().map(Result::unwrap).collect();
        assert_eq!(parts, expected);
        responder.reply("done");
        assert_eq!(call.wait().unwrap(), "done");
    }
}

fn a_request_that_is_given_up_before_its_turn_ends_only_its_reply<B: Backend>() {
    let backend = B::new();
    let (_serving, _requests, client, held) = crowded(&backend);
    let (mut upload, mut parts) = client.duplex().unwrap();
    upload.send("a part").unwrap();
    drop(upload);
    match parts.next_within(PATIENCE) {
        Err(Error::Answered { reply, .. }) => assert_eq!(reply.code, ErrorReply::FAILED),
        other => panic!("{other:?}"),
    }
    end_all(held);
    assert_eq!(client.call("echo").unwrap(), "echo");
}
