//! Peers that break the protocol. Each time the
//! peer gets a clear error or a close, and all other peers are served as before.

use crate::common::raw::{calls_begin, envelope, frame, goodbye_in, preface, settings};
use crate::common::{Backend, PATIENCE, Raw, closed, connected, message};
use msgpipe::framing::{FramingError, GoodbyeCode, Layer};
use msgpipe::{Client, CloseReason, Event, Limits, MessageServer, Server, Stopper};
use std::thread::{self, JoinHandle};
use std::time::Duration;

crate::on_every_transport!(an_id_used_twice,);
crate::on_named_transports!(
    garbage_instead_of_a_preface,
    a_wrong_version,
    the_other_layer,
    a_length_of_four_gigabytes,
    a_damaged_header,
    a_stream_split_at_every_byte,
    a_message_cut_off_by_a_close,
    an_unknown_kind_of_frame,
    an_unknown_kind_of_message,
    an_unsolicited_reply,
    an_empty_message,
    connections_that_send_nothing,
);

/// Sends `bytes` to a server of messages, which must close because of the peer's fault and send a goodbye
/// with this code; `None`: without a goodbye.
#[track_caller]
fn is_refused<B: Backend>(bytes: &[u8], code: Option<u16>) -> FramingError {
    let backend = B::new();
    let mut server = backend.listen(&Limits::default()).unwrap();
    let witness = backend.message_client(&Limits::default()).unwrap();
    let kept = connected(&mut server);
    let mut raw = backend.raw();
    let bytes = bytes.to_vec();
    let talking = thread::spawn(move || {
        raw.write(&bytes);
        raw.read_to_end()
    });
    let (ended, reason) = loop {
        let (ended, reason) = closed(&mut server);
        if !matches!(reason, CloseReason::PeerClosed) {
            break (ended, reason);
        }
    };
    assert!(server.peer(ended).is_some(), "nobody knows who it was");
    let heard = goodbye_in(&talking.join().unwrap(), Layer::Messages);
    assert_eq!(heard.as_ref().map(|(code, _)| *code), code, "{heard:?}");
    // The others are served as before.
    server.send(kept, "still here".into()).unwrap();
    while let Some(event) = server.poll(Some(Duration::ZERO)).unwrap() {
        // The client that found out the server's name has disconnected too.
        assert!(
            matches!(event, Event::Closed(id, CloseReason::PeerClosed) if id != kept),
            "{event:?}"
        );
    }
    assert_eq!(witness.receive(Some(PATIENCE)).unwrap(), "still here");
    match reason {
        CloseReason::Peer(error) => {
            if let Some((_, text)) = heard {
                assert_eq!(text, error.to_string(), "the peer was told something else");
            }
            error
        }
        reason => panic!("{reason}"),
    }
}

fn with_preface(bytes: &[u8]) -> Vec<u8> {
    [&preface(Layer::Messages), bytes].concat()
}

fn garbage_instead_of_a_preface<B: Backend>() {
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 64], &[0xFF], b"\xE5msX"] {
        assert!(matches!(is_refused::<B>(garbage, None), FramingError::NotOurs { .. }));
    }
}

fn a_wrong_version<B: Backend>() {
    let mut bytes = preface(Layer::Messages);
    (bytes[4], bytes[5]) = (7, 9);
    let error = is_refused::<B>(&bytes, Some(GoodbyeCode::VERSION));
    assert_eq!(error, FramingError::Version { theirs: 7..=9, ours: 1..=1 });
}

fn the_other_layer<B: Backend>() {
    let error = is_refused::<B>(&preface(Layer::Calls), Some(GoodbyeCode::PROTOCOL));
    assert_eq!(error, FramingError::WrongLayer { theirs: 1, ours: Layer::Messages });
}

