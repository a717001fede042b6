//! Clients as the server's application sees them, on every transport: who is connected, what is kept for each, how one
//! is closed, and what a handler is told of its caller.

use crate::common::serving::{Serving, limits};
use crate::common::{Backend, PATIENCE};
use msgpipe::framing::FramingError;
use msgpipe::{Client, CloseReason, Error, Goodbye, Interrupt, Metadata, Responder};
use std::sync::mpsc;
use std::time::Duration;

crate::on_every_transport!(
    a_handler_is_told_that_its_call_was_cancelled,
    a_handler_is_told_of_the_deadline,
    a_handler_is_told_that_its_client_has_gone,
    a_handler_is_told_that_the_server_stops_and_may_still_answer,
    responders_that_are_dropped_at_a_stop_do_not_hold_it_up,
    nothing_is_told_after_the_answer,
    a_reply_brings_its_metadata,
);
crate::on_named_transports!(
    who_is_connected_is_listed,
    something_is_kept_for_a_client,
    a_client_is_closed_with_the_reason_of_the_application,
);

fn client<B: Backend>(backend: &B) -> Client {
    backend.client(&limits()).unwrap()
}

fn who_is_connected_is_listed<B: Backend>() {
    let backend = B::new();
    let (tell, closed) = mpsc::channel();
    let server = backend.serve_calls(&limits()).unwrap();
    let server = server.on_closed(move |client, _| tell.send(client.clone()).unwrap());
    let connections = server.connections();
    assert!(connections.list().is_empty());
    let serving = Serving::start(server, |request, responder| {
        responder.reply(request.connection().id().number().to_string());
    });
    let (one, other) = (client(&backend), client(&backend));
    let ids = [one.call("").unwrap(), other.call("").unwrap()];
    let list = connections.list();
    let listed: Vec<String> = list.iter().map(|it| it.id().number().to_string()).collect();
    assert_eq!(listed, ids);
    assert!(list.iter().all(|it| it.is_open() && it.peer().same_user));
    assert_eq!(connections.get(list[1].id()).map(|it| it.id()), Some(list[1].id()));
    one.close();
    let gone = closed.recv_timeout(PATIENCE).unwrap();
    assert_eq!(gone.id(), list[0].id());
    assert!(!gone.is_open() && !list[0].is_open() && list[1].is_open());
    assert!(connections.get(gone.id()).is_none() && connections.count() == 1);
    drop(serving);
    assert!(connections.count() == 0 && !list[1].is_open());
}

