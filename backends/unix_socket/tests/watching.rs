//! What the poll reports of clients.

use super::{PATIENCE, Scratch};
use crate::ServerOptions;
use crate::backends::event_loop::{Accepted, Acceptor, Next, Poller};
use crate::backends::unix_socket::interest::SOLE_CLIENT_READS;
use crate::backends::unix_socket::listener::Listener;
use crate::connections::ServerStream;
use crate::endpoint::Endpoint;
use crate::framing::{Carrier, SendQueue};
use bytes::BytesMut;
use mio::{Events, Token};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

fn listener(endpoint: &Endpoint, poller: &mut Poller) -> Listener {
    Listener::bind(endpoint, &ServerOptions::new(), Carrier::Stream, poller).unwrap().0
}

/// The system's epoll table can be full (ENOSPC) after a client was accepted.
#[test]
fn a_client_that_cannot_be_registered_is_accepted_later() {
    let scratch = Scratch::new();
    let path = scratch.path("socket");
    let endpoint = Endpoint::path(&path).unwrap();
    let mut poller = Poller::new().unwrap();
    let mut listener = listener(&endpoint, &mut poller);
    let client = UnixStream::connect(&path).unwrap();
    client.set_nonblocking(true).unwrap();

    // For a while the epoll's descriptor is another file, so that registering fails.
    let number = poller.poll.as_raw_fd();
    // SAFETY: the poll owns the descriptor `number`, and gets its own file back below.
    let epoll = unsafe { OwnedFd::from_raw_fd(libc::dup(number)) };
    let null = std::fs::File::open("/dev/null").unwrap();
    // SAFETY: both are open descriptors of this test.
    assert_eq!(unsafe { libc::dup2(null.as_raw_fd(), number) }, number);
    for _ in 0..2 {
        assert!(listener.accept(&mut poller, 1).is_err());
    }
    // SAFETY: as above.
    assert_eq!(unsafe { libc::dup2(epoll.as_raw_fd(), number) }, number);

    let mut byte = [0];
    let read = io::Read::read(&mut &client, &mut byte);
    assert_eq!(read.unwrap_err().kind(), ErrorKind::WouldBlock, "it was closed");
    let next = listener.accept(&mut poller, 1).unwrap();
    let Next::Client(taken) = next else { panic!("it was lost") };
    assert_eq!(taken.peer.pid, Some(std::process::id()));
    // It is registered.
    io::Write::write_all(&mut &client, b"x").unwrap();
    let mut events = Events::with_capacity(8);
    while !events.iter().any(|event| event.token() == taken.token) {
        poller.poll.poll(&mut events, Some(PATIENCE)).unwrap();
        assert!(!events.is_empty(), "no event came");
    }
    let next = listener.accept(&mut poller, 1).unwrap();
    assert!(matches!(next, Next::NoneWaiting));
}

/// A client of a listener, and what the poll reports of it.
struct Watched {
    poller: Poller,
    listener: Listener,
    token: Token,
    stream: <Listener as Acceptor>::Stream,
    client: UnixStream,
    scratch: Scratch,
}

impl Watched {
    fn new() -> Watched {
        let scratch = Scratch::new();
        let path = scratch.path("socket");
        let endpoint = Endpoint::path(&path).unwrap();
        let mut poller = Poller::new().unwrap();
        let mut listener = listener(&endpoint, &mut poller);
        let client = UnixStream::connect(&path).unwrap();
        let Next::Client(taken) = listener.accept(&mut poller, 1).unwrap() else {
            panic!("no client")
        };
        let Accepted { token, stream, .. } = taken;
        let mut watched = Watched { poller, listener, token, stream, client, scratch };
        watched.events();
        watched
    }

    /// Reads one request.
    fn request(&mut self) {
        request(&mut self.client, &mut self.stream);
    }

    /// Reads a request of another client.
    fn request_of_another(&mut self) {
        let mut client = UnixStream::connect(self.scratch.path("socket")).unwrap();
        let next = self.listener.accept(&mut self.poller, 1).unwrap();
        let Next::Client(mut taken) = next else { panic!("no client") };
        request(&mut client, &mut taken.stream);
    }

    /// The number of the client's events, and how many of them report writability.
    fn events(&mut self) -> (usize, usize) {
        let mut events = Events::with_capacity(8);
        self.poller.poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
        let of_client = || events.iter().filter(|event| event.token() == self.token);
        (of_client().count(), of_client().filter(|event| event.is_writable()).count())
    }

    /// Sends `size` bytes, as far as that goes at once; returns how many that are.
    fn send(&mut self, size: usize) -> usize {
        let mut queue = SendQueue::default();
        queue.put_bytes(vec![7; size]);
        while !queue.is_empty() && self.stream.write(&mut queue).is_ok() {}
        size - queue.len()
    }

    fn receive(&mut self, size: usize) {
        self.client.read_exact(&mut vec![0; size]).unwrap();
    }
}

fn request(client: &mut UnixStream, stream: &mut impl ServerStream) {
    client.write_all(b"request").unwrap();
    assert_eq!(stream.read(&mut BytesMut::with_capacity(100)).unwrap(), 7);
}

/// Each event would wake the server for a reply that its client has read.
#[test]
fn writability_is_reported_only_while_something_waits_to_be_sent() {
    let mut watched = Watched::new();
    for _ in 0..3 {
        assert_eq!(watched.send(100), 100);
        watched.receive(100);
        assert_eq!(watched.events(), (0, 0));
    }
    let sent = watched.send(64 << 20);
    assert!(sent < 64 << 20, "the socket takes anything");
    assert_eq!(watched.events().1, 0);
    watched.receive(sent);
    assert_eq!(watched.events(), (1, 1));
    // All is sent: the interest is removed.
    assert_eq!(watched.send(100), 100);
    watched.receive(100);
    assert_eq!(watched.events(), (0, 0));
}

/// The socket may become writable before the interest is set.
#[test]
fn writability_from_before_the_interest_is_reported() {
    let mut watched = Watched::new();
    let sent = watched.send(64 << 20);
    assert_eq!(watched.events().1, 0);
    watched.receive(sent);
    let sent = watched.send(64 << 20);
    watched.receive(sent);
    assert_eq!(watched.events(), (1, 1));
}

/// While there is one client, the event wakes the server before its next request.
#[test]
fn the_writability_of_a_sole_client_is_reported_until_another_is_read() {
    let mut watched = Watched::new();
    let round = |watched: &mut Watched| {
        watched.request();
        watched.events();
        assert_eq!(watched.send(100), 100);
        watched.receive(100);
        watched.events().1
    };
    for reads in 1..=2 * SOLE_CLIENT_READS {
        assert_eq!(round(&mut watched), usize::from(reads >= SOLE_CLIENT_READS), "read {reads}");
    }
    watched.request_of_another();
    assert_eq!(round(&mut watched), 0, "another client has been read");
}
