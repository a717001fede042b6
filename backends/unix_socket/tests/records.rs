//! Record sockets (`SOCK_SEQPACKET`).

use crate::backends::unix_socket::stream::receive_message;
use crate::client_stream::ReadMessage;
use bytes::BytesMut;
use rustix::net::SendFlags;

#[test]
fn a_record_over_the_limit_is_not_read() {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
    const LIMIT: usize = 100;
    for size in [LIMIT - 1, LIMIT, LIMIT + 1] {
        rustix::net::send(&theirs, &vec![7; size], SendFlags::empty()).unwrap();
        let mut buffer = BytesMut::new();
        let read = receive_message(&ours, &mut buffer, size, LIMIT).unwrap();
        if size <= LIMIT {
            assert_eq!((read, buffer.len()), (ReadMessage::Whole, size));
        } else {
            assert_eq!(read, ReadMessage::TooLarge(size as u64));
            assert_eq!((buffer.len(), buffer.capacity()), (0, 0), "room was made for it");
        }
    }
    // The record has not been taken.
    let mut buffer = BytesMut::new();
    receive_message(&ours, &mut buffer, LIMIT + 1, LIMIT + 1).unwrap();
    assert_eq!(buffer.len(), LIMIT + 1);
}
