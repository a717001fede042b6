//! What a peer may send beside its bytes: descriptors, urgent data.

use super::{PATIENCE, Scratch};
use crate::framing::LengthPrefix;
use crate::{Endpoint, Event, LocalServer, MessageServer, ServerOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

fn frame(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_be_bytes(), body].concat()
}

/// A server that has taken in its only client, and has nothing to do: what comes now, comes as one.
fn quiet_server(scratch: &Scratch) -> (LocalServer, UnixStream) {
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
fn hears(server: &mut LocalServer, words: &[&[u8]]) {
    for word in words {
        match server.poll(Some(PATIENCE)).unwrap() {
            Some(Event::Message(_, message)) => assert_eq!(message, *word),
            event => panic!("{event:?}"),
        }
    }
}

/// Sends `bytes` with a descriptor beside them.
fn send_with(socket: &UnixStream, bytes: &[u8], descriptor: &impl AsRawFd) {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
    // SAFETY: it is open for as long as it is borrowed by the caller.
    let descriptor = [unsafe { std::os::fd::BorrowedFd::borrow_raw(descriptor.as_raw_fd()) }];
    let mut space = [std::mem::MaybeUninit::uninit(); 64];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    assert!(beside.push(SendAncillaryMessage::ScmRights(&descriptor)));
    let bytes = [std::io::IoSlice::new(bytes)];
    let sent = rustix::net::sendmsg(socket, &bytes, &mut beside, SendFlags::empty()).unwrap();
    assert_eq!(sent, bytes[0].len());
}

/// A read ends behind bytes that a descriptor came with, also when more is there.
#[test]
fn what_comes_behind_a_descriptor_is_handed_out() {
    let scratch = Scratch::new();
    let (mut server, mut client) = quiet_server(&scratch);
    let (ours, mut watched) = UnixStream::pair().unwrap();
    send_with(&client, &frame(b"one"), &ours);
    send_with(&client, &frame(b"two"), &ours);
    client.write_all(&frame(b"three")).unwrap();
    hears(&mut server, &[b"one", b"two", b"three"]);
    // And nothing of the descriptors is left: this end sees that the other is closed everywhere.
    drop(ours);
    watched.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(watched.read(&mut [0]).unwrap(), 0, "a descriptor was kept");
    client.write_all(&frame(b"four")).unwrap();
    hears(&mut server, &[b"four"]);
}

#[test]
fn a_descriptor_with_the_last_words_does_not_hide_the_end() {
    let scratch = Scratch::new();
    let (mut server, client) = quiet_server(&scratch);
    let (ours, _watched) = UnixStream::pair().unwrap();
    send_with(&client, &frame(b"last"), &ours);
    drop(client);
    hears(&mut server, &[b"last"]);
    let event = server.poll(Some(PATIENCE)).unwrap();
    assert!(matches!(event, Some(Event::Closed(..))), "{event:?}");
}

/// Linux has it on sockets of this kind since 5.15, if it was built so (`unix(7)`, MSG_OOB). The urgent
/// byte is none of the stream's.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[test]
fn what_comes_behind_urgent_data_is_handed_out() {
    let scratch = Scratch::new();
    let (mut server, mut client) = quiet_server(&scratch);
    client.write_all(&frame(b"one")).unwrap();
    match rustix::net::send(&client, b"!", rustix::net::SendFlags::OOB) {
        Err(rustix::io::Errno::OPNOTSUPP) => println!("this system has no urgent data: left out"),
        sent => assert_eq!(sent.unwrap(), 1),
    }
    client.write_all(&frame(b"two")).unwrap();
    hears(&mut server, &[b"one", b"two"]);
}
