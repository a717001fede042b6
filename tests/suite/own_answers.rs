//! What a server's own thread gives to it is sent without a wake of that thread, and is never left behind.

use crate::common::observed::observed;
use crate::common::{Backend, PATIENCE};
use bytes::Bytes;
use msgpipe::{Limits, Responder, Server};
use std::sync::atomic::Ordering;
use std::thread;

crate::on_every_transport!(
    a_reply_in_the_handler_wakes_nobody,
    what_a_transport_answers_while_it_waits_is_sent,
    what_the_end_of_a_body_answers_is_sent,
);

/// The wakes while a client makes these calls, each answered with what it asks.
fn wakes_of<B: Backend>(calls: usize, handle: impl FnMut(Bytes, Responder) + Send) -> usize {
    let mut handle = handle;
    let backend = B::new();
    let messages = observed(&backend);
    let wakes = messages.between.wakes.clone();
    let server = Server::over(messages, Limits::default());
    let stopper = server.stopper();
    thread::scope(|scope| {
        let serves = move || {
            server.serve_deferred(|request, responder| handle(request.into_body(), responder))
        };
        let serving = scope.spawn(serves);
        let client = backend.client(&Limits::default()).unwrap();
        for number in 0..calls {
            let asked = number.to_string();
            assert_eq!(client.call(&asked).unwrap(), asked);
        }
        let seen = wakes.load(Ordering::SeqCst);
        stopper.stop();
        serving.join().unwrap().unwrap();
        seen
    })
}

fn a_reply_in_the_handler_wakes_nobody<B: Backend>() {
    assert_eq!(wakes_of::<B>(100, |body, responder| responder.reply(body)), 0);
    // It is the thread that counts: a reply of another one has to wake the loop.
    let elsewhere = |body, responder: Responder| drop(thread::spawn(|| responder.reply(body)));
    assert_ne!(wakes_of::<B>(100, elsewhere), 0);
}

fn what_a_transport_answers_while_it_waits_is_sent<B: Backend>() {
    let backend = B::new();
    let messages = observed(&backend);
    let held = messages.between.held.clone();
    let server = Server::over(messages, Limits::default());
    let stopper = server.stopper();
    let serving = thread::spawn(move || {
        server.serve_deferred(move |_, responder| *held.lock().unwrap() = Some(responder))
    });
    let client = backend.client(&Limits::default()).unwrap();
    for _ in 0..20 {
        assert_eq!(client.call("").unwrap(), "while it waits");
    }
    stopper.stop();
    serving.join().unwrap().unwrap();
}

/// A body whose end answers another request.
struct Answers(Option<Responder>);

impl AsRef<[u8]> for Answers {
    fn as_ref(&self) -> &[u8] {
        b"second"
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        if let Some(responder) = self.0.take() {
            responder.reply("first");
        }
    }
}

fn what_the_end_of_a_body_answers_is_sent<B: Backend>() {
    let backend = B::new();
    let server = backend.serve_calls(&Limits::default()).unwrap();
    let stopper = server.stopper();
    let serving = thread::spawn(move || {
        let mut first = None;
        server.serve_deferred(move |_, responder| match first.take() {
            None => first = Some(responder),
            held => responder.reply(Bytes::from_owner(Answers(held))),
        })
    });
    let client = backend.client(&Limits::default()).unwrap();
    for _ in 0..20 {
        let mut first = client.start("").unwrap();
        let mut second = client.start("").unwrap();
        assert_eq!(second.wait_within(PATIENCE).unwrap().unwrap(), "second");
        assert_eq!(first.wait_within(PATIENCE).unwrap().unwrap(), "first");
    }
    stopper.stop();
    serving.join().unwrap().unwrap();
}
