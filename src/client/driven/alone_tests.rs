//! A call that is alone is written by who begins it, on streams that can do that; all else is the driver's.

use super::driver_tests::{Counts, Script, Scripted, has, over, poll};
use super::*;
use std::future::Future as _;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

/// A connection whose driver has sent what a connection begins with, and how often it was woken since.
fn begun(writes_now: Option<usize>) -> (Client, Driver<Scripted>, Scripted, Arc<Counts>) {
    let script = Script { writes_now, ..Script::default() };
    let (client, mut driver, io) = over(script, &Limits::new());
    let woken = Arc::new(Counts(AtomicUsize::new(0)));
    let waker = woken.clone().into();
    assert!(Pin::new(&mut driver).poll(&mut Context::from_waker(&waker)).is_pending());
    assert!(!written(&io).is_empty());
    (client, driver, io, woken)
}

fn start(client: &Client, request: &'static str) -> Call {
    match poll(pin!(client.start(request))) {
        Poll::Ready(Ok(call)) => call,
        other => panic!("{other:?}"),
    }
}

fn written(io: &Scripted) -> Vec<u8> {
    io.0.lock().unwrap().written.clone()
}

#[test]
fn a_call_that_is_alone_is_written_at_once_and_others_by_the_driver() {
    let (client, mut driver, io, woken) = begun(Some(usize::MAX));
    let _alone = start(&client, "alone");
    assert!(has(&io, "alone"));
    let _second = start(&client, "second");
    assert!(!has(&io, "second"));
    assert_eq!(woken.0.load(Ordering::SeqCst), 1);
    assert!(poll(Pin::new(&mut driver)).is_pending());
    assert!(has(&io, "second"));
}

/// The driver need not be woken for a call without a deadline; for one with a deadline it has to wait for that.
#[test]
fn the_driver_is_woken_only_for_a_deadline_that_it_does_not_wait_for() {
    let (client, _driver, io, woken) = begun(Some(usize::MAX));
    let Poll::Ready(Ok(_parts)) = poll(pin!(client.stream("parts"))) else { panic!() };
    assert!(has(&io, "parts"));
    assert_eq!(woken.0.load(Ordering::SeqCst), 0);
    let (client, _driver, io, woken) = begun(Some(usize::MAX));
    let _call = start(&client, "timed");
    assert!(has(&io, "timed"));
    assert_eq!(woken.0.load(Ordering::SeqCst), 1);
}

/// What the driver would write, byte for byte, wherever the write at once stops.
#[test]
fn the_driver_writes_the_rest_of_what_was_not_written_at_once() {
    let expected = {
        let (client, mut driver, io, _) = begun(None);
        let _calls = (start(&client, "one request"), start(&client, "another"));
        assert!(poll(Pin::new(&mut driver)).is_pending());
        written(&io)
    };
    for most in 0..=100 {
        let (client, mut driver, io, woken) = begun(Some(most));
        let _one = start(&client, "one request");
        let _another = start(&client, "another");
        assert_eq!(woken.0.load(Ordering::SeqCst), 1);
        assert!(poll(Pin::new(&mut driver)).is_pending());
        assert!(written(&io) == expected, "{most} bytes at once");
    }
}

/// What the driver has taken, and the system has not, comes first.
#[test]
fn nothing_is_written_before_what_the_driver_has_taken() {
    let script = Script { writes_now: Some(usize::MAX), is_stuck: true, ..Script::default() };
    let (client, mut driver, io) = over(script, &Limits::new());
    assert!(poll(Pin::new(&mut driver)).is_pending());
    let _call = start(&client, "after what a connection begins with");
    assert_eq!(written(&io), b"");
    io.0.lock().unwrap().is_stuck = false;
    assert!(poll(Pin::new(&mut driver)).is_pending());
    let (client, mut driver, other) = over(Script::default(), &Limits::new());
    let _call = start(&client, "after what a connection begins with");
    assert!(poll(Pin::new(&mut driver)).is_pending());
    assert!(written(&io) == written(&other));
}

/// Handles keep no stream of a connection that has ended.
#[test]
fn the_stream_is_closed_with_its_driver() {
    for is_dropped in [false, true] {
        let (client, mut driver, io, _) = begun(Some(usize::MAX));
        if is_dropped {
            drop(driver);
        } else {
            client.close();
            assert!(poll(Pin::new(&mut driver)).is_ready());
            drop(driver);
        }
        assert_eq!(Arc::strong_count(&io.0), 1);
        let Poll::Ready(Err(error)) = poll(pin!(client.start("too late"))) else { panic!() };
        assert!(error.is_not_begun(), "{error}");
    }
}
