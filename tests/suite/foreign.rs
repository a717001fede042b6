//! Programs that know nothing of this crate, written in C as existing ones are: as clients of a server
//! here, and as a server for clients here. See `tests/foreign/README.md`.

use crate::common::program::Program;
use crate::common::{PATIENCE, next, on_wine, unique_name};
use msgpipe::framing::OsMessage;
use msgpipe::{
    ClientOptions, CloseReason, ConnectionId, Endpoint, Error, Event, Limits, LocalServer,
    MessageClient, MessageServer, Refusal, ServerOptions, Trust,
};
use std::collections::HashMap;
use std::thread::{self, JoinHandle};
use std::time::Duration;

const LIMIT: usize = 1 << 20;

fn unique_pipe() -> String {
    format!(r"\\.\pipe\{}", unique_name())
}

fn listen(pipe: &str) -> LocalServer {
    let endpoint = Endpoint::pipe(pipe).unwrap();
    ServerOptions::new().framing(OsMessage::new(LIMIT)).bind_messages(&endpoint).unwrap()
}

/// The sizes to try: around each power of two and each multiple of what mio reads at once, up to what
/// the pipe holds.
fn sizes() -> Vec<usize> {
    let powers = (0..=16).map(|bit| 1 << bit);
    let multiples = (1..=16).map(|times| times * 4096);
    let around = |size: usize| [size - 1, size, size + 1];
    let mut sizes: Vec<usize> = powers.chain(multiples).flat_map(around).collect();
    sizes.retain(|size| (1..=65_536).contains(size));
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

/// Message `index` of a program's conversation, as its `win.h` fills it.
fn fill(index: usize, size: usize) -> Vec<u8> {
    (0..size).map(|at| (31 * at + 7 * index + size) as u8).collect()
}

/// The messages that a server received from one client.
#[derive(Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Heard {
    messages: usize,
    bytes: usize,
}

/// Echoes until so many clients have left in good order; returns what was heard of each, in the order
/// in which they left. Each message must be what the programs say.
fn echo(pipe: &str, clients: usize) -> JoinHandle<Vec<Heard>> {
    let server = listen(pipe);
    thread::spawn(move || serve(server, clients, true))
}

fn serve(mut server: LocalServer, clients: usize, answers: bool) -> Vec<Heard> {
    let (mut open, mut left, mut came) = (HashMap::<ConnectionId, _>::new(), Vec::new(), 0);
    while left.len() < clients {
        match next(&mut server) {
            Event::Connected(id) => {
                open.insert(id, (came, Heard::default()));
                came += 1;
            }
            Event::Message(id, message) => {
                let (number, heard) = open.get_mut(&id).expect("connected before");
                // One that connects for each message numbers them over all its connections.
                let (size, indices) = (message.len(), [heard.messages, *number]);
                let is_whole = indices.iter().any(|&index| message == fill(index, size));
                assert!(is_whole, "message {indices:?} of {size} bytes is another");
                *heard = Heard { messages: heard.messages + 1, bytes: heard.bytes + size };
                match if answers { server.send(id, message) } else { Ok(()) } {
                    Ok(()) => {}
                    // Who has left is not answered any more.
                    Err(error) => assert_eq!(error.refusal, Refusal::Closed),
                }
            }
            Event::Closed(id, CloseReason::PeerClosed) => left.push(open.remove(&id).unwrap().1),
            event => panic!("{event:?}"),
        }
    }
    assert!(open.is_empty(), "{open:?}");
    left
}

/// Has a program send messages of these sizes and take them back.
#[track_caller]
fn talks(program: &'static str, sizes: &[usize], connections: usize) {
    let pipe = unique_pipe();
    let serving = echo(&pipe, connections);
    let arguments = [pipe].into_iter().chain(sizes.iter().map(ToString::to_string));
    let said = Program::start(program, arguments).end().succeeded();
    assert_eq!(said, sizes.iter().map(|size| format!("ok {size}")).collect::<Vec<_>>());
    let heard = serving.join().unwrap();
    let bytes: usize = heard.iter().map(|heard| heard.bytes).sum();
    assert_eq!((heard.len(), bytes), (connections, sizes.iter().sum()));
}

#[test]
fn a_classic_blocking_client_gets_every_size_back() {
    let mut sizes = sizes();
    // Bytes that exceed the pipe's buffer wait for the reader, on either side.
    sizes.extend([65_537, 100_000, LIMIT - 1, LIMIT]);
    talks("message_client", &sizes, 1);
}

#[test]
fn a_client_that_writes_and_reads_in_one_call_is_answered() {
    talks("transact_client", &sizes(), 1);
}

