//! One test for each known pitfall of mio's pipes and of Win32, named after it. (The tests of the loop's waker
//! show that a wake is one event.)

use super::listener::Listener;
use super::stream::PipeStream;
use crate::backends::event_loop::{Acceptor, EventLoop, Next, Poller};
use crate::connections::ServerStream;
use crate::error::CloseReason;
use crate::framing::{Carrier, Framing, Layer, Native, SendQueue};
use crate::goodbye::Goodbye;
use crate::message_server::{ConnectionId, Event};
use crate::{Endpoint, Limits, ServerOptions};
use bytes::{Bytes, BytesMut};
use mio::{Events, Token};
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Longer than any successful step takes.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Long enough for an unexpected event to arrive.
pub(super) const A_WHILE: Duration = Duration::from_millis(100);

pub(super) fn listener() -> (Poller, Listener, Arc<str>) {
    listener_with(|_| {})
}

/// `created` is called with the pipe's name when it exists, before it is registered with the poll.
fn listener_with(created: impl FnOnce(&str)) -> (Poller, Listener, Arc<str>) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name =
        format!("msgpipe.trap.{}.{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let endpoint = Endpoint::name(&name).unwrap();
    let (options, mut poller) = (ServerOptions::new(), Poller::new().unwrap());
    let bound =
        Listener::bind_with(&endpoint, &options, Carrier::Stream, &mut poller, created).unwrap();
    (poller, bound.0, bound.1)
}

/// The loop of a new listener, and its name.
fn event_loop(limits: &Limits) -> (EventLoop<Listener>, Arc<str>) {
    event_loop_of(listener(), limits)
}

fn event_loop_of(
    (poller, listener, name): (Poller, Listener, Arc<str>),
    limits: &Limits,
) -> (EventLoop<Listener>, Arc<str>) {
    let framing = Native::new(Layer::Messages, limits.message);
    let options = ServerOptions::new().limits(limits.clone());
    (EventLoop::new(poller, listener, Arc::new(framing), &options, name.clone()), name)
}

fn next(event_loop: &mut EventLoop<Listener>) -> Event {
    event_loop.poll(Some(PATIENCE)).unwrap().expect("no event came")
}

fn connected(event_loop: &mut EventLoop<Listener>) -> ConnectionId {
    match next(event_loop) {
        Event::Connected(id) => id,
        event => panic!("{event:?}"),
    }
}

/// A client that does not use this crate.
pub(super) fn open(name: &str) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(name)
}

/// The preface of a client, and one message.
fn hello() -> Bytes {
    let mut encoder = Native::new(Layer::Messages, 1 << 20).encoder();
    let mut queue = SendQueue::default();
    encoder.begin(&mut queue);
    encoder.encode(b"", "hello".into(), &mut queue).unwrap();
    queue.to_bytes()
}

/// mio ties a pipe to the completion port when it is registered: the first read of a client that connected
/// before must not be lost.
#[test]
fn register_before_connect() {
    let mut client = None;
    let bound = listener_with(|name| {
        client.insert(open(name).unwrap()).write_all(&hello()).unwrap();
    });
    let (mut event_loop, _) = event_loop_of(bound, &Limits::default());
    let id = connected(&mut event_loop);
    assert!(matches!(next(&mut event_loop), Event::Message(from, m) if from == id && m == "hello"));
}

/// A pipe becomes writable when it is registered, when it is connected and when a write has completed: only
/// one of these is a client.
#[test]
fn a_connect_is_distinguished_from_other_writable_events() {
    let (mut event_loop, name) = event_loop(&Limits::default());
    assert!(event_loop.poll(Some(A_WHILE)).unwrap().is_none(), "a client that does not exist");
    let clients: Vec<File> = (0..3).map(|_| open(&name).unwrap()).collect();
    for _ in &clients {
        connected(&mut event_loop);
    }
    assert!(event_loop.poll(Some(A_WHILE)).unwrap().is_none(), "a fourth client");
    drop(clients);
}

/// A connect that failed leaves its error to be taken, and an instance that no event reports: other instances
/// take its place.
#[test]
fn take_error_reports_a_failed_connect() {
    let (mut poller, mut listener, name) = listener();
    listener.fail_connects();
    let mut events = Events::with_capacity(16);
    poller.poll.poll(&mut events, Some(A_WHILE)).unwrap();
    let next = listener.accept(&mut poller, 1).unwrap();
    assert!(matches!(next, Next::NoneWaiting), "no client");
    // The connects of all instances had failed; an event reports the client of whichever instance is found
    // now.
    poller.poll.poll(&mut events, Some(A_WHILE)).unwrap();
    let clients: Vec<File> = (0..2).map(|_| open(&name).unwrap()).collect();
    for _ in &clients {
        accept(&mut listener, &mut poller);
    }
}

