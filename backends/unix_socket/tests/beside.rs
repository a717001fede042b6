//! Ancillary data of a peer: descriptors and urgent data.

use super::{PATIENCE, Scratch};
use crate::framing::LengthPrefix;
use crate::{Endpoint, Event, LocalServer, MessageServer, ServerOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

fn frame(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_be_bytes(), body].concat()
}

/// A server that has accepted its only client and is idle: bytes that arrive now are read together.
fn idle_server(scratch: &Scratch) -> (LocalServer, UnixStream) {
    let path = scratch.path("socket");
    let options = ServerOptions::new().framing(LengthPrefix::big_endian(1000));
    let mut server = options.bind_messages(Endpoint::path(&path).unwrap()).unwrap();
    let client = UnixStream::connect(&path).unwrap();
    let event = server.poll(Some(PATIENCE)).unwrap();
    assert!(matches!(event, Some(Event::Connected(_))), "{event:?}");
    assert!(server.poll(Some(std::time::Duration::ZERO)).unwrap().is_none());
    (server, client)
}

#[track_caller]
fn receives(server: &mut LocalServer, words: &[&[u8]]) {
    for word in words {
        match server.poll(Some(PATIENCE)).unwrap() {
            Some(Event::Message(_, message)) => assert_eq!(message, *word),
            event => panic!("{event:?}"),
        }
    }
}

/// Sends `bytes` with a descriptor as ancillary data.
fn send_with(socket: &UnixStream, bytes: &[u8], descriptor: &impl AsRawFd) {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
    // SAFETY: the descriptor is open for as long as the caller borrows it.
    let descriptor = [unsafe { std::os::fd::BorrowedFd::borrow_raw(descriptor.as_raw_fd()) }];
    let mut space = [std::mem::MaybeUninit::uninit(); 64];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    assert!(beside.push(SendAncillaryMessage::ScmRights(&descriptor)));
    let bytes = [std::io::IoSlice::new(bytes)];
    let sent = rustix::net::sendmsg(socket, &bytes, &mut beside, SendFlags::empty()).unwrap();
    assert_eq!(sent, bytes[0].len());
}

/// A read ends after bytes with a descriptor, even if more bytes have arrived.
#[test]
fn bytes_after_a_descriptor_are_received() {
    let scratch = Scratch::new();
    let (mut server, mut client) = idle_server(&scratch);
    let (ours, mut watched) = UnixStream::pair().unwrap();
    send_with(&client, &frame(b"one"), &ours);
    send_with(&client, &frame(b"two"), &ours);
    client.write_all(&frame(b"three")).unwrap();
    receives(&mut server, &[b"one", b"two", b"three"]);
    // The descriptors were closed: this end sees that all copies of the other end are closed.
    drop(ours);
    watched.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(watched.read(&mut [0]).unwrap(), 0, "a descriptor was kept");
    client.write_all(&frame(b"four")).unwrap();
    receives(&mut server, &[b"four"]);
}

#[test]
fn a_descriptor_with_the_last_bytes_does_not_hide_the_end() {
    let scratch = Scratch::new();
    let (mut server, client) = idle_server(&scratch);
    let (ours, _watched) = UnixStream::pair().unwrap();
    send_with(&client, &frame(b"last"), &ours);
    drop(client);
    receives(&mut server, &[b"last"]);
    let event = server.poll(Some(PATIENCE)).unwrap();
    assert!(matches!(event, Some(Event::Closed(..))), "{event:?}");
}

/// Linux has urgent data on these sockets since 5.15, if it was built so (`unix(7)`, MSG_OOB). The urgent
/// byte is not part of the stream.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[test]
fn bytes_after_urgent_data_are_received() {
    let scratch = Scratch::new();
    let (mut server, mut client) = idle_server(&scratch);
    client.write_all(&frame(b"one")).unwrap();
    match rustix::net::send(&client, b"!", rustix::net::SendFlags::OOB) {
        Err(rustix::io::Errno::OPNOTSUPP) => println!("this system has no urgent data: left out"),
        sent => assert_eq!(sent.unwrap(), 1),
    }
    client.write_all(&frame(b"two")).unwrap();
    receives(&mut server, &[b"one", b"two"]);
}
