//! A client that cannot be registered yet.

use super::{PATIENCE, Scratch};
use crate::ServerOptions;
use crate::backends::event_loop::{Acceptor, Next, Tokens, Wake};
use crate::backends::unix_socket::listener::Listener;
use crate::endpoint::Endpoint;
use crate::framing::Carrier;
use mio::{Events, Poll};
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// The system's epoll table can be full (ENOSPC) after a client was accepted.
#[test]
fn a_client_that_cannot_be_registered_is_accepted_later() {
    let scratch = Scratch::new();
    let path = scratch.path("socket");
    let endpoint = Endpoint::path(&path).unwrap();
    let (mut listener, _) =
        Listener::bind(&endpoint, &ServerOptions::new(), Carrier::Stream).unwrap();
    let mut poll = Poll::new().unwrap();
    let mut tokens = Tokens::starting_at(mio::Token(1));
    let wake = Arc::new(Wake::new(poll.registry()).unwrap());
    listener.open(poll.registry(), &mut tokens, &wake).unwrap();
    let client = UnixStream::connect(&path).unwrap();
    client.set_nonblocking(true).unwrap();

    // For a while the epoll's descriptor is another file, so that registering fails.
    let number = poll.as_raw_fd();
    // SAFETY: the poll owns the descriptor `number`, and gets its own file back below.
    let epoll = unsafe { OwnedFd::from_raw_fd(libc::dup(number)) };
    let null = std::fs::File::open("/dev/null").unwrap();
    // SAFETY: both are open descriptors of this test.
    assert_eq!(unsafe { libc::dup2(null.as_raw_fd(), number) }, number);
    for _ in 0..2 {
        assert!(listener.accept(poll.registry(), &mut tokens, 1).is_err());
    }
    // SAFETY: as above.
    assert_eq!(unsafe { libc::dup2(epoll.as_raw_fd(), number) }, number);

    let mut byte = [0];
    let read = io::Read::read(&mut &client, &mut byte);
    assert_eq!(read.unwrap_err().kind(), ErrorKind::WouldBlock, "it was closed");
    let next = listener.accept(poll.registry(), &mut tokens, 1).unwrap();
    let Next::Client(taken) = next else { panic!("it was lost") };
    assert_eq!(taken.peer.pid, Some(std::process::id()));
    // It is registered.
    io::Write::write_all(&mut &client, b"x").unwrap();
    let mut events = Events::with_capacity(8);
    while !events.iter().any(|event| event.token() == taken.token) {
        poll.poll(&mut events, Some(PATIENCE)).unwrap();
        assert!(!events.is_empty(), "nothing was told");
    }
    let next = listener.accept(poll.registry(), &mut tokens, 1).unwrap();
    assert!(matches!(next, Next::Nobody));
}