fn something_is_kept_for_a_client<B: Backend>() {
    struct Session(String);
    let backend = B::new();
    let server = backend.serve_calls(&limits()).unwrap();
    let _serving = Serving::start(server, |request, responder| {
        let connection = request.connection();
        let name = String::from_utf8_lossy(&request.body()).into_owned();
        let set = connection.set_state(Session(name)).map_err(|Session(unset)| unset);
        let Session(kept) = connection.state::<Session>().unwrap();
        assert!(connection.state::<String>().is_none(), "of another type");
        responder.reply(format!("{kept} {set:?}"));
    });
    let (one, other) = (client(&backend), client(&backend));
    assert_eq!(one.call("anna").unwrap(), "anna Ok(())");
    assert_eq!(other.call("bert").unwrap(), "bert Ok(())");
    assert_eq!(one.call("carl").unwrap(), r#"anna Err("carl")"#);
}

fn a_client_is_closed_with_the_reason_of_the_application<B: Backend>() {
    let backend = B::new();
    let server = backend.serve_calls(&limits()).unwrap();
    let _serving = Serving::start(server, |request, responder| {
        responder.reply("the last reply");
        request.connection().close(Goodbye::new(200, "the licence has ended"));
    });
    let (one, other) = (client(&backend), client(&backend));
    assert_eq!(one.call("").unwrap(), "the last reply");
    match one.call("one more") {
        Err(Error::Closed {
            reason: CloseReason::Peer(FramingError::Goodbye { code, text }),
            ..
        }) => {
            assert_eq!((code, &*text), (200, "the licence has ended"));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(other.call("").unwrap(), "the last reply", "it is another connection");
}

/// A server that keeps its responders and says what their handlers are told.
fn telling<B: Backend>(
    backend: &B,
) -> (Serving, mpsc::Receiver<Responder>, mpsc::Receiver<Interrupt>) {
    let (give, responders) = mpsc::channel();
    let (tell, told) = mpsc::channel();
    let mut long = limits();
    long.drain = 10 * PATIENCE;
    let server = backend.serve_calls(&long).unwrap();
    let serving = Serving::start(server, move |_, responder| {
        let tell = tell.clone();
        responder.on_interrupt(move |why| tell.send(why).unwrap());
        give.send(responder).unwrap();
    });
    (serving, responders, told)
}

fn a_handler_is_told_that_its_call_was_cancelled<B: Backend>() {
    let backend = B::new();
    let (_serving, responders, told) = telling(&backend);
    let client = client(&backend);
    let call = client.start("").unwrap();
    let responder = responders.recv_timeout(PATIENCE).unwrap();
    assert!(!responder.is_cancelled());
    drop(call);
    assert_eq!(told.recv_timeout(PATIENCE), Ok(Interrupt::Cancelled));
    assert!(responder.is_cancelled());
    // Who asks later is told at once.
    let (tell, again) = mpsc::channel();
    responder.on_interrupt(move |why| tell.send(why).unwrap());
    assert_eq!(again.try_recv(), Err(mpsc::TryRecvError::Empty), "each is told once");
}

fn a_handler_is_told_of_the_deadline<B: Backend>() {
    let backend = B::new();
    let (_serving, responders, told) = telling(&backend);
    let client = client(&backend).with_timeout(Duration::from_millis(20));
    let call = client.start("").unwrap();
    // Only the server looks at the time.
    assert_eq!(told.recv_timeout(PATIENCE), Ok(Interrupt::Deadline));
    assert!(responders.recv_timeout(PATIENCE).unwrap().is_cancelled());
    assert!(matches!(call.wait(), Err(Error::Deadline { .. })));
}

fn a_handler_is_told_that_its_client_has_gone<B: Backend>() {
    let backend = B::new();
    let (_serving, responders, told) = telling(&backend);
    let client = client(&backend);
    let _calls = (client.start("").unwrap(), client.start("").unwrap());
    let both = [(); 2].map(|()| responders.recv_timeout(PATIENCE).unwrap());
    client.close();
    for responder in both {
        assert_eq!(told.recv_timeout(PATIENCE), Ok(Interrupt::Closed));
        assert!(responder.is_cancelled());
    }
}

fn a_handler_is_told_that_the_server_stops_and_may_still_answer<B: Backend>() {
    let backend = B::new();
    let (serving, responders, told) = telling(&backend);
    let client = client(&backend);
    let call = client.start("").unwrap();
    let responder = responders.recv_timeout(PATIENCE).unwrap();
    assert!(!responder.is_stopping());
    let stops = std::thread::spawn(move || drop(serving));
    assert_eq!(told.recv_timeout(PATIENCE), Ok(Interrupt::Stopping));
    assert!(responder.is_stopping() && !responder.is_cancelled());
    responder.reply("the last");
    assert_eq!(call.wait().unwrap(), "the last");
    stops.join().unwrap();
}

/// The server has a long time to drain.
fn responders_that_are_dropped_at_a_stop_do_not_hold_it_up<B: Backend>() {
    use std::sync::{Arc, Mutex};
    let backend = B::new();
    let mut long = limits();
    long.drain = 10 * PATIENCE;
    let server = backend.serve_calls(&long).unwrap();
    let serving = Serving::start(server, |_, responder| {
        let held = Arc::new(Mutex::new(None));
        let holder = held.clone();
        // The responder is in its own hook: it is dropped with it.
        responder.on_interrupt(move |_| drop(holder.lock().unwrap().take()));
        *held.lock().unwrap() = Some(responder);
    });
    let client = client(&backend);
    let call = client.start("").unwrap();
    client.start("").unwrap().try_wait();
    drop(serving);
    let left = call.wait().unwrap_err();
    assert!(matches!(left, Error::Answered { .. } | Error::Closed { .. }), "{left}");
}

fn nothing_is_told_after_the_answer<B: Backend>() {
    let backend = B::new();
    let (serving, responders, told) = telling(&backend);
    let client = client(&backend);
    let call = client.start("").unwrap();
    responders.recv_timeout(PATIENCE).unwrap().reply("done");
    assert_eq!(call.wait().unwrap(), "done");
    client.close();
    drop(serving);
    assert_eq!(told.recv_timeout(PATIENCE), Err(mpsc::RecvTimeoutError::Disconnected));
}

fn a_reply_brings_its_metadata<B: Backend>() {
    let backend = B::new();
    let server = backend.serve_calls(&limits()).unwrap();
    let _serving = Serving::start(server, |request, responder| {
        let metadata = Metadata::default().with(b"version", b"7").unwrap();
        match &request.body()[..] {
            b"plain" => responder.reply("a reply"),
            b"parts" => {
                let mut parts = responder.with_metadata(metadata).into_parts();
                parts.send("one").unwrap();
                parts.send("two").unwrap();
                parts.finish();
            }
            b"fail" => responder.with_metadata(metadata).reply(Err::<&str, _>("an error")),
            body => responder.with_metadata(metadata).reply(body.to_vec()),
        }
    });
    let client = client(&backend);
    let version = |metadata: Metadata| metadata.get(b"version");
    for size in [0, 1, 100_000, 2_000_000] {
        let (reply, metadata) = client.start(vec![7; size]).unwrap().wait_with_metadata().unwrap();
        assert_eq!((reply.len(), version(metadata)), (size, Some("7".into())));
    }
    let (reply, metadata) = client.start("plain").unwrap().wait_with_metadata().unwrap();
    assert!(reply == "a reply" && metadata.is_empty());
    assert!(client.start("fail").unwrap().wait_with_metadata().is_err());
    assert_eq!(client.call("also without them").unwrap(), "also without them");
    let mut parts = client.stream("parts").unwrap();
    for part in ["one", "two"] {
        assert_eq!(parts.next_within(PATIENCE).unwrap().unwrap(), part);
        assert_eq!(version(parts.metadata()), Some("7".into()));
    }
}
