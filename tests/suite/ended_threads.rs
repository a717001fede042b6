//! The pending I/O of a thread on a pipe when the thread ends: the system cancels some of it (see
//! `backends/named_pipe/writer.rs`), and neither side may lose data by that.

use crate::common::{PATIENCE, connected, message, next, pattern, unique_name};
use msgpipe::framing::{Framing, LengthPrefix, OsMessage};
use msgpipe::{
    ClientOptions, CloseReason, Endpoint, Error, Event, Limits, LocalServer, MessageClient,
    MessageServer, ServerOptions,
};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// More than a pipe holds, with the one before it.
const SIZE: usize = 60_000;

const LIMIT: usize = 1 << 20;

/// With a stream of bytes, and with whole messages.
fn framings() -> [Arc<dyn Framing>; 2] {
    [Arc::new(LengthPrefix::big_endian(LIMIT)), Arc::new(OsMessage::new(LIMIT))]
}

fn pair(framing: &Arc<dyn Framing>, limits: &Limits) -> (LocalServer, MessageClient) {
    let endpoint = Endpoint::pipe(&format!(r"\\.\pipe\{}", unique_name())).unwrap();
    let server = ServerOptions::new().framing(framing.clone()).bind_messages(&endpoint).unwrap();
    let options = ClientOptions::new().framing(framing.clone()).limits(limits.clone());
    (server, options.connect_messages(&endpoint).unwrap())
}

/// Has a short deadline for a peer that does not read.
fn hasty() -> Limits {
    let mut limits = Limits::default();
    limits.call = Duration::from_millis(50);
    limits
}

/// Polls until the other thread is done.
fn serve_until_done<T>(server: &mut LocalServer, other: thread::JoinHandle<T>) -> T {
    while !other.is_finished() {
        let event = server.poll(Some(Duration::from_millis(10))).unwrap();
        assert!(!matches!(event, Some(Event::Closed(..))), "{event:?}");
    }
    other.join().unwrap()
}

#[test]
fn a_servers_message_outlives_the_thread_that_sent_it() {
    for framing in framings() {
        let (mut server, client) = pair(&framing, &Limits::default());
        let id = connected(&mut server);
        let sending = thread::spawn(move || {
            for seed in 0..5 {
                server.send(id, pattern(SIZE, seed).into()).unwrap();
            }
            // Everything that can be sent without a read of the client is sent now.
            while server.poll(Some(Duration::ZERO)).unwrap().is_some() {}
            server
        });
        let mut server = sending.join().unwrap();
        let receiving = thread::spawn(move || {
            for seed in 0..5 {
                let arrived = client.receive(Some(PATIENCE)).unwrap();
                assert!(arrived == pattern(SIZE, seed), "message {seed}: {} bytes", arrived.len());
            }
            client
        });
        serve_until_done(&mut server, receiving);
    }
}

/// The deadline of a send strikes when a part of it is on its way: the rest goes first the next time,
/// whoever sends then.
#[test]
fn a_clients_message_outlives_the_thread_that_sent_it() {
    for framing in framings() {
        let (mut server, client) = pair(&framing, &hasty());
        let client = Arc::new(client);
        let id = connected(&mut server);
        let mut sent = 0;
        loop {
            let sending = {
                let (client, bytes) = (client.clone(), pattern(SIZE, sent));
                thread::spawn(move || client.send(bytes))
            };
            sent += 1;
            match sending.join().unwrap() {
                Ok(()) => assert!(sent < 100, "a pipe without a bound"),
                Err(Error::Deadline { .. }) => break,
                Err(error) => panic!("{error}"),
            }
        }
        let last = thread::spawn(move || {
            while let Err(error) = client.send("the last one") {
                assert!(matches!(error, Error::Deadline { .. }), "{error}");
            }
            client
        });
        for seed in 0..sent {
            let (from, arrived) = message(&mut server);
            assert_eq!(from, id);
            assert!(arrived == pattern(SIZE, seed), "message {seed}: {} bytes", arrived.len());
        }
        assert_eq!(message(&mut server).1, "the last one");
        drop(last.join().unwrap());
        let Event::Closed(_, CloseReason::PeerClosed) = next(&mut server) else { panic!("open") };
    }
}