/// The message of a client that has opened, written and closed before it was accepted arrives.
#[test]
fn error_no_data_is_a_client_that_has_already_closed() {
    let bound = listener_with(|name| {
        open(name).unwrap().write_all(&hello()).unwrap();
        drop(open(name).unwrap());
    });
    let (mut event_loop, name) = event_loop_of(bound, &Limits::default());
    let (mut connected, mut messages, mut closed) = (0, 0, 0);
    while closed < 2 {
        match next(&mut event_loop) {
            Event::Connected(_) => connected += 1,
            Event::Message(_, message) => {
                assert_eq!(message, "hello");
                messages += 1;
            }
            Event::Closed(_, reason) => {
                assert!(matches!(reason, CloseReason::PeerClosed), "{reason}");
                closed += 1;
            }
            event => panic!("{event:?}"),
        }
    }
    assert_eq!((connected, messages), (2, 1));
    assert!(open(&name).is_ok(), "the name is still served");
}

/// A client's instance, accepted.
pub(super) fn accept(listener: &mut Listener, poller: &mut Poller) -> (Token, PipeStream) {
    let mut events = Events::with_capacity(16);
    loop {
        poller.poll.poll(&mut events, Some(PATIENCE)).unwrap();
        for event in &events {
            listener.ready(event.token());
        }
        if let Next::Client(accepted) = listener.accept(poller, 1).unwrap() {
            return (accepted.token, accepted.stream);
        }
    }
}

/// After the end mio reads again at every read, and posts an event each time: reading until `WouldBlock`
/// never ends.
#[test]
fn ok_zero_is_the_end_and_is_read_once() {
    let (mut poller, mut listener, name) = listener();
    drop(open(&name).unwrap());
    let (token, mut stream) = accept(&mut listener, &mut poller);
    let mut events = Events::with_capacity(16);
    let mut buffer = BytesMut::with_capacity(4096);
    loop {
        match stream.read(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                poller.poll.poll(&mut events, Some(PATIENCE)).unwrap();
            }
            ended => break assert_eq!(ended.unwrap(), 0),
        }
    }
    for _ in 0..100 {
        assert_eq!(stream.read(&mut buffer).unwrap(), 0);
    }
    // Events posted before the end was read come now; a hundred events would be a busy loop.
    let mut events_after = 0;
    while events_after < 10 {
        poller.poll.poll(&mut events, Some(A_WHILE)).unwrap();
        if events.is_empty() {
            return;
        }
        events_after += events.iter().filter(|event| event.token() == token).count();
    }
    panic!("reading the end makes events");
}

/// A write that the pipe cannot hold completes when the client has read it: until then the connection stays,
/// and closing it loses nothing.
#[test]
fn a_close_waits_for_the_last_write() {
    let (mut event_loop, name) = event_loop(&Limits::default());
    let mut client = open(&name).unwrap();
    let id = connected(&mut event_loop);
    event_loop.connections.send(id, b"", vec![7; 300_000].into()).unwrap();
    event_loop.close(id, &Goodbye::new(0, ""));
    assert!(event_loop.poll(Some(A_WHILE)).unwrap().is_none(), "closed before it was read");
    let reading = std::thread::spawn(move || {
        let mut all = Vec::new();
        // For a file the end of a pipe is an error; only the bytes before it count here.
        let _ = client.read_to_end(&mut all);
        all.len()
    });
    assert!(
        matches!(next(&mut event_loop), Event::Closed(closed, CloseReason::Local) if closed == id)
    );
    // The handle is closed once the loop has taken its last completion packet.
    while !reading.is_finished() {
        event_loop.poll(Some(A_WHILE)).unwrap();
    }
    assert!(reading.join().unwrap() > 300_000);
}

