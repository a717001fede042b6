//! Clients that close their sending direction and still read, as `echo hello | socat` does.

use crate::common::raw::{calls_begin, path_of, request};
use crate::common::{PATIENCE, closed, connected, next, unique_name};
use msgpipe::framing::LengthPrefix;
use msgpipe::{CloseReason, Event, MessageServer, ServerOptions};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

fn connect(name: &str) -> UnixStream {
    UnixStream::connect(path_of(name)).unwrap()
}

#[test]
fn a_late_reply_arrives_after_a_half_close_if_enabled() {
    for half_close in [false, true] {
        let name = unique_name();
        let options = ServerOptions::new();
        let options = if half_close { options.half_close() } else { options };
        let server = options.bind(name.as_str()).unwrap();
        let (tell, left) = mpsc::channel();
        let server = server.on_closed(move |_, reason| tell.send(reason.clone()).unwrap());
        let stopper = server.stopper();
        let (asked, asks) = mpsc::channel();
        let serving = thread::spawn(move || {
            server
                .serve_deferred(move |request, responder| asked.send((request, responder)).unwrap())
        });
        let mut client = connect(&name);
        let words = [calls_begin(), request(1, b"one"), request(2, b"two")].concat();
        client.write_all(&words).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let requests = [asks.recv().unwrap(), asks.recv().unwrap()];
        if !half_close {
            // Its end is the end.
            let reason = left.recv_timeout(PATIENCE).unwrap();
            assert!(matches!(reason, CloseReason::PeerClosed), "{reason}");
            assert!(requests.iter().all(|(request, _)| request.is_cancelled()));
        }
        for (request, responder) in requests {
            assert_eq!(responder.is_cancelled(), !half_close);
            responder.reply([&b"re: "[..], &request.body()].concat());
        }
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).unwrap();
        let heard = String::from_utf8_lossy(&heard).into_owned();
        for reply in ["re: one", "re: two"] {
            assert_eq!(heard.contains(reply), half_close, "{heard:?}");
        }
        if half_close {
            // Once it has them it is closed.
            assert!(matches!(left.recv_timeout(PATIENCE).unwrap(), CloseReason::Local));
        }
        stopper.stop();
        serving.join().unwrap().unwrap();
    }
}

#[test]
fn a_half_closed_client_is_sent_to_until_it_closes() {
    let name = unique_name();
    let options = ServerOptions::new().half_close().framing(LengthPrefix::big_endian(1000));
    let mut server = options.bind_messages(name.as_str()).unwrap();
    let mut client = connect(&name);
    let id = connected(&mut server);
    client.write_all(&[0, 0, 0, 2, b'h', b'i']).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert!(
        matches!(next(&mut server), Event::Message(from, message) if from == id && message == "hi")
    );
    assert!(matches!(next(&mut server), Event::HalfClosed(who) if who == id));
    // The event is returned once, and the loop does not spin meanwhile.
    assert!(server.poll(Some(Duration::from_millis(20))).unwrap().is_none());
    for _ in 0..3 {
        server.send(id, "later".into()).unwrap();
        assert!(server.poll(Some(Duration::ZERO)).unwrap().is_none());
        let mut heard = [0; 9];
        client.read_exact(&mut heard).unwrap();
        assert_eq!(&heard[4..], b"later");
    }
    drop(client);
    let (ended, reason) = closed(&mut server);
    assert!(ended == id && matches!(reason, CloseReason::PeerClosed), "{reason}");
}
