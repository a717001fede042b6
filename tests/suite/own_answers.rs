//! What a server's own thread gives to it is sent without a wake of that thread, and is never left behind.

use crate::common::{Backend, PATIENCE};
use bytes::Bytes;
use msgpipe::{
    ConnectionId, Error, Event, Goodbye, Limits, MessageServer, Peer, Responder, SendError, Server,
    Waker,
};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

crate::on_every_transport!(
    a_reply_in_the_handler_wakes_nobody,
    what_a_transport_answers_while_it_waits_is_sent,
    what_the_end_of_a_body_answers_is_sent,
);

/// A server of messages that counts its wakes, and answers a held request when it is to wait.
struct Counting<M> {
    inner: M,
    wakes: Arc<AtomicUsize>,
    held: Arc<Mutex<Option<Responder>>>,
}

impl<M: MessageServer> MessageServer for Counting<M> {
    fn poll(&mut self, timeout: Option<Duration>) -> Result<Option<Event>, Error> {
        if let Some(responder) = self.held.lock().unwrap().take() {
            responder.reply("while it waits");
        }
        self.inner.poll(timeout)
    }

    fn send_with_head(
        &mut self,
        to: ConnectionId,
        head: &[u8],
        body: Bytes,
    ) -> Result<(), SendError> {
        self.inner.send_with_head(to, head, body)
    }

    fn close(&mut self, connection: ConnectionId, why: Goodbye) {
        self.inner.close(connection, why);
    }

    fn abort(&mut self, connection: ConnectionId) {
        self.inner.abort(connection);
    }

    fn peer(&self, connection: ConnectionId) -> Option<&Peer> {
        self.inner.peer(connection)
    }

    fn stop_accepting(&mut self) {
        self.inner.stop_accepting();
    }

    fn waker(&self) -> Waker {
        let (wakes, inner) = (self.wakes.clone(), self.inner.waker());
        Waker::new(move || {
            wakes.fetch_add(1, Ordering::SeqCst);
            inner.wake();
        })
    }

    fn endpoint(&self) -> &str {
        self.inner.endpoint()
    }
}

fn counting<B: Backend>(backend: &B) -> Counting<B::Messages> {
    let inner = backend.listen_for_calls(&Limits::default());
    Counting { inner, wakes: Arc::default(), held: Arc::default() }
}

/// The wakes while a client makes these calls, each answered with what it asks.
fn wakes_of<B: Backend>(calls: usize, handle: impl FnMut(Bytes, Responder) + Send) -> usize {
    let mut handle = handle;
    let backend = B::new();
    let messages = counting(&backend);
    let wakes = messages.wakes.clone();
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
    let messages = counting(&backend);
    let held = messages.held.clone();
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
