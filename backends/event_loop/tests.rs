//! Tests of the loop with scripted acceptors.

use super::acceptor::FIRST_TOKEN;
use super::*;
use crate::framing::{Layer, Native, SendQueue};
use crate::peer::Peer;
use bytes::{Bytes, BytesMut};
use mio::Registry;
use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;

/// The timeout of waits that must end earlier.
const PATIENCE: Duration = Duration::from_secs(60);

/// A client that sends nothing and reads everything.
struct Silent;

impl ServerStream for Silent {
    fn read(&mut self, _buffer: &mut BytesMut) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn write(&mut self, queue: &mut SendQueue) -> io::Result<usize> {
        let len = queue.len();
        queue.advance(len);
        Ok(len)
    }
}

/// The outcomes of accepting, in order: the client's process id, or an error. After them no client waits.
struct Script(VecDeque<io::Result<u32>>);

/// Accepts one client, which sends these bytes. Each read returns one byte.
struct Dripping(Option<Bytes>);

struct Drops(Bytes);

impl ServerStream for Drops {
    fn read(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        if self.0.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        buffer.extend_from_slice(&self.0.split_to(1));
        Ok(1)
    }

    fn stopped_short(&self) -> bool {
        true
    }

    fn write(&mut self, queue: &mut SendQueue) -> io::Result<usize> {
        let len = queue.len();
        queue.advance(len);
        Ok(len)
    }
}

impl Acceptor for Dripping {
    type Stream = Drops;

    fn ready(&mut self, _token: Token) -> bool {
        false
    }

    fn accept(&mut self, poller: &mut Poller, _: usize) -> io::Result<Next<Drops>> {
        let Some(said) = self.0.take() else { return Ok(Next::NoneWaiting) };
        let (token, peer) = (poller.next_token(), Peer::default());
        Ok(Next::Client(Accepted { token, stream: Drops(said), peer, readable: true }))
    }

    fn close(self, _registry: &Registry) {}
}

/// Clients that connect faster than they are refused: there is always another one.
struct Endless {
    turned_away: Rc<Cell<usize>>,
}

impl Acceptor for Script {
    type Stream = Silent;

    fn ready(&mut self, _token: Token) -> bool {
        false
    }

    fn accept(&mut self, poller: &mut Poller, room: usize) -> io::Result<Next<Silent>> {
        assert_ne!(room, 0);
        let Some(next) = self.0.pop_front() else {
            return Ok(Next::NoneWaiting);
        };
        let peer = Peer { pid: Some(next?), ..Peer::default() };
        let token = poller.next_token();
        Ok(Next::Client(Accepted { token, stream: Silent, peer, readable: false }))
    }

    fn close(self, _registry: &Registry) {}
}

impl Acceptor for Endless {
    type Stream = Silent;

    fn ready(&mut self, _token: Token) -> bool {
        false
    }

    fn accept(&mut self, _: &mut Poller, _: usize) -> io::Result<Next<Silent>> {
        self.turned_away.set(self.turned_away.get() + 1);
        assert!(self.turned_away.get() < 1_000_000, "nobody else is ever served");
        Ok(Next::Skipped)
    }

    fn close(self, _registry: &Registry) {}
}

fn event_loop(script: Vec<io::Result<u32>>, options: &ServerOptions) -> EventLoop<Script> {
    let framing = Arc::new(Native::new(Layer::Messages, 1024));
    let poller = Poller::new().unwrap();
    EventLoop::new(poller, Script(script.into()), framing, options, "a script".into())
}

fn refused() -> io::Result<u32> {
    Err(io::Error::other("no descriptors"))
}

/// The client of the next event, by its process id; `None`: accepting failed. The event must come before the
/// poll's timeout.
fn next(event_loop: &mut EventLoop<Script>) -> Option<u32> {
    let began = Instant::now();
    let event = event_loop.poll(Some(PATIENCE)).unwrap();
    assert!(began.elapsed() < PATIENCE, "it slept: {event:?}");
    match event {
        Some(Event::Connected(id)) => event_loop.connections.peer(id).unwrap().pid,
        Some(Event::AcceptFailed(error)) => {
            assert!(error.to_string().contains("a script"), "{error}");
            assert!(error.to_string().contains("no descriptors"), "{error}");
            None
        }
        event => panic!("{event:?}"),
    }
}