#[test]
fn a_client_that_connects_for_each_call_is_answered_each_time() {
    let sizes = sizes();
    talks("call_client", &sizes, sizes.len());
}

#[test]
fn a_client_in_byte_mode_gets_every_byte() {
    talks("byte_client", &sizes(), 1);
}

/// Also those of exactly as much as mio reads at once, with others right behind them.
#[test]
fn a_burst_is_neither_split_nor_merged() {
    const ROUNDS: usize = 40;
    const SIZES: [usize; 9] = [4096, 4096, 1, 4096, 8192, 4095, 4097, 65_536, 4096];
    let pipe = unique_pipe();
    let serving = echo(&pipe, 1);
    let arguments = [pipe, ROUNDS.to_string()].into_iter().chain(SIZES.map(|s| s.to_string()));
    let said = Program::start("burst_client", arguments).end().succeeded();
    let (messages, bytes) = (ROUNDS * SIZES.len(), ROUNDS * SIZES.iter().sum::<usize>());
    assert_eq!(said, [format!("ok {messages}")]);
    assert_eq!(serving.join().unwrap(), [Heard { messages, bytes }]);
}

#[test]
fn a_silent_client_does_not_delay_others() {
    for is_killed in [false, true] {
        let pipe = unique_pipe();
        let serving = echo(&pipe, 3);
        let mut silent = Program::start("silent_client", [&pipe]);
        assert_eq!(silent.line(), "open");
        for _ in 0..2 {
            let talker = Program::start("message_client", [pipe.as_str(), "5000"]).end();
            assert_eq!(talker.succeeded(), ["ok 5000"]);
        }
        if is_killed {
            drop(silent);
        } else {
            assert!(silent.end().succeeded().is_empty());
        }
        // It went last, and in good order.
        let talker = || Heard { messages: 1, bytes: 5000 };
        assert_eq!(serving.join().unwrap(), [talker(), talker(), Heard::default()]);
    }
}

#[test]
fn a_client_that_closed_before_accept_is_read_to_the_end() {
    for (size, count) in [(1, 1), (4096, 1), (4096, 15), (10, 1000), (65_536, 1)] {
        let pipe = unique_pipe();
        let server = listen(&pipe);
        let arguments = [pipe, size.to_string(), count.to_string()];
        assert!(Program::start("write_and_close", arguments).end().succeeded().is_empty());
        let heard = serve(server, 1, true);
        assert_eq!(heard, [Heard { messages: count, bytes: size * count }]);
    }
}

/// Many times what the pipe holds: it is written while it is read.
#[test]
fn a_client_that_never_reads_is_read_while_nothing_is_queued_for_it() {
    let pipe = unique_pipe();
    let server = listen(&pipe);
    let running = Program::start("write_and_close", [pipe.as_str(), "10000", "500"]);
    let heard = serve(server, 1, false);
    assert_eq!(heard, [Heard { messages: 500, bytes: 5_000_000 }]);
    running.end().succeeded();
}

/// Replies to a disconnected client are lost; its own messages are not.
#[test]
fn clients_that_close_at_once_affect_no_others() {
    const RUNNERS: usize = 24;
    const TALKERS: usize = 6;
    let pipe = unique_pipe();
    let serving = echo(&pipe, RUNNERS + TALKERS);
    let talkers: Vec<_> = (0..TALKERS)
        .map(|_| Program::start("message_client", [pipe.as_str(), "100", "4096", "50000"]))
        .collect();
    let runners: Vec<_> = (0..RUNNERS)
        .map(|number| {
            let (size, count) = ((1 + number * 1000).to_string(), (1 + number % 9).to_string());
            Program::start("write_and_close", [&pipe, &size, &count])
        })
        .collect();
    for talker in talkers {
        assert_eq!(talker.end().succeeded(), ["ok 100", "ok 4096", "ok 50000"]);
    }
    for runner in runners {
        runner.end().succeeded();
    }
    let mut expected: Vec<Heard> = (0..RUNNERS)
        .map(|number| (1 + number % 9, 1 + number * 1000))
        .map(|(messages, size)| Heard { messages, bytes: messages * size })
        .chain((0..TALKERS).map(|_| Heard { messages: 3, bytes: 54_196 }))
        .collect();
    let mut heard = serving.join().unwrap();
    expected.sort();
    heard.sort();
    assert_eq!(heard, expected);
}

#[test]
fn an_empty_message_is_the_end() {
    let pipe = unique_pipe();
    let serving = echo(&pipe, 1);
    let said = Program::start("empty_client", [&pipe]).end().succeeded();
    assert_eq!(said, ["echo", "wrote-empty", "end"]);
    assert_eq!(serving.join().unwrap(), [Heard { messages: 1, bytes: 5 }]);
}

