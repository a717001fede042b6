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
struct OneByteClient(Option<Bytes>);

struct OneByteReads(Bytes);

impl ServerStream for OneByteReads {
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

impl Acceptor for OneByteClient {
    type Stream = OneByteReads;

    fn ready(&mut self, _token: Token) -> bool {
        false
    }

    fn accept(&mut self, poller: &mut Poller, _: usize) -> io::Result<Next<OneByteReads>> {
        let Some(sent) = self.0.take() else { return Ok(Next::NoneWaiting) };
        let (token, peer) = (poller.next_token(), Peer::default());
        Ok(Next::Client(Accepted { token, stream: OneByteReads(sent), peer, readable: true }))
    }

    fn close(self, _registry: &Registry) {}
}

/// Clients that connect faster than they are refused: there is always another one.
struct EndlessRefusals {
    refused_clients: Rc<Cell<usize>>,
}

impl Acceptor for Script {
    type Stream = Silent;

    fn ready(&mut self, _token: Token) -> bool {
        false
    }

    fn accept(&mut self, poller: &mut Poller, limit: usize) -> io::Result<Next<Silent>> {
        assert_ne!(limit, 0);
        let Some(next) = self.0.pop_front() else {
            return Ok(Next::NoneWaiting);
        };
        let peer = Peer { pid: Some(next?), ..Peer::default() };
        let token = poller.next_token();
        Ok(Next::Client(Accepted { token, stream: Silent, peer, readable: false }))
    }

    fn close(self, _registry: &Registry) {}
}

impl Acceptor for EndlessRefusals {
    type Stream = Silent;

    fn ready(&mut self, _token: Token) -> bool {
        false
    }

    fn accept(&mut self, _: &mut Poller, _: usize) -> io::Result<Next<Silent>> {
        self.refused_clients.set(self.refused_clients.get() + 1);
        assert!(self.refused_clients.get() < 1_000_000, "nobody else is ever served");
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
    assert!(began.elapsed() < PATIENCE, "it waited for its timeout: {event:?}");
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
fn an_accept_failure_is_reported_once_and_accepting_goes_on() {
    let script = vec![Ok(1), refused(), refused(), refused(), Ok(2), Ok(3), refused(), Ok(4)];
    let mut event_loop = event_loop(script, &ServerOptions::new());
    let events: Vec<_> = (0..6).map(|_| next(&mut event_loop)).collect();
    assert_eq!(events, [Some(1), None, Some(2), Some(3), None, Some(4)]);
    assert!(event_loop.poll(Some(Duration::ZERO)).unwrap().is_none());
}

#[test]
fn a_client_that_authorize_refuses_causes_no_event() {
    let options = ServerOptions::new().authorize(|peer| peer.pid != Some(2));
    let mut event_loop = event_loop(vec![Ok(1), Ok(2), Ok(3)], &options);
    assert_eq!([next(&mut event_loop), next(&mut event_loop)], [Some(1), Some(3)]);
    assert!(event_loop.poll(Some(Duration::ZERO)).unwrap().is_none());
    assert_eq!(event_loop.connections.len(), 2);
}

#[test]
fn as_many_clients_are_served_at_once_as_there_are_instances() {
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
fn a_full_server_accepts_nobody_until_a_client_has_closed() {
    let options = ServerOptions::new().instances(Instances::Fixed(1));
    let mut event_loop = event_loop(vec![Ok(1), Ok(2)], &options);
    assert_eq!(next(&mut event_loop), Some(1));
    assert!(event_loop.poll(Some(Duration::ZERO)).unwrap().is_none());
    assert!(event_loop.accept_at.is_some(), "no client waits");
    assert_eq!(event_loop.accept_due(), None, "the loop would not wait");
    event_loop.close(id_of(Token(FIRST_TOKEN)), &Goodbye::new(0, ""));
    let event = event_loop.poll(Some(PATIENCE)).unwrap();
    assert!(matches!(event, Some(Event::Closed(..))), "{event:?}");
    assert_eq!(next(&mut event_loop), Some(2));
}

#[test]
fn a_server_that_has_stopped_accepting_does_not_try_again() {
    let mut event_loop = event_loop(vec![refused()], &ServerOptions::new());
    assert_eq!(next(&mut event_loop), None);
    assert!(event_loop.accept_due().is_some(), "it does not try again");
    event_loop.stop_accepting();
    assert_eq!(event_loop.accept_due(), None, "the loop would not wait");
}

/// There is no readiness: only the limit ends the wait.
#[test]
fn a_waiting_server_closes_a_silent_client_at_its_deadline() {
    let limits = Limits { preface: Duration::from_millis(20), ..Limits::default() };
    let mut event_loop = event_loop(vec![Ok(1)], &ServerOptions::new().limits(limits));
    assert_eq!(next(&mut event_loop), Some(1));
    let began = Instant::now();
    let event = event_loop.poll(Some(PATIENCE)).unwrap();
    assert!(matches!(event, Some(Event::Closed(..))), "{event:?}");
    assert!(began.elapsed() < PATIENCE, "it waited for its timeout");
}

/// A message that takes many turns to read is returned after few polls, though none of them waits.
#[test]
fn a_poll_does_not_return_while_there_is_something_to_read() {
    const SIZE: usize = 1000;
    let (mut preface, mut message) = (SendQueue::default(), SendQueue::default());
    let mut encoder = Native::new(Layer::Messages, 1024).encoder();
    encoder.begin(&mut preface);
    encoder.encode(b"", vec![1; SIZE].into(), &mut message).unwrap();
    let sent = [preface.to_bytes(), message.to_bytes()].concat();
    let framing = Arc::new(Native::new(Layer::Messages, 1024));
    let acceptor = OneByteClient(Some(sent.into()));
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
fn refused_clients_that_connect_again_and_again_do_not_delay_others() {
    let refused_clients = Rc::new(Cell::new(0));
    let framing = Arc::new(Native::new(Layer::Messages, 1024));
    let acceptor = EndlessRefusals { refused_clients: refused_clients.clone() };
    let options = ServerOptions::new();
    let poller = Poller::new().unwrap();
    let mut server = EventLoop::new(poller, acceptor, framing, &options, "test".into());
    for turn in 1..=3 {
        server.waker().wake();
        let event = server.poll(None).unwrap();
        assert!(matches!(event, Some(Event::Woken)), "{event:?}");
        // Each poll of the system refuses this many, and the next one continues.
        assert_eq!(refused_clients.get(), turn * ACCEPTS_PER_POLL);
    }
    assert!(server.poll(Some(Duration::ZERO)).unwrap().is_none());
}