#[test]
fn a_failure_to_take_clients_in_is_told_once_and_got_over() {
    let script = vec![Ok(1), refused(), refused(), refused(), Ok(2), Ok(3), refused(), Ok(4)];
    let mut event_loop = event_loop(script, &ServerOptions::new());
    let heard: Vec<_> = (0..6).map(|_| next(&mut event_loop)).collect();
    assert_eq!(heard, [Some(1), None, Some(2), Some(3), None, Some(4)]);
    assert!(event_loop.poll(Some(Duration::ZERO)).unwrap().is_none());
}

#[test]
fn whom_the_application_refuses_is_never_heard_of() {
    let options = ServerOptions::new().authorize(|peer| peer.pid != Some(2));
    let mut event_loop = event_loop(vec![Ok(1), Ok(2), Ok(3)], &options);
    assert_eq!([next(&mut event_loop), next(&mut event_loop)], [Some(1), Some(3)]);
    assert!(event_loop.poll(Some(Duration::ZERO)).unwrap().is_none());
    assert_eq!(event_loop.connections.len(), 2);
}

#[test]
fn so_many_are_served_at_once_as_there_are_instances() {
    use crate::Instances;
    for (instances, served) in [(0, 1), (1, 1), (2, 2), (3, 3), (4, 3)] {
        let options = ServerOptions::new().instances(Instances::Fixed(instances));
        let mut event_loop = event_loop(vec![Ok(1), Ok(2), Ok(3)], &options);
        for pid in 1..=served {
            assert_eq!(next(&mut event_loop), Some(pid));
        }
        assert!(event_loop.poll(Some(Duration::ZERO)).unwrap().is_none());
        assert_eq!(event_loop.connections.len(), served as usize, "{instances} instances");
    }
}

#[test]
fn a_full_server_does_not_look_for_those_who_wait_until_one_has_gone() {
    let options = ServerOptions::new().instances(Instances::Fixed(1));
    let mut event_loop = event_loop(vec![Ok(1), Ok(2)], &options);
    assert_eq!(next(&mut event_loop), Some(1));
    assert!(event_loop.poll(Some(Duration::ZERO)).unwrap().is_none());
    assert!(event_loop.accept_at.is_some(), "nobody waits");
    assert_eq!(event_loop.accept_due(), None, "it would not sleep");
    event_loop.close(id_of(Token(FIRST_TOKEN)), &Goodbye::new(0, ""));
    let event = event_loop.poll(Some(PATIENCE)).unwrap();
    assert!(matches!(event, Some(Event::Closed(..))), "{event:?}");
    assert_eq!(next(&mut event_loop), Some(2));
}

#[test]
fn a_server_that_takes_no_more_clients_does_not_look_for_them() {
    let mut event_loop = event_loop(vec![refused()], &ServerOptions::new());
    assert_eq!(next(&mut event_loop), None);
    assert!(event_loop.accept_due().is_some(), "it does not try again");
    event_loop.stop_accepting();
    assert_eq!(event_loop.accept_due(), None, "it would not sleep");
}

/// There is no readiness: only the limit ends the wait.
#[test]
fn a_server_that_waits_closes_in_time_who_says_nothing() {
    let limits = Limits { preface: Duration::from_millis(20), ..Limits::default() };
    let mut event_loop = event_loop(vec![Ok(1)], &ServerOptions::new().limits(limits));
    assert_eq!(next(&mut event_loop), Some(1));
    let began = Instant::now();
    let event = event_loop.poll(Some(PATIENCE)).unwrap();
    assert!(matches!(event, Some(Event::Closed(..))), "{event:?}");
    assert!(began.elapsed() < PATIENCE, "it slept");
}

