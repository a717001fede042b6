//! The in-memory transport with injected faults: what real systems do rarely happens always.

use crate::common::{PATIENCE, closed, connected, message, pattern};
use msgpipe::memory::{Control, Faults, Hub};
use msgpipe::{Client, ClientStream, CloseReason, Error, Limits, MessageServer, Server, Stopper};
use std::thread::{self, JoinHandle};
use std::time::Duration;

struct Echo {
    hub: Hub,
    stopper: Stopper,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    fn start() -> Echo {
        let hub = Hub::new();
        let messages = hub.listen_for_calls("echo", Limits::default()).unwrap();
        let server = Server::over(messages, Limits::default());
        let stopper = server.stopper();
        let thread = thread::spawn(move || server.serve(|request| request.body()).unwrap());
        Echo { hub, stopper, thread: Some(thread) }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stopper.stop();
        let joined = self.thread.take().unwrap().join();
        assert!(joined.is_ok() || thread::panicking(), "the server panicked");
    }
}

fn faults(chunk: usize, capacity: usize) -> Faults {
    let mut faults = Faults::default();
    faults.chunk = chunk;
    faults.capacity = capacity;
    faults
}

#[test]
fn calls_go_through_reads_and_writes_of_any_size() {
    let echo = Echo::start();
    for (chunk, capacity) in [(1, 1), (1, 64 * 1024), (7, 3), (usize::MAX, 1), (4096, 5000)] {
        let client =
            echo.hub.client_with("echo", Limits::default(), faults(chunk, capacity)).unwrap();
        for size in [0, 1, 100, 5_000] {
            let request = pattern(size, 5);
            assert!(
                client.call(request.clone()).unwrap() == request,
                "{size} bytes, {chunk} at once"
            );
        }
    }
}

#[test]
fn a_stall_ends_calls_at_their_deadline_and_nothing_else() {
    let echo = Echo::start();
    let stream = echo.hub.connect("echo").unwrap();
    let control = stream.control();
    let client = Client::over(Box::new(stream), "a stalling wire", Limits::default());
    assert_eq!(client.call("before").unwrap(), "before");
    control.stall();
    let hasty = client.with_timeout(Duration::from_millis(20));
    let Err(Error::Deadline { .. }) = hasty.call("during") else { panic!("it came through") };
    // Another connection is not stalled.
    let other = echo.hub.client("echo", Limits::default()).unwrap();
    assert_eq!(other.call("elsewhere").unwrap(), "elsewhere");
    control.resume();
    assert_eq!(client.call("after").unwrap(), "after");
}

#[test]
fn a_connection_may_break_at_any_byte() {
    let echo = Echo::start();
    // The preface, the settings, and calls: each a header, an envelope and a body of five bytes.
    for after in 1..200 {
        let mut faults = Faults::default();
        faults.reset_after = Some(after);
        let client = echo.hub.client_with("echo", Limits::default(), faults).unwrap();
        let mut answered = 0;
        let error = loop {
            match client.call("hello") {
                Ok(reply) => {
                    assert_eq!(reply, "hello");
                    answered += 1;
                }
                Err(error) => break error,
            }
        };
        assert!(matches!(error, Error::Closed { .. }), "{error}");
        // A call is answered at most if all of it was sent before the break.
        assert!(answered <= after.saturating_sub(16) / 29, "{answered} after {after} bytes");
    }
    let client = echo.hub.client("echo", Limits::default()).unwrap();
    assert_eq!(client.call("still there?").unwrap(), "still there?");
}

/// Breaks a wire while a client waits, in whatever state `before` brings it to: both ends are told.
#[track_caller]
fn a_broken_connection_is_reported_at_both_ends(before: impl FnOnce(&Control)) {
    let hub = Hub::new();
    let mut server = hub.listen("quiet", Limits::default()).unwrap();
    let stream = hub.connect("quiet").unwrap();
    let control = stream.control();
    let client =
        msgpipe::MessageClient::over(Box::new(stream), "a wire that breaks", Limits::default());
    client.send("hello").unwrap();
    let id = connected(&mut server);
    assert_eq!(message(&mut server).1, "hello");
    let waiting = thread::spawn(move || client.receive(Some(PATIENCE)));
    before(&control);
    control.reset();
    let (ended, reason) = closed(&mut server);
    assert!(ended == id && matches!(reason, CloseReason::Broken(_)), "{reason}");
    match waiting.join().unwrap().unwrap_err() {
        Error::Closed { reason: CloseReason::Broken(_), .. } => {}
        error => panic!("{error}"),
    }
}

#[test]
fn a_reset_ends_a_waiting_call_and_the_connection_at_the_server() {
    a_broken_connection_is_reported_at_both_ends(|_| {});
}

#[test]
fn nothing_depends_on_time() {
    // The same steps give the same events, on one thread, with no waiting anywhere.
    let run = || {
        let hub = Hub::new();
        let mut server = hub.listen("steps", Limits::default()).unwrap();
        let stream = hub.connect_with("steps", faults(3, 10)).unwrap();
        let mut events = Vec::new();
        let bytes = crate::common::raw::preface(msgpipe::framing::Layer::Messages);
        let mut rest = &bytes[..];
        for _ in 0..20 {
            match stream.write(&[std::io::IoSlice::new(rest)]) {
                Ok(taken) => rest = &rest[taken..],
                Err(error) => events.push(error.kind().to_string()),
            }
            let event = server.poll(Some(Duration::ZERO)).unwrap();
            events.push(format!("{event:?}"));
        }
        events
    };
    assert_eq!(run(), run());
    assert!(run()[0].contains("Connected"));
}

/// Nothing moves on a stalled wire; that it breaks is noticed nevertheless, by both ends and at once.
#[test]
fn a_stalled_wire_that_breaks_ends_at_both_ends() {
    a_broken_connection_is_reported_at_both_ends(Control::stall);
}