/// A message of more than a pipe holds is taken in parts by who reads in small ones, and is not whole
/// anywhere while it is. Here the one at the other end has taken some when the thread ends.
#[test]
fn a_partly_written_message_arrives_once_and_whole() {
    use std::io::Read;
    let pipe = format!(r"\\.\pipe\{}", unique_name());
    let endpoint = Endpoint::pipe(&pipe).unwrap();
    for framing in framings() {
        let mut server =
            ServerOptions::new().framing(framing.clone()).bind_messages(&endpoint).unwrap();
        let mut client = std::fs::OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
        let id = connected(&mut server);
        let mut all = Vec::new();
        let sending = thread::spawn(move || {
            server.send(id, pattern(5 * SIZE, 1).into()).unwrap();
            while server.poll(Some(Duration::ZERO)).unwrap().is_some() {}
            let mut part = vec![0; 1000];
            client.read_exact(&mut part).unwrap();
            (server, client, part)
        });
        let (mut server, mut client, part) = sending.join().unwrap();
        all.extend_from_slice(&part);
        let head = if framing.carrier() == msgpipe::framing::Carrier::Stream { 4 } else { 0 };
        let reading = thread::spawn(move || {
            let mut rest = vec![0; head + 5 * SIZE - all.len()];
            client.read_exact(&mut rest).unwrap();
            all.extend_from_slice(&rest);
            (client, all)
        });
        let (client, all) = serve_until_done(&mut server, reading);
        assert!(all[head..] == pattern(5 * SIZE, 1), "damaged");
        // Nothing arrives twice: the next read is the end.
        drop(server);
        let mut more = Vec::new();
        let _ = (&client).read_to_end(&mut more);
        assert!(more.is_empty(), "{} bytes more", more.len());
    }
}

/// A pending read is cancelled with its thread, and has taken nothing.
#[test]
fn a_message_that_outlives_its_reading_thread_is_received_by_the_next() {
    for framing in framings() {
        let (mut server, client) = pair(&framing, &Limits::default());
        let id = connected(&mut server);
        let client = Arc::new(client);
        for round in 0..3 {
            let waiting = client.clone();
            let waited = thread::spawn(move || waiting.receive(Some(Duration::from_millis(20))));
            let nothing = waited.join().unwrap();
            assert!(matches!(nothing, Err(Error::Deadline { .. })), "{nothing:?}");
            server.send(id, pattern(SIZE, round).into()).unwrap();
            let receiving = client.clone();
            let receiving = thread::spawn(move || receiving.receive(Some(PATIENCE)).unwrap());
            let arrived = serve_until_done(&mut server, receiving);
            assert!(arrived == pattern(SIZE, round), "{} bytes", arrived.len());

            // The same for the server: its thread waits and ends, and another one goes on.
            let waiting = thread::spawn(move || {
                assert!(server.poll(Some(Duration::from_millis(20))).unwrap().is_none());
                server
            });
            server = waiting.join().unwrap();
            client.send(pattern(1000, round)).unwrap();
            assert!(message(&mut server).1 == pattern(1000, round));
        }
    }
}

/// A write that fails closes the client with the reason.
#[test]
fn a_write_that_fails_after_its_thread_has_ended_is_reported() {
    for framing in framings() {
        let (mut server, client) = pair(&framing, &hasty());
        let client = Arc::new(client);
        connected(&mut server);
        let sending = client.clone();
        let sent = thread::spawn(move || sending.send(pattern(5 * SIZE, 1))).join().unwrap();
        assert!(matches!(sent, Err(Error::Deadline { .. })), "{sent:?}");
        drop(server);
        match client.send("more").unwrap_err() {
            Error::Closed { .. } => {}
            error => panic!("{error}"),
        }
    }
}
