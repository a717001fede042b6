//! Messages without a header: each is one message of the operating system.

use crate::common::{PATIENCE, closed, connected, message, next, pattern, unique_name};
use bytes::Bytes;
use msgpipe::framing::{FramingError, OsMessage};
use msgpipe::{
    ClientOptions, CloseReason, ConnectionId, Error, Event, Goodbye, LocalServer, MessageClient,
    MessageServer, Refusal, ServerOptions,
};
use std::thread::JoinHandle;

const LIMIT: usize = 64 * 1024;

/// Sizes at every edge: mio's buffer, twice it, and the limit.
const SIZES: [usize; 14] =
    [1, 2, 511, 512, 513, 4095, 4096, 4097, 8191, 8192, 8193, 65_534, 65_535, 65_536];

fn listen(name: &str) -> LocalServer {
    ServerOptions::new().framing(OsMessage::new(LIMIT)).bind_messages(name).unwrap()
}

fn connect(name: &str, limit: usize) -> MessageClient {
    ClientOptions::new().framing(OsMessage::new(limit)).connect_messages(name).unwrap()
}

/// Echoes until so many clients have left.
fn echo(name: &str, clients: usize) -> JoinHandle<Vec<CloseReason>> {
    let mut server = listen(name);
    std::thread::spawn(move || {
        let mut reasons = Vec::new();
        while reasons.len() < clients {
            match next(&mut server) {
                Event::Message(from, message) => server.send(from, message).unwrap(),
                Event::Closed(_, reason) => reasons.push(reason),
                _ => {}
            }
        }
        reasons
    })
}

#[test]
fn every_size_arrives_whole_both_ways() {
    let name = unique_name();
    let serving = echo(&name, 1);
    let client = connect(&name, LIMIT);
    for (seed, size) in SIZES.into_iter().enumerate() {
        let sent = pattern(size, seed as u8);
        client.send(sent.clone()).unwrap();
        assert!(client.receive(Some(PATIENCE)).unwrap() == sent, "{size} bytes came back changed");
    }
    drop(client);
    assert!(matches!(serving.join().unwrap()[..], [CloseReason::PeerClosed]));
}

/// Also one of exactly as much as mio reads at once, with another right behind it.
#[test]
fn messages_sent_back_to_back_are_neither_split_nor_merged() {
    let name = unique_name();
    let mut server = listen(&name);
    let client = connect(&name, LIMIT);
    let sending = std::thread::spawn(move || {
        for round in 0..20u8 {
            for size in SIZES {
                client.send(pattern(size, round)).unwrap();
            }
        }
        client
    });
    connected(&mut server);
    for round in 0..20u8 {
        for size in SIZES {
            let (_, arrived) = message(&mut server);
            assert!(arrived == pattern(size, round), "{size} bytes as {}", arrived.len());
        }
    }
    drop(sending.join().unwrap());
}

#[test]
fn answers_sent_back_to_back_are_neither_split_nor_merged() {
    let name = unique_name();
    let mut server = listen(&name);
    let client = connect(&name, LIMIT);
    let receiving = std::thread::spawn(move || {
        for size in SIZES {
            let arrived = client.receive(Some(PATIENCE)).unwrap();
            assert!(arrived == pattern(size, 7), "{size} bytes as {}", arrived.len());
        }
    });
    let id = connected(&mut server);
    for size in SIZES {
        server.send(id, pattern(size, 7).into()).unwrap();
    }
    let (_, reason) = closed(&mut server);
    assert!(matches!(reason, CloseReason::PeerClosed), "{reason}");
    receiving.join().unwrap();
}

#[test]
fn the_limit_is_exact_and_one_byte_more_is_not_read() {
    let name = unique_name();
    let mut server = listen(&name);
    // A client that allows itself more than the server takes.
    let client = connect(&name, LIMIT + 1);
    connected(&mut server);
    // Beside the server: a pipe takes no more than it holds until it is read.
    let sending = std::thread::spawn(move || {
        let sent = [LIMIT - 1, LIMIT, LIMIT + 1].map(|size| client.send(pattern(size, 1)));
        (client, sent)
    });
    for size in [LIMIT - 1, LIMIT] {
        assert_eq!(message(&mut server).1.len(), size);
    }
    let (_, reason) = closed(&mut server);
    let (_, sent) = sending.join().unwrap();
    assert!(sent[0].is_ok() && sent[1].is_ok(), "{sent:?}");
    let too_large = FramingError::TooLarge { size: LIMIT as u64 + 1, limit: LIMIT };
    assert!(matches!(&reason, CloseReason::Peer(error) if *error == too_large), "{reason}");
}

