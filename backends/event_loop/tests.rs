//! The loop with clients that no system can be made to bring on demand.

use super::*;
use crate::framing::{Layer, Native, SendQueue};
use bytes::BytesMut;
use mio::Registry;
use std::cell::Cell;
use std::rc::Rc;

/// Clients that come faster than they can be turned away: there is always another one.
struct Endless {
    turned_away: Rc<Cell<usize>>,
}

/// A client's stream, of which there is none.
struct Nothing;

impl ServerStream for Nothing {
    fn read(&mut self, _: &mut BytesMut) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn write(&mut self, _: &mut SendQueue) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}

impl Acceptor for Endless {
    type Stream = Nothing;

    fn open(&mut self, _: &Registry, _: &mut Tokens, _: &Arc<Wake>) -> io::Result<()> {
        Ok(())
    }

    fn ready(&mut self, _: Token) -> bool {
        false
    }

    fn accept(&mut self, _: &Registry, _: &mut Tokens, _: usize) -> io::Result<Next<Nothing>> {
        self.turned_away.set(self.turned_away.get() + 1);
        assert!(self.turned_away.get() < 1_000_000, "nobody else is ever served");
        Ok(Next::TurnedAway)
    }

    fn close(self, _: &Registry) {}
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
