//! A scene: connections with scripted peers and a scripted clock.

use crate::connections::{Connections, ServerStream};
use crate::framing::{Framing, FramingError, Layer, Native, SendQueue};
use crate::limits::Limits;
use crate::message_server::{ConnectionId, Event};
use bytes::{Bytes, BytesMut};
use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

pub const ID: ConnectionId = ConnectionId::from_number(1);

/// A scripted peer.
#[derive(Clone, Default)]
pub struct Peer(Rc<RefCell<State>>);

#[derive(Default)]
struct State {
    /// The bytes that it has sent and that have not been read.
    said: BytesMut,
    /// The bytes that it has received.
    heard: BytesMut,
    takes_nothing: bool,
    /// The number of bytes that it reads before it stops.
    takes_bytes: usize,
    aborted: bool,
    /// It has closed both directions, and nothing reports it.
    has_gone: bool,
    /// The outcomes of its next read and its next write.
    read_fails: Option<ErrorKind>,
    write_fails: Option<ErrorKind>,
    /// The last written bytes have not been sent yet.
    holds_last_bytes: bool,
    /// The number of writes.
    writes: u64,
}

impl Peer {
    pub fn says(&self, bytes: &[u8]) {
        self.0.borrow_mut().said.extend_from_slice(bytes);
    }

    pub fn takes(&self, something: bool) {
        self.0.borrow_mut().takes_nothing = !something;
    }

    /// Lets it read that many more bytes.
    pub fn takes_bytes(&self, bytes: usize) {
        self.0.borrow_mut().takes_bytes += bytes;
    }

    pub fn fails_to_be_read(&self, once: ErrorKind) {
        self.0.borrow_mut().read_fails = Some(once);
    }

    pub fn fails_to_be_written_to(&self, once: ErrorKind) {
        self.0.borrow_mut().write_fails = Some(once);
    }

    /// Written bytes are taken from the queue, and not sent yet.
    pub fn holds_last_bytes(&self, yes: bool) {
        self.0.borrow_mut().holds_last_bytes = yes;
    }

    pub fn goes_silently(&self) {
        self.0.borrow_mut().has_gone = true;
    }

    pub fn is_aborted(&self) -> bool {
        self.0.borrow().aborted
    }

    pub fn writes(&self) -> u64 {
        self.0.borrow().writes
    }

    /// The number of bytes that it has received.
    pub fn heard(&self) -> usize {
        self.0.borrow().heard.len()
    }

    /// Whether it has sent bytes that were not read.
    pub fn has_unread_bytes(&self) -> bool {
        !self.0.borrow().said.is_empty()
    }

    /// The code of the goodbye that it has received.
    pub fn goodbye(&self) -> Option<u16> {
        let mut heard = self.0.borrow().heard.clone();
        let mut decoder = framing().decoder();
        loop {
            match decoder.decode(&mut heard) {
                Ok(Some(_)) => {}
                Err(FramingError::Goodbye { code, .. }) => return Some(code),
                _ => return None,
            }
        }
    }
}

impl ServerStream for Peer {
    fn read(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        let mut state = self.0.borrow_mut();
        if let Some(error) = state.read_fails.take() {
            return Err(error.into());
        }
        let read = state.said.len().min(buffer.capacity() - buffer.len());
        if read == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        buffer.extend_from_slice(&state.said.split_to(read));
        Ok(read)
    }

    fn write(&mut self, queue: &mut SendQueue) -> io::Result<usize> {
        let mut state = self.0.borrow_mut();
        state.writes += 1;
        if let Some(error) = state.write_fails.take() {
            return Err(error.into());
        }
        let len = match state.takes_nothing {
            true => std::mem::take(&mut state.takes_bytes).min(queue.len()),
            false => queue.len(),
        };
        if len == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        state.heard.extend_from_slice(&queue.to_bytes()[..len]);
        queue.advance(len);
        Ok(len)
    }

    fn is_sent(&mut self) -> bool {
        !self.0.borrow().holds_last_bytes
    }

    fn has_gone(&mut self) -> bool {
        self.0.borrow().has_gone
    }

    fn abort(&mut self) {
        self.0.borrow_mut().aborted = true;
    }
}

pub fn framing() -> Native {
    Native::new(Layer::Messages, 1 << 24)
}

pub fn preface() -> Bytes {
    let mut queue = SendQueue::default();
    framing().encoder().begin(&mut queue);
    queue.to_bytes()
}

pub fn frame(size: usize) -> Bytes {
    let mut queue = SendQueue::default();
    framing().encoder().encode(&[], vec![1; size].into(), &mut queue).unwrap();
    queue.to_bytes()
}

/// A scene with one peer that has connected at `start`.
pub struct Scene {
    pub connections: Connections<Peer>,
    pub peer: Peer,
    pub start: Instant,
}

impl Scene {
    pub fn new(limits: &Limits) -> Scene {
        let (peer, start) = (Peer::default(), Instant::now());
        let mut connections = Connections::new(Arc::new(framing()), limits);
        connections.add(ID, peer.clone(), Default::default(), false, start);
        let mut scene = Scene { connections, peer, start };
        assert!(matches!(scene.at(start)[..], [Event::Connected(_)]));
        scene
    }

    /// As [`new`](Scene::new), with a peer that has sent its preface.
    pub fn begun(limits: &Limits) -> Scene {
        let mut scene = Scene::new(limits);
        assert!(scene.says(&preface(), scene.start).is_empty());
        scene
    }

    /// The backend polls at this time. Returns the events.
    pub fn at(&mut self, now: Instant) -> Vec<Event> {
        self.connections.begin_turn(now);
        self.without_poll(now)
    }

    /// The application asks for the next event, before the backend polls.
    pub fn without_poll(&mut self, now: Instant) -> Vec<Event> {
        std::iter::from_fn(|| self.connections.next(now)).collect()
    }

    /// The peer sends bytes, and the backend reports them.
    pub fn says(&mut self, bytes: &[u8], now: Instant) -> Vec<Event> {
        self.peer.says(bytes);
        self.connections.readable(ID, false);
        self.at(now)
    }

    pub fn sends(&mut self, size: usize, now: Instant) {
        self.connections.send(ID, &[], vec![2; size].into()).unwrap();
        assert!(self.at(now).is_empty());
    }
}