/// mio never cancels a write: a write to a client that does not read would keep its handle open for ever.
#[test]
fn an_evicted_client_leaks_no_handle() {
    let limits = Limits { write_stall: Duration::from_millis(50), ..Limits::default() };
    let (mut event_loop, name) = event_loop(&limits);
    let client = open(&name).unwrap();
    let id = connected(&mut event_loop);
    event_loop.connections.send(id, b"", vec![7; 1 << 20].into()).unwrap();
    assert!(matches!(next(&mut event_loop), Event::Closed(_, CloseReason::Unread { .. })));
    drop(event_loop);
    // A leaked handle would keep the name alive, with its client's end still open.
    assert!(is_removed(&name), "an instance is left");
    drop(client);
}

/// A handle is closed only when its last completion packet has been taken from the port: a dropped server
/// polls until that has happened, or its name would stay taken.
#[test]
fn polling_continues_until_the_handles_are_closed() {
    for clients in [0, 1, 10] {
        let (mut event_loop, name) = event_loop(&Limits::default());
        let mut open_clients = Vec::new();
        for _ in 0..clients {
            open_clients.push(open(&name).unwrap());
            connected(&mut event_loop);
        }
        drop(event_loop);
        assert!(is_removed(&name), "an instance is left of a server with {clients} clients");
    }
}

fn is_removed(name: &str) -> bool {
    const FILE_NOT_FOUND: i32 = 2;
    open(name).is_err_and(|error| error.raw_os_error() == Some(FILE_NOT_FOUND))
}

/// A burst of clients finds the pipe at most busy, never missing.
#[test]
fn the_name_is_never_missing_in_a_burst() {
    const CLIENTS: usize = 100;
    const PIPE_BUSY: i32 = 231;
    let (mut event_loop, name) = event_loop(&Limits::default());
    let opening = std::thread::spawn(move || {
        let mut open_clients = Vec::new();
        while open_clients.len() < CLIENTS {
            match open(&name) {
                Ok(client) => open_clients.push(client),
                Err(error) => assert_eq!(error.raw_os_error(), Some(PIPE_BUSY), "{error}"),
            }
        }
        open_clients
    });
    for _ in 0..CLIENTS {
        connected(&mut event_loop);
    }
    drop(opening.join().unwrap());
}

/// A message that is longer than mio's buffer and waits before the first read lost its beginning in mio
/// before 1.2.4.
#[test]
fn a_long_message_queued_before_the_first_read_is_whole() {
    let (mut event_loop, name) = event_loop(&Limits::default());
    let mut client = open(&name).unwrap();
    let mut encoder = Native::new(Layer::Messages, 1 << 20).encoder();
    let mut queue = SendQueue::default();
    encoder.begin(&mut queue);
    let sizes = [4095, 4096, 4097, 8192, 20_000];
    for size in sizes {
        let body: Vec<u8> = (0..size).map(|at: usize| at as u8).collect();
        encoder.encode(b"", body.into(), &mut queue).unwrap();
    }
    // One message on the pipe, of 40 thousand bytes.
    client.write_all(&queue.to_bytes()).unwrap();
    connected(&mut event_loop);
    for size in sizes {
        let Event::Message(_, message) = next(&mut event_loop) else { panic!("no message") };
        assert_eq!(message.len(), size);
        assert!(message.iter().enumerate().all(|(at, &byte)| byte == at as u8));
    }
}

/// The rest in mio's buffer comes before what mio reads next, and no event reports it.
#[test]
fn pieces_around_the_size_of_mios_buffer_keep_their_order() {
    const PIECES: [usize; 9] = [4094, 4095, 4096, 4097, 1, 8191, 8192, 8193, 65_536];
    let (mut event_loop, name) = event_loop(&Limits::default());
    let mut encoder = Native::new(Layer::Messages, 1 << 20).encoder();
    let mut queue = SendQueue::default();
    encoder.begin(&mut queue);
    let messages: Vec<Bytes> = (0..3000u32).map(|n| n.to_le_bytes().repeat(64).into()).collect();
    messages.iter().for_each(|m| encoder.encode(b"", m.clone().into(), &mut queue).unwrap());
    let (stream, mut client) = (queue.to_bytes(), open(&name).unwrap());
    let writing = std::thread::spawn(move || {
        let (mut rest, mut sizes) = (&stream[..], PIECES.iter().cycle());
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
            client.write_all(piece).unwrap();
            rest = behind;
        }
        client
    });
    connected(&mut event_loop);
    for expected in messages {
        let Event::Message(_, message) = next(&mut event_loop) else { panic!("no message") };
        assert_eq!(message, expected);
    }
    drop(writing.join().unwrap());
}