/// A server with so many instances, which listens.
fn foreign_server(pipe: &str, arguments: &[&str]) -> Program {
    let arguments = [&[pipe], arguments].concat();
    let mut server = Program::start("overlapped_server", arguments);
    assert_eq!(server.line(), "listening");
    server
}

fn connect(pipe: &str, wait: Duration) -> Result<MessageClient, Error> {
    let mut limits = Limits::default();
    limits.connect = wait;
    // The owner of its pipe is the user who runs it, or the Administrators if it is elevated.
    let options = ClientOptions::new().limits(limits).trust(Trust::Anyone);
    options.framing(OsMessage::new(LIMIT)).connect_messages(Endpoint::pipe(pipe).unwrap())
}

#[track_caller]
fn is_echoed(client: &MessageClient, index: usize, size: usize) {
    client.send(fill(index, size)).unwrap();
    let echoed = client.receive(Some(PATIENCE)).unwrap();
    assert!(echoed == fill(index, size), "{size} bytes came back as {}", echoed.len());
}

#[test]
fn our_client_gets_every_size_back_from_a_classic_server() {
    let pipe = unique_pipe();
    let server = foreign_server(&pipe, &["4"]);
    let client = connect(&pipe, PATIENCE).unwrap();
    let mut sizes = sizes();
    sizes.extend([65_537, 100_000, LIMIT - 1, LIMIT]);
    for (index, size) in sizes.into_iter().enumerate() {
        is_echoed(&client, index, size);
    }
    drop(client);
    server.end().succeeded();
}

#[test]
fn our_client_waits_for_an_instance_of_a_classic_server() {
    let pipe = unique_pipe();
    let server = foreign_server(&pipe, &["4"]);
    let mut clients: Vec<_> = (0..4).map(|_| connect(&pipe, PATIENCE).unwrap()).collect();
    for (number, client) in clients.iter().enumerate() {
        is_echoed(client, number, 5000);
    }
    let short = Duration::from_millis(100);
    match connect(&pipe, short).unwrap_err() {
        error @ Error::Busy { .. } => assert!(error.to_string().contains(&format!("{short:?}"))),
        error => panic!("{error}"),
    }
    thread::scope(|scope| {
        let fifth = scope.spawn(|| is_echoed(&connect(&pipe, PATIENCE).unwrap(), 5, 4096));
        for round in 0..10 {
            clients.iter().for_each(|client| is_echoed(client, round, 1000));
        }
        assert!(!fifth.is_finished(), "five clients of four instances");
        drop(clients.pop());
        fifth.join().unwrap();
    });
    clients.iter().for_each(|client| is_echoed(client, 0, 10));
    drop(clients);
    server.end().succeeded();
}

#[test]
fn our_client_reads_the_text_of_a_classic_server() {
    let pipe = unique_pipe();
    let server = foreign_server(&pipe, &["1", "--answer"]);
    // Its one instance serves one client after the other.
    for _ in 0..3 {
        let client = connect(&pipe, PATIENCE).unwrap();
        client.send("who is there?").unwrap();
        let answer = client.receive(Some(PATIENCE)).unwrap();
        let units = "Default answer from server\0".encode_utf16();
        assert_eq!(answer, units.flat_map(u16::to_le_bytes).collect::<Vec<_>>());
    }
    server.end().succeeded();
}

#[test]
fn the_close_of_a_classic_server_is_reported() {
    let pipe = unique_pipe();
    let server = foreign_server(&pipe, &["1"]);
    let client = connect(&pipe, PATIENCE).unwrap();
    is_echoed(&client, 0, 100);
    server.end().succeeded();
    match client.receive(Some(PATIENCE)).unwrap_err() {
        Error::Closed { reason: CloseReason::PeerClosed, .. } => {}
        error => panic!("{error}"),
    }
}

/// A pipe that was made without a word about its owner: on Wine it has none.
#[test]
fn a_classic_server_is_trusted_only_if_it_is_of_this_user() {
    let pipe = unique_pipe();
    let server = foreign_server(&pipe, &["1"]);
    let connected = ClientOptions::new()
        .framing(OsMessage::new(LIMIT))
        .connect_messages(Endpoint::pipe(&pipe).unwrap());
    match connected {
        Ok(client) => assert!(client.server().same_user && !on_wine()),
        Err(error) => assert!(matches!(error, Error::Insecure { .. }), "{error}"),
    }
    let client = connect(&pipe, PATIENCE).unwrap();
    assert!(client.server().pid.is_some());
    is_echoed(&client, 0, 100);
    drop(client);
    server.end().succeeded();
}
