//! The states of a listening socket between two system calls.

use super::{PATIENCE, Scratch, connects, in_child};
use crate::backends::event_loop::Next;
use crate::backends::unix_socket::listener::{Step, accept_error, identified, listen};
use crate::backends::unix_socket::place::{Claim, Served};
use crate::backends::unix_socket::socket::new_socket;
use crate::endpoint::{Endpoint, SocketAddress};
use crate::framing::Carrier;
use crate::{Event, LocalServer, MessageClient, MessageServer};
use rustix::fs::Mode;
use std::io::{self, ErrorKind};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

fn mode_of(path: &Path) -> Mode {
    Mode::from_raw_mode(rustix::fs::lstat(path).unwrap().st_mode)
}

/// With any umask. While nobody can connect, before the file has its mode, the socket is not open.
#[test]
fn a_socket_is_never_open_to_others() {
    let scratch = Scratch::new();
    let own = Mode::RUSR | Mode::WUSR;
    for (mode, name) in [(own, "own"), (Mode::from_raw_mode(0o666), "all")] {
        let path = scratch.path(name);
        let kept = in_child(|| {
            rustix::process::umask(Mode::empty());
            let address = SocketAddress::File { path: path.clone(), private: None };
            let mut seen = Vec::new();
            let look = |step| {
                seen.push((step, mode_of(&path), connects(&path)));
            };
            let socket = listen(&address, mode, Carrier::Stream, look);
            // Only Linux applies the mode of a socket to the file that bind creates.
            let at_first = if cfg!(target_os = "linux") { own } else { seen[0].1 };
            socket.is_ok()
                && seen == [(Step::Bound, at_first, false), (Step::Opened, mode, false)]
                && connects(&path)
        });
        assert_eq!(kept, Ok(true), "{mode:?}");
    }
}

#[test]
fn a_forked_child_leaves_its_parents_server_intact() {
    let scratch = Scratch::new();
    let endpoint = Endpoint::path(scratch.path("socket")).unwrap();
    let abstract_name = format!("msgpipe.unit.forked.{}", std::process::id());
    let mut endpoints = vec![endpoint];
    if cfg!(any(target_os = "linux", target_os = "android")) {
        endpoints.push(Endpoint::abstract_name(&abstract_name).unwrap());
    }
    for endpoint in endpoints {
        let mut server = LocalServer::bind(&endpoint).unwrap();
        // It has polled for clients: from now on only an event reports one.
        assert!(server.poll(Some(Duration::ZERO)).unwrap().is_none());
        let mut copy = Some(&mut server);
        let ended = in_child(|| {
            // The child has a copy, which it drops when it returns.
            let server: *mut LocalServer = copy.take().unwrap();
            // SAFETY: nothing else in the child uses it, and the child's memory ends with the child.
            unsafe { std::ptr::drop_in_place(server) };
            true
        });
        assert_eq!(ended, Ok(true));
        // The parent still has its files, its name, and its registration in the shared epoll.
        let client = MessageClient::connect(&endpoint).unwrap();
        let event = server.poll(Some(PATIENCE)).unwrap();
        let Some(Event::Connected(id)) = event else { panic!("{event:?}") };
        server.send(id, "hello".into()).unwrap();
        assert!(server.poll(Some(Duration::ZERO)).unwrap().is_none());
        assert_eq!(client.receive(Some(PATIENCE)).unwrap(), "hello");
        let second = LocalServer::bind(&endpoint);
        assert!(matches!(second, Err(crate::Error::AlreadyServed { .. })), "{second:?}");
    }
    assert_eq!(std::fs::read_dir(&scratch.0).unwrap().count(), 0, "its own end leaves nothing");
}

/// Otherwise a client would find a file that refuses, and a server a name with the old socket.
#[test]
fn the_file_is_removed_before_the_socket_closes_and_the_lock_is_released_last() {
    struct Socket<'a>(&'a Path, &'a mut Option<(bool, bool)>);
    impl Drop for Socket<'_> {
        fn drop(&mut self) {
            let lock = crate::backends::unix_socket::place::lock_of(self.0).unwrap();
            *self.1 = Some((self.0.exists(), lock.exists()));
        }
    }
    let scratch = Scratch::new();
    let path = scratch.path("socket");
    let claim = Claim::new(&path, &"test".into()).unwrap();
    let address = SocketAddress::File { path: path.clone(), private: None };
    let _socket = listen(&address, Mode::RWXU, Carrier::Stream, |_| {}).unwrap();
    let mut seen = None;
    drop(Served::new(Socket(&path, &mut seen), Some(claim.bound().unwrap())));
    assert_eq!(seen, Some((false, true)), "(there is a file, there is a lock) at the socket's end");
    assert_eq!(std::fs::read_dir(&scratch.0).unwrap().count(), 0);
}

#[test]
fn a_client_that_closed_before_accept_is_not_an_accept_failure() {
    let told = |kind: ErrorKind| accept_error(kind.into());
    assert!(matches!(told(ErrorKind::WouldBlock), Ok(Next::NoneWaiting)));
    for kind in [ErrorKind::ConnectionAborted, ErrorKind::Interrupted] {
        assert!(matches!(told(kind), Ok(Next::Skipped)), "{kind}");
    }
    let none_left = io::Error::from_raw_os_error(libc::EMFILE);
    assert!(accept_error(none_left).is_err());
}

/// With `Access::Everyone`, which admits all others.
#[test]
fn a_client_without_credentials_is_refused() {
    let alone = new_socket(Carrier::Stream).unwrap();
    assert!(identified(alone).is_none());
    let (one, _other) = UnixStream::pair().unwrap();
    assert!(identified(one.into()).is_some());
}
