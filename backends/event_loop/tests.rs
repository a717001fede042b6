//! The loop with an acceptor that does as it is told.

use super::*;
use crate::framing::{Layer, Native, SendQueue};
use crate::message_server::Peer;
use bytes::BytesMut;
use mio::Registry;
use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;

/// Longer than anything takes that works.
const PATIENCE: Duration = Duration::from_secs(60);

/// A client that says nothing and takes everything.
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

/// What the system says to each attempt to take in a client; at the end nobody waits.
struct Script(VecDeque<io::Result<u32>>);

/// Clients that come faster than they can be turned away: there is always another one.
struct Endless {
    turned_away: Rc<Cell<usize>>,
}

impl Acceptor for Script {
    type Stream = Silent;

    fn open(&mut self, _: &Registry, _: &mut Tokens, _: &Arc<Wake>) -> io::Result<()> {
        Ok(())
    }

    fn ready(&mut self, _token: Token) -> bool {
        false
    }

    fn accept(
        &mut self,
        _registry: &Registry,
        tokens: &mut Tokens,
        room: usize,
    ) -> io::Result<Next<Silent>> {
        assert_ne!(room, 0);
        let Some(next) = self.0.pop_front() else {
            return Ok(Next::Nobody);
        };
        let peer = Peer { pid: Some(next?), ..Peer::default() };
        let token = tokens.next();
        Ok(Next::Client(Accepted { token, stream: Silent, peer, readable: false }))
    }

    fn close(self, _registry: &Registry) {}
}

impl Acceptor for Endless {
    type Stream = Silent;

    fn open(&mut self, _: &Registry, _: &mut Tokens, _: &Arc<Wake>) -> io::Result<()> {
        Ok(())
    }

    fn ready(&mut self, _token: Token) -> bool {
        false
    }

    fn accept(&mut self, _: &Registry, _: &mut Tokens, _: usize) -> io::Result<Next<Silent>> {
        self.turned_away.set(self.turned_away.get() + 1);
        assert!(self.turned_away.get() < 1_000_000, "nobody else is ever served");
        Ok(Next::TurnedAway)
    }

    fn close(self, _registry: &Registry) {}
}

fn event_loop(script: Vec<io::Result<u32>>, options: &ServerOptions) -> EventLoop<Script> {
    let framing = Arc::new(Native::new(Layer::Messages, 1024));
    EventLoop::new(Script(script.into()), framing, options, "a script".into()).unwrap()
}

fn refused() -> io::Result<u32> {
    Err(io::Error::other("no descriptors"))
}

/// Whom the next event tells of: a client's process, or that none could be taken in.
fn next(event_loop: &mut EventLoop<Script>) -> Option<u32> {
    match event_loop.poll(Some(PATIENCE)).unwrap() {
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
    use crate::options::Instances;
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
fn who_may_not_come_in_keeps_nobody_waiting_by_coming_again_and_again() {
    let turned_away = Rc::new(Cell::new(0));
    let framing = Arc::new(Native::new(Layer::Messages, 1024));
    let acceptor = Endless { turned_away: turned_away.clone() };
    let options = ServerOptions::new();
    let mut server = EventLoop::new(acceptor, framing, &options, "test".into()).unwrap();
    for turn in 1..=3 {
        server.waker().wake();
        let event = server.poll(None).unwrap();
        assert!(matches!(event, Some(Event::Woken)), "{event:?}");
        // So many in each look, and it goes on with them in the next.
        assert_eq!(turned_away.get(), turn * ACCEPTS);
    }
    assert!(server.poll(Some(Duration::ZERO)).unwrap().is_none());
}