/// A message that takes many turns to read is returned after few polls, though none of them waits.
#[test]
fn a_poll_does_not_return_while_there_is_something_to_read() {
    const SIZE: usize = 1000;
    let (mut preface, mut message) = (SendQueue::default(), SendQueue::default());
    let mut encoder = Native::new(Layer::Messages, 1024).encoder();
    encoder.begin(&mut preface);
    encoder.encode(b"", vec![1; SIZE].into(), &mut message).unwrap();
    let said = [preface.to_bytes(), message.to_bytes()].concat();
    let framing = Arc::new(Native::new(Layer::Messages, 1024));
    let acceptor = Dripping(Some(said.into()));
    let options = ServerOptions::new();
    let poller = Poller::new().unwrap();
    let mut server = EventLoop::new(poller, acceptor, framing, &options, "test".into());
    assert!(matches!(server.poll(Some(PATIENCE)), Ok(Some(Event::Connected(_)))));
    let mut polls = 0;
    loop {
        polls += 1;
        match server.poll(Some(Duration::ZERO)).unwrap() {
            None => {}
            Some(Event::Message(_, message)) => break assert_eq!(message.len(), SIZE),
            event => panic!("{event:?}"),
        }
    }
    assert!(polls < SIZE / 2, "{polls} polls");
}

/// The signal has a handler: without one it would not interrupt the wait.
#[cfg(target_os = "linux")]
#[test]
fn a_signal_does_not_end_a_wait() {
    use std::os::unix::thread::JoinHandleExt;
    use std::sync::atomic::{AtomicUsize, Ordering};
    static HANDLED: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn handle(_signal: libc::c_int) {
        HANDLED.fetch_add(1, Ordering::SeqCst);
    }
    // SAFETY: an action of zeros with a handler that only adds to a counter.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handle as extern "C" fn(libc::c_int) as usize;
        assert_eq!(libc::sigaction(libc::SIGUSR2, &action, std::ptr::null_mut()), 0);
    }
    let (tell, told) = std::sync::mpsc::channel();
    let polling = std::thread::spawn(move || {
        let mut event_loop = event_loop(vec![], &ServerOptions::new());
        // SAFETY: the call only returns a number.
        let thread = unsafe { libc::gettid() };
        tell.send((thread, event_loop.waker())).unwrap();
        let event = event_loop.poll(None);
        assert!(matches!(event, Ok(Some(Event::Woken))), "{event:?}");
    });
    let (thread, waker) = told.recv().unwrap();
    let stat = format!("/proc/self/task/{thread}/stat");
    // The state of the thread follows its name, which ends with a parenthesis.
    let sleeps = || std::fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") S "));
    for round in 0..20 {
        while !sleeps() && !polling.is_finished() {
            std::thread::yield_now();
        }
        if polling.is_finished() {
            break;
        }
        // SAFETY: the thread has not been joined.
        unsafe { libc::pthread_kill(polling.as_pthread_t(), libc::SIGUSR2) };
        while HANDLED.load(Ordering::SeqCst) == round && !polling.is_finished() {
            std::thread::yield_now();
        }
    }
    waker.wake();
    polling.join().unwrap();
}

#[test]
fn who_may_not_come_in_keeps_nobody_waiting_by_coming_again_and_again() {
    let turned_away = Rc::new(Cell::new(0));
    let framing = Arc::new(Native::new(Layer::Messages, 1024));
    let acceptor = Endless { turned_away: turned_away.clone() };
    let options = ServerOptions::new();
    let poller = Poller::new().unwrap();
    let mut server = EventLoop::new(poller, acceptor, framing, &options, "test".into());
    for turn in 1..=3 {
        server.waker().wake();
        let event = server.poll(None).unwrap();
        assert!(matches!(event, Some(Event::Woken)), "{event:?}");
        // Each poll of the system refuses this many, and the next one continues.
        assert_eq!(turned_away.get(), turn * ACCEPTS);
    }
    assert!(server.poll(Some(Duration::ZERO)).unwrap().is_none());
}