fn a_length_of_four_gigabytes<B: Backend>() {
    // With a valid check: only the length is wrong.
    let mut header = frame(b"");
    header[..4].copy_from_slice(&[0xFF; 4]);
    let check = crate::common::raw::crc16(&header[..6]);
    header[6..8].copy_from_slice(&check.to_le_bytes());
    let error = is_refused::<B>(&with_preface(&header), Some(GoodbyeCode::TOO_LARGE));
    assert_eq!(error, FramingError::TooLarge { size: 0xFFFF_FFFF, limit: 16 << 20 });
}

fn a_damaged_header<B: Backend>() {
    let error = is_refused::<B>(&with_preface(&[0xFF; 8]), Some(GoodbyeCode::PROTOCOL));
    assert_eq!(error, FramingError::Damaged { what: "header", bytes: vec![0xFF; 8] });
}

fn an_unknown_kind_of_frame<B: Backend>() {
    let mut header = frame(b"");
    header[4] = 77;
    let check = crate::common::raw::crc16(&header[..6]);
    header[6..8].copy_from_slice(&check.to_le_bytes());
    let error = is_refused::<B>(&with_preface(&header), Some(GoodbyeCode::PROTOCOL));
    assert_eq!(error, FramingError::UnknownKind { kind: 77 });
}

fn a_stream_split_at_every_byte<B: Backend>() {
    let backend = B::new();
    let mut server = backend.listen(&Limits::default()).unwrap();
    let bytes = with_preface(&[frame(b"one"), frame(b""), frame(b"two")].concat());
    for cut in 1..bytes.len() {
        let mut raw = backend.raw();
        let bytes = bytes.clone();
        let talking = thread::spawn(move || {
            assert!(raw.write(&bytes[..cut]) && raw.write(&bytes[cut..]));
            raw
        });
        let mut heard = Vec::new();
        while heard.len() < 3 {
            if let msgpipe::Event::Message(_, message) = crate::common::next(&mut server) {
                heard.push(message);
            }
        }
        assert_eq!(heard, ["one", "", "two"], "cut at {cut}");
        drop(talking.join().unwrap());
        closed(&mut server);
    }
}

fn a_message_cut_off_by_a_close<B: Backend>() {
    let backend = B::new();
    let mut server = backend.listen(&Limits::default()).unwrap();
    let whole = with_preface(&frame(b"a message"));
    for cut in [1, 15, 17, 23, 24, whole.len() - 1] {
        let mut raw = backend.raw();
        let begun = whole[..cut].to_vec();
        thread::spawn(move || raw.write(&begun)).join().unwrap();
        let reason = loop {
            let (_, reason) = closed(&mut server);
            if !matches!(reason, CloseReason::PeerClosed) {
                break reason;
            }
        };
        let have = if cut > 16 { cut - 16 } else { cut };
        assert!(
            matches!(reason, CloseReason::Peer(FramingError::CutOff { have: had }) if had == have),
            "cut at {cut}: {reason:?}"
        );
    }
}

/// An echo server for calls, and a client that shows that it still runs.
struct Echo {
    stopper: Stopper,
    thread: Option<JoinHandle<()>>,
    witness: Client,
}

impl Echo {
    fn start<B: Backend>(backend: &B) -> Echo {
        let server: Server<B::Messages> = backend.serve_calls(&Limits::default()).unwrap();
        let stopper = server.stopper();
        let thread = thread::spawn(move || server.serve(|request| request.body()).unwrap());
        Echo { stopper, thread: Some(thread), witness: backend.client(&Limits::default()).unwrap() }
    }

    /// Sends frames to the server, which must close with a goodbye.
    #[track_caller]
    fn refuses<B: Backend>(&self, backend: &B, frames: &[Vec<u8>], text: &str) {
        let mut raw = backend.raw();
        raw.write(&[calls_begin(), frames.concat()].concat());
        let (code, why) = goodbye_in(&raw.read_to_end(), Layer::Calls).expect("a goodbye");
        assert_eq!(code, GoodbyeCode::PROTOCOL);
        assert!(why.contains(text), "{why}");
        assert_eq!(self.witness.call("still there?").unwrap(), "still there?");
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stopper.stop();
        let joined = self.thread.take().unwrap().join();
        assert!(joined.is_ok() || thread::panicking(), "the server panicked");
    }
}

