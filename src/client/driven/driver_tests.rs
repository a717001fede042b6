//! The driver on a stream that does what a test says, without a runtime: any may drive it.

use super::*;
use crate::async_io::{AsyncIo, WriteNow};
use bytes::BytesMut;
use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// What the stream does, and what was done with it.
#[derive(Default)]
pub(super) struct Script {
    /// Of the next reads and writes, one each. Then nothing comes to be read, and everything is taken.
    pub reads: VecDeque<ErrorKind>,
    pub writes: VecDeque<ErrorKind>,
    /// Nothing is taken.
    pub is_stuck: bool,
    /// The most bytes that one write takes; 0: all.
    pub takes: usize,
    pub read_polls: usize,
    /// What comes to be read.
    pub arrives: Vec<u8>,
    pub written: Vec<u8>,
    /// Others than the driver may write, so many bytes at once.
    pub writes_now: Option<usize>,
}

#[derive(Clone, Default)]
pub(super) struct Scripted(pub Arc<Mutex<Script>>);

impl WriteNow for Scripted {
    fn write_now(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut script = self.0.lock().unwrap();
        let mut bytes: Vec<u8> = slices.iter().flat_map(|it| it.to_vec()).collect();
        bytes.truncate(script.writes_now.filter(|most| *most > 0).ok_or(ErrorKind::WouldBlock)?);
        script.written.extend_from_slice(&bytes);
        Ok(bytes.len())
    }
}

impl AsyncIo for Scripted {
    fn now() -> Instant {
        Instant::now()
    }

    fn writer(&self) -> Option<Box<dyn WriteNow>> {
        self.0.lock().unwrap().writes_now.map(|_| Box::new(self.clone()) as Box<dyn WriteNow>)
    }

    fn poll_read(&mut self, _: &mut Context<'_>, buffer: &mut BytesMut) -> Poll<io::Result<usize>> {
        let mut script = self.0.lock().unwrap();
        script.read_polls += 1;
        if !script.arrives.is_empty() {
            buffer.extend_from_slice(&script.arrives);
            return Poll::Ready(Ok(std::mem::take(&mut script.arrives).len()));
        }
        script.reads.pop_front().map_or(Poll::Pending, |kind| Poll::Ready(Err(kind.into())))
    }