#[test]
fn an_unsendable_message_is_returned_and_the_connection_goes_on() {
    let name = unique_name();
    let mut server = listen(&name);
    let client = connect(&name, LIMIT);
    let id = connected(&mut server);

    let refused = server.send(id, Bytes::new()).unwrap_err();
    assert!(matches!(refused.refusal, Refusal::Framing(FramingError::Other(_))), "{refused}");
    let refused = server.send(id, pattern(LIMIT + 1, 1).into()).unwrap_err();
    assert_eq!(refused.body.len(), LIMIT + 1);
    assert!(matches!(refused.refusal, Refusal::Framing(FramingError::TooLarge { .. })));

    match client.send(Bytes::new()).unwrap_err() {
        Error::Unsendable { message, .. } => assert!(message.is_empty()),
        error => panic!("{error}"),
    }
    match client.send(pattern(LIMIT + 1, 2)).unwrap_err() {
        Error::TooLarge { message, limit: LIMIT, .. } => assert_eq!(message.len(), LIMIT + 1),
        error => panic!("{error}"),
    }
    client.send("hello").unwrap();
    let (_, hello) = message(&mut server);
    server.send(id, hello).unwrap();
    let done = std::thread::spawn(move || client.receive(Some(PATIENCE)).unwrap());
    closed(&mut server);
    assert_eq!(done.join().unwrap(), "hello");
}

#[test]
fn messages_sent_before_a_close_are_not_lost() {
    let name = unique_name();
    let mut server = listen(&name);
    let client = connect(&name, LIMIT);
    for size in [4096, 4096, 8192, 1] {
        client.send(pattern(size, 3)).unwrap();
    }
    drop(client);
    connected(&mut server);
    for size in [4096, 4096, 8192, 1] {
        assert!(message(&mut server).1 == pattern(size, 3));
    }
    let (_, reason) = closed(&mut server);
    assert!(matches!(reason, CloseReason::PeerClosed), "{reason}");
}

#[test]
fn the_messages_of_many_clients_are_not_mixed() {
    let name = unique_name();
    let serving = echo(&name, 70);
    let clients: Vec<_> = (0..70u8).map(|_| connect(&name, LIMIT)).collect();
    for size in [10, 4096, 5000] {
        for (seed, client) in clients.iter().enumerate() {
            client.send(pattern(size, seed as u8)).unwrap();
        }
        for (seed, client) in clients.iter().enumerate() {
            assert!(client.receive(Some(PATIENCE)).unwrap() == pattern(size, seed as u8));
        }
    }
    drop(clients);
    assert_eq!(serving.join().unwrap().len(), 70);
}

/// A server and a client that has sent it a message.
fn acquainted() -> (LocalServer, MessageClient, ConnectionId) {
    let name = unique_name();
    let mut server = listen(&name);
    let client = connect(&name, LIMIT);
    let id = connected(&mut server);
    client.send("first").unwrap();
    assert_eq!(message(&mut server).1, "first");
    (server, client, id)
}

/// Linux reports such a close by an error, before the client's own messages have been read.
#[test]
fn a_client_that_closes_with_an_unread_reply_is_still_read() {
    let (mut server, client, id) = acquainted();
    server.send(id, "never read".into()).unwrap();
    while server.poll(Some(std::time::Duration::ZERO)).unwrap().is_some() {}
    for size in [1, 4096, 5000] {
        client.send(pattern(size, 5)).unwrap();
    }
    drop(client);
    for size in [1, 4096, 5000] {
        assert!(message(&mut server).1 == pattern(size, 5), "{size} bytes");
    }
    let (_, reason) = closed(&mut server);
    assert!(matches!(reason, CloseReason::PeerClosed), "{reason}");
}

#[test]
fn a_reply_is_not_lost_if_the_server_closes_with_an_unread_request() {
    let (mut server, client, id) = acquainted();
    client.send("never read").unwrap();
    server.send(id, "answer".into()).unwrap();
    server.close(id, Goodbye::new(100, "enough"));
    let receiving = std::thread::spawn(move || {
        let answer = client.receive(Some(PATIENCE)).unwrap();
        (answer, client.receive(Some(PATIENCE)).unwrap_err())
    });
    closed(&mut server);
    let (answer, end) = receiving.join().unwrap();
    assert_eq!(answer, "answer");
    assert!(matches!(end, Error::Closed { .. }), "{end}");
}

/// The largest message that goes through, and one byte more: on Linux what the system takes may be less
/// than the limit.
#[test]
fn a_message_over_the_systems_limit_is_returned_on_both_sides() {
    const HUGE: usize = 1 << 22;
    let name = unique_name();
    let mut server =
        ServerOptions::new().framing(OsMessage::new(HUGE)).bind_messages(name.as_str()).unwrap();
    let client = connect(&name, HUGE);
    let id = connected(&mut server);
    let (refused, limit) = match client.send(vec![1; HUGE + 1]).unwrap_err() {
        Error::TooLarge { message, limit, .. } => (message.len(), limit),
        error => panic!("{error}"),
    };
    assert_eq!(refused, HUGE + 1);
    let refused = server.send(id, vec![2; limit + 1].into()).unwrap_err();
    assert_eq!(refused.body.len(), limit + 1);
    assert!(
        matches!(refused.refusal, Refusal::Framing(FramingError::TooLarge { .. })),
        "{refused}"
    );
    // Both go on, with as much as there may be.
    let talking = std::thread::spawn(move || {
        client.send(vec![3; limit]).unwrap();
        client.receive(Some(PATIENCE)).unwrap()
    });
    let (_, largest) = message(&mut server);
    assert!(largest.len() == limit && largest.iter().all(|&byte| byte == 3));
    server.send(id, largest).unwrap();
    let (_, reason) = closed(&mut server);
    assert!(matches!(reason, CloseReason::PeerClosed), "{reason}");
    assert_eq!(talking.join().unwrap().len(), limit);
}