/// A whole message of the calls layer, the last of its direction.
fn whole(kind: u8, id: u32, body: &[u8]) -> Vec<u8> {
    frame(&envelope(kind, 3, id, body))
}

fn an_unknown_kind_of_message<B: Backend>() {
    let backend = B::new();
    Echo::start(&backend).refuses(&backend, &[whole(77, 2, b"")], "unknown kind 77");
}

fn an_unsolicited_reply<B: Backend>() {
    let backend = B::new();
    let echo = Echo::start(&backend);
    echo.refuses(&backend, &[whole(2, 5, b"unasked")], "call 5, which was not opened");

    // The other direction: a server sends one to a client.
    let other = B::new();
    let mut server = other.listen_for_calls(&Limits::default());
    let client = other.client(&Limits::default()).unwrap();
    let calling = thread::spawn(move || (client.call("one"), client.call("two")));
    let id = connected(&mut server);
    // The client's settings, and its request.
    message(&mut server);
    message(&mut server);
    server.send(id, settings().into()).unwrap();
    server.send(id, envelope(2, 3, 98, b"").into()).unwrap();
    let (_, reason) = closed(&mut server);
    assert!(
        matches!(
            &reason,
            CloseReason::PeerClosed | CloseReason::Peer(FramingError::Goodbye { .. })
        ),
        "{reason}"
    );
    let (one, two) = calling.join().unwrap();
    for error in [one.unwrap_err(), two.unwrap_err()] {
        match error {
            msgpipe::Error::Closed { reason: CloseReason::Protocol(text), .. } => {
                assert!(text.contains("call 98"), "{text}");
            }
            error => panic!("{error}"),
        }
    }
}

fn an_id_used_twice<B: Backend>() {
    let backend = B::new();
    let server = backend.serve_calls(&Limits::default()).unwrap();
    let stopper = server.stopper();
    // No request is answered, so that the first is still open.
    let mut held = Vec::new();
    let serving = thread::spawn(move || server.serve_deferred(|_, responder| held.push(responder)));
    let mut raw = backend.raw();
    raw.write(&[calls_begin(), whole(1, 4, b""), whole(1, 4, b"")].concat());
    let (code, why) = goodbye_in(&raw.read_to_end(), Layer::Calls).expect("a goodbye");
    assert_eq!(code, GoodbyeCode::PROTOCOL);
    assert!(why.contains("the id 4"), "{why}");
    stopper.stop();
    serving.join().unwrap().unwrap();
}

fn an_empty_message<B: Backend>() {
    // For a server of messages it is a normal message; for a server of calls it has no envelope.
    let backend = B::new();
    let mut server = backend.listen(&Limits::default()).unwrap();
    let client = backend.message_client(&Limits::default()).unwrap();
    client.send("").unwrap();
    connected(&mut server);
    assert_eq!(message(&mut server).1, "");
    drop(server);

    let backend = B::new();
    Echo::start(&backend).refuses(&backend, &[frame(b"")], "too short");
}

fn connections_that_send_nothing<B: Backend>() {
    const SILENT: usize = 200;
    let backend = B::new();
    let echo = Echo::start(&backend);
    let silent: Vec<Raw> = (0..SILENT).map(|_| backend.raw()).collect();
    for _ in 0..20 {
        assert_eq!(echo.witness.call("still there?").unwrap(), "still there?");
    }
    let newcomer = backend.client(&Limits::default()).unwrap();
    assert_eq!(newcomer.call("me too?").unwrap(), "me too?");
    drop(silent);
    assert_eq!(newcomer.call("and now?").unwrap(), "and now?");
}