    fn poll_write(
        &mut self,
        _: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut script = self.0.lock().unwrap();
        if script.is_stuck {
            return Poll::Pending;
        }
        if let Some(kind) = script.writes.pop_front() {
            return Poll::Ready(Err(kind.into()));
        }
        let mut bytes: Vec<u8> = slices.iter().flat_map(|it| it.to_vec()).collect();
        bytes.truncate(if script.takes == 0 { usize::MAX } else { script.takes });
        script.written.extend_from_slice(&bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_sleep(&mut self, _: &mut Context<'_>, until: Instant) -> Poll<()> {
        if until <= Instant::now() { Poll::Ready(()) } else { Poll::Pending }
    }
}

pub(super) struct Counts(pub AtomicUsize);

impl Wake for Counts {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

pub(super) fn over(script: Script, limits: &Limits) -> (Client, Driver<Scripted>, Scripted) {
    let io = Scripted(Arc::new(Mutex::new(script)));
    let framing = crate::framing::Native::for_calls(limits.message);
    let (client, driver) =
        Client::over_io(io.clone(), &framing, "scripted".into(), Peer::default(), limits);
    (client, driver, io)
}

pub(super) fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Polls it until it ends, which only the time brings about.
fn wait_for(driver: &mut Driver<Scripted>) {
    let began = Instant::now();
    while poll(Pin::new(&mut *driver)).is_pending() {
        assert!(began.elapsed() < Duration::from_secs(60));
        std::thread::yield_now();
    }
}

pub(super) fn has(io: &Scripted, text: &str) -> bool {
    io.0.lock().unwrap().written.windows(text.len()).any(|it| it == text.as_bytes())
}

/// The last handle is dropped before the driver was polled.
#[test]
fn what_was_begun_is_sent_although_no_handle_is_left() {
    for takes in [0, 1, 7] {
        let script = Script { takes, ..Script::default() };
        let (client, mut driver, io) = over(script, &Limits::new());
        let Poll::Ready(Ok(call)) = poll(pin!(client.start("held"))) else { panic!() };
        call.detach();
        assert!(matches!(poll(pin!(client.notify("and this"))), Poll::Ready(Ok(()))));
        drop(client);
        let mut polls = 0;
        while poll(Pin::new(&mut driver)).is_pending() {
            polls += 1;
            assert!(polls < 1000);
        }
        assert!(has(&io, "held") && has(&io, "and this"), "{takes}");
    }
}

/// It is dropped with a server that does not read: the driver goes on for its second, and ends.
#[test]
fn a_driver_without_handles_ends_in_time() {
    let (client, mut driver, io) = over(Script::default(), &Limits::new());
    io.0.lock().unwrap().is_stuck = true;
    drop(client);
    assert!(poll(Pin::new(&mut driver)).is_pending());
    let began = Instant::now();
    wait_for(&mut driver);
    assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
}

/// Nobody would wake the driver after an interrupted read or write: it tries again.
#[test]
fn an_interrupted_read_or_write_is_tried_again() {
    let interrupted = || VecDeque::from([ErrorKind::Interrupted; 3]);
    let script = Script { reads: interrupted(), writes: interrupted(), ..Script::default() };
    let (client, mut driver, io) = over(script, &Limits::new());
    let _call = poll(pin!(client.start("tried again")));
    assert!(poll(Pin::new(&mut driver)).is_pending());
    assert!(has(&io, "tried again"));
    assert!(io.0.lock().unwrap().read_polls > 3);
    assert!(!client.is_closed());
}

/// One interruption after another: others of its thread run in between.
#[test]
fn a_driver_that_always_finds_work_yields() {
    let script = Script { reads: [ErrorKind::Interrupted; 10_000].into(), ..Script::default() };
    let (_client, mut driver, io) = over(script, &Limits::new());
    let wakes = Arc::new(Counts(AtomicUsize::new(0)));
    let waker = wakes.clone().into();
    assert!(Pin::new(&mut driver).poll(&mut Context::from_waker(&waker)).is_pending());
    assert!(wakes.0.load(Ordering::SeqCst) > 0, "it is to be polled again");
    assert!(io.0.lock().unwrap().read_polls < 100);
}

/// What the driver has taken makes room, also while the system takes nothing: who waits for it is woken.
#[test]
fn room_is_told_of_when_it_comes() {
    let script = Script { is_stuck: true, ..Script::default() };
    let limits = Limits::new().with_queued(1);
    let (client, mut driver, _io) = over(script, &limits);
    assert!(matches!(poll(pin!(client.notify("first"))), Poll::Ready(Ok(()))));
    let woken = Arc::new(Counts(AtomicUsize::new(0)));
    let waker = woken.clone().into();
    let mut second = pin!(client.notify_within("second", Duration::from_secs(3600)));
    assert!(second.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    assert!(poll(Pin::new(&mut driver)).is_pending());
    assert_eq!(woken.0.load(Ordering::SeqCst), 1);
    assert!(matches!(poll(second), Poll::Ready(Ok(()))));
}

/// A write that fails: all calls end with the reason, and are woken.
#[test]
fn a_failed_write_ends_all_calls() {
    for kind in [ErrorKind::BrokenPipe, ErrorKind::WriteZero, ErrorKind::Other] {
        let script = Script { writes: [kind].into(), ..Script::default() };
        let (client, mut driver, _io) = over(script, &Limits::new());
        let Poll::Ready(Ok(mut call)) = poll(pin!(client.start("lost"))) else { panic!() };
        let woken = Arc::new(Counts(AtomicUsize::new(0)));
        let waker = woken.clone().into();
        assert!(Pin::new(&mut call).poll(&mut Context::from_waker(&waker)).is_pending());
        // For what the server has said before, which does not come.
        assert!(poll(Pin::new(&mut driver)).is_pending());
        wait_for(&mut driver);
        assert_eq!(woken.0.load(Ordering::SeqCst), 1);
        let Poll::Ready(Err(error)) = poll(Pin::new(&mut call)) else { panic!() };
        assert!(error.is_not_begun(), "{error}");
    }
}

/// The goodbye of a server that has closed comes after the write has failed, as on a pipe.
#[test]
fn a_failed_write_finds_the_goodbye() {
    let script = Script { writes: [ErrorKind::BrokenPipe].into(), ..Script::default() };
    let (client, mut driver, io) = over(script, &Limits::new());
    let Poll::Ready(Ok(mut call)) = poll(pin!(client.start("lost"))) else { panic!() };
    assert!(poll(Pin::new(&mut driver)).is_pending());
    let mut encoder = crate::framing::Native::for_calls(1000).encoder();
    let mut queue = crate::framing::SendQueue::default();
    encoder.begin(&mut queue);
    encoder.goodbye(77, "closed", &mut queue);
    io.0.lock().unwrap().arrives = queue.to_bytes().to_vec();
    assert!(poll(Pin::new(&mut driver)).is_ready());
    let Poll::Ready(Err(Error::Closed { reason, .. })) = poll(Pin::new(&mut call)) else {
        panic!()
    };
    assert!(reason.to_string().contains("77"), "{reason}");
}

/// Uses the client when it is woken, as a task does that is polled there and then: it drops a call and begins another.
struct Meddles {
    client: Client,
    dropped: Mutex<Option<Call>>,
    begun: Mutex<Option<Result<Call, Error>>>,
}

impl Wake for Meddles {
    fn wake(self: Arc<Self>) {
        drop(self.dropped.lock().unwrap().take());
        if let Poll::Ready(begun) = poll(pin!(self.client.start("begun by a waker"))) {
            *self.begun.lock().unwrap() = Some(begun);
        }
    }
}

/// No lock is held while a waker runs: neither when a deadline ends its call, nor when the connection ends.
#[test]
fn a_waker_may_use_the_client() {
    for is_late in [true, false] {
        let (client, mut driver, _io) = over(Script::default(), &Limits::new());
        let time = if is_late { Duration::from_millis(1) } else { Duration::from_secs(3600) };
        let short = client.with_timeout(time);
        let mut calls = Vec::new();
        for _ in 0..2 {
            let Poll::Ready(Ok(call)) = poll(pin!(short.start("ask"))) else { panic!() };
            calls.push(call);
        }
        let dropped = Mutex::new(calls.pop());
        let meddles = Arc::new(Meddles { client, dropped, begun: Mutex::default() });
        let waker = meddles.clone().into();
        let mut call = calls.pop().unwrap();
        assert!(Pin::new(&mut call).poll(&mut Context::from_waker(&waker)).is_pending());
        if is_late {
            while meddles.begun.lock().unwrap().is_none() {
                assert!(poll(Pin::new(&mut driver)).is_pending());
            }
        }
        drop(driver);
        let begun = meddles.begun.lock().unwrap().take().unwrap();
        assert_eq!(begun.is_ok(), is_late);
        assert!(meddles.dropped.lock().unwrap().is_none());
    }
}

/// Calls up to their limit, begun while nobody drives, and dropped: nothing is left of them but their cancellations.
#[test]
fn very_many_calls_are_begun_dropped_and_refused() {
    const MANY: usize = 100_000;
    let (client, mut driver, _io) = over(Script::default(), &Limits::new().with_in_flight(MANY));
    let mut calls = Vec::new();
    let refused = loop {
        match poll(pin!(client.start("ask"))) {
            Poll::Ready(Ok(call)) => calls.push(call),
            Poll::Ready(Err(error)) => break error,
            Poll::Pending => panic!("it waits"),
        }
    };
    assert!(matches!(&refused, Error::TooManyCalls { .. }), "{refused}");
    assert!(calls.len() <= MANY);
    for _ in 0..3 {
        assert!(poll(Pin::new(&mut driver)).is_pending());
    }
    drop(calls);
    assert!(poll(Pin::new(&mut driver)).is_pending());
    assert_eq!(client.counts().calls.cancelled, client.counts().calls.begun);
}
