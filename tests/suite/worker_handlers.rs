//! What the handlers of workers do: they panic, and send parts, on every transport.

use crate::common::serving::{Serving, limits};
use crate::common::{Backend, PATIENCE, pattern};
use msgpipe::{ErrorReply, IntoReply, Workers};
use std::sync::{Barrier, mpsc};

crate::on_every_transport!(
    a_pool_keeps_its_size_whatever_panics,
    a_worker_sends_parts_and_waits_for_its_client,
);

/// So that the panics of these tests do not print.
fn panic_quietly(what: &str) {
    std::panic::resume_unwind(Box::new(what.to_owned()));
}

/// A panic payload that panics again when it is dropped.
struct Again;

impl Drop for Again {
    fn drop(&mut self) {
        panic_quietly("again");
    }
}

/// A reply that panics when it is made.
struct Unmade;

impl IntoReply for Unmade {
    fn into_reply(self) -> Result<bytes::Bytes, ErrorReply> {
        panic_quietly("no reply");
        Ok(bytes::Bytes::new())
    }
}

fn a_pool_keeps_its_size_whatever_panics<B: Backend>() {
    const THREADS: usize = 2;
    let backend = B::new();
    let (tell, panics) = mpsc::channel();
    let server = backend.serve_calls(&limits()).unwrap();
    let server = server.on_panic(move |_, text| {
        tell.send(text.to_owned()).unwrap();
        panic_quietly("in the hook");
    });
    let meeting = Barrier::new(THREADS);
    let workers = Workers::new().threads(THREADS);
    let _serving = Serving::workers(server, workers, move |request, responder| {
        match &request.body()[..] {
            b"panic" => panic_quietly("at once"),
            b"again" => std::panic::resume_unwind(Box::new(Again)),
            b"reply" => responder.reply(Unmade),
            // It returns only if all threads are there.
            _ => {
                meeting.wait();
                responder.reply("met");
            }
        }
    });
    let client = backend.client(&limits()).unwrap();
    for asked in ["panic", "again", "reply"].repeat(2 * THREADS) {
        let error = client.call(asked).unwrap_err();
        let reply = error.reply().expect("an answer");
        assert_eq!((reply.code, &*reply.text), (ErrorReply::FAILED, "the handler panicked"));
    }
    let calls: Vec<_> = (0..2 * THREADS).map(|_| client.start("meet").unwrap()).collect();
    for call in calls {
        assert_eq!(call.wait().unwrap(), "met");
    }
    let told: Vec<String> =
        (0..6 * THREADS).map(|_| panics.recv_timeout(PATIENCE).unwrap()).collect();
    for text in ["at once", "a panic without a text", "no reply"] {
        assert_eq!(told.iter().filter(|told| *told == text).count(), 2 * THREADS, "{told:?}");
    }
}

fn a_worker_sends_parts_and_waits_for_its_client<B: Backend>() {
    const PARTS: usize = 500;
    let backend = B::new();
    let server = backend.serve_calls(&limits()).unwrap();
    let workers = Workers::new().threads(1);
    let _serving = Serving::workers(server, workers, |_, responder| {
        let mut parts = responder.into_parts();
        for at in 0..PARTS {
            if parts.send(pattern(20_000, at as u8)).is_err() {
                return;
            }
        }
        parts.finish();
    });
    let client = backend.client(&limits()).unwrap();
    // One that takes no more frees the worker for the next.
    let mut left = client.stream("").unwrap();
    assert!(left.next_within(PATIENCE).unwrap().unwrap() == pattern(20_000, 0));
    drop(left);
    let mut count = 0;
    for part in client.stream("").unwrap() {
        assert!(part.unwrap() == pattern(20_000, count as u8), "another part {count}");
        count += 1;
    }
    assert_eq!(count, PARTS);
}
