//! Calls: a real server must send the server's bytes of each vector, a real client the client's.

use super::file::{Vector, code_and_text, root, said, vectors};
use bytes::{BufMut, Bytes, BytesMut};
use msgpipe::exchange::{ERROR_MAX, HEAD_MAX};
use msgpipe::framing::{Framing, FramingError, Layer, Native, SendQueue};
use msgpipe::{
    Client, ClientStream, CloseReason, Error, ErrorReply, Limits, Peer, Server, Stopper, memory,
};
use std::fs;
use std::io::{self, IoSlice};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How many vectors there were when this was written: with fewer, some are not seen.
const LEAST: usize = 60;

/// A deadline that only a failing test reaches.
const PATIENCE: Duration = Duration::from_secs(60);

const OF_CALLS: [&str; 10] = [
    "limit",
    "client",
    "server",
    "request",
    "reply",
    "error reply",
    "client only",
    "server only",
    "client goodbye",
    "server goodbye",
];

type Answer = Result<Vec<u8>, ErrorReply>;

/// The requests of a vector, each with the answer that follows it, if one does.
fn exchanges(vector: &Vector) -> Vec<(Vec<u8>, Option<Answer>)> {
    let mut exchanges: Vec<(Vec<u8>, Option<Answer>)> = Vec::new();
    for part in &vector.parts {
        let answer = match &*part.name {
            "request" => {
                exchanges.push((part.bytes.clone(), None));
                continue;
            }
            "reply" => Ok(part.bytes.clone()),
            "error reply" => {
                let (code, text) = code_and_text(&part.argument);
                Err(ErrorReply::new(code, text).with_details(part.bytes.clone()))
            }
            _ => continue,
        };
        exchanges.last_mut().expect("an answer follows a request").1 = Some(answer);
    }
    exchanges
}

fn limits(vector: &Vector) -> Limits {
    let mut limits = Limits::default();
    limits.message = vector.limit();
    limits
}

/// An in-memory server with scripted replies, and a client's stream to it.
fn start_server(
    limits: &Limits,
    exchanges: Vec<(Vec<u8>, Option<Answer>)>,
) -> (memory::MemoryStream, Stopper, JoinHandle<()>) {
    let hub = memory::Hub::new();
    let messages = hub.listen_for_calls("vectors", limits.clone()).unwrap();
    let server = Server::over(messages, limits.clone());
    let stopper = server.stopper();
    let serving = thread::spawn(move || {
        let handler = |request: msgpipe::Request| -> Answer {
            let known = exchanges.iter().find(|(asked, _)| *asked == request.body());
            let (_, answer) = known.ok_or("an unknown request")?;
            answer.clone().ok_or("a request without an answer")?
        };
        server.serve(handler).unwrap();
    });
    (hub.connect("vectors").unwrap(), stopper, serving)
}

/// Reads until `heard` has that many bytes, or to the end of the stream.
fn read(stream: &memory::MemoryStream, heard: &mut Vec<u8>, until: usize) {
    let deadline = Instant::now() + PATIENCE;
    while heard.len() < until {
        let mut buffer = BytesMut::with_capacity(64 * 1024);
        match stream.read(&mut buffer, Some(deadline)).expect("the server sends or closes") {
            0 => return,
            _ => heard.extend(buffer),
        }
    }
}

fn write(stream: &memory::MemoryStream, bytes: &[u8]) {
    assert_eq!(stream.write(&[IoSlice::new(bytes)]).unwrap(), bytes.len());
}

/// The code of the goodbye in `bytes`. Before one with code 0 there is a drain, and nothing else.
#[track_caller]
fn goodbye_code(bytes: &[u8]) -> u16 {
    let mut queue = SendQueue::default();
    let native = Native::new(Layer::Calls, 1 << 20);
    native.encoder().begin(&mut queue);
    let mut input = BytesMut::from(&[&queue.to_bytes(), bytes].concat()[..]);
    let (mut decoder, mut drains) = (native.decoder(), 0);
    loop {
        match decoder.decode(&mut input) {
            Ok(Some(frame)) if frame[..] == [&[10][..], &[0; 15]].concat() => drains += 1,
            Err(FramingError::Goodbye { code, .. }) if input.is_empty() => {
                assert_eq!(drains, u32::from(code == 0), "drains before goodbye {code}");
                return code;
            }
            other => panic!("no goodbye: {other:?}"),
        }
    }
}

#[test]
fn a_server_answers_as_the_vectors_say() {
    let vectors = vectors("calls-", &OF_CALLS);
    assert!(vectors.len() >= LEAST, "only {} vectors", vectors.len());
    let is_for_servers =
        |v: &&Vector| v.find("client only").is_none() && v.find("client goodbye").is_none();
    for vector in vectors.iter().filter(is_for_servers) {
        let (stream, stopper, serving) = start_server(&limits(vector), exchanges(vector));
        write(&stream, &vector.get("client").bytes);
        let (expected, mut heard) = (&vector.get("server").bytes, Vec::new());
        let code = match vector.find("server goodbye") {
            Some(goodbye) => goodbye.argument.parse().unwrap(),
            None => {
                read(&stream, &mut heard, expected.len());
                stopper.stop();
                0
            }
        };
        read(&stream, &mut heard, usize::MAX);
        let (answers, goodbye) = heard.split_at(expected.len().min(heard.len()));
        assert_eq!(answers, expected, "{}", vector.file);
        assert_eq!(goodbye_code(goodbye), code, "{}", vector.file);
        stopper.stop();
        serving.join().unwrap();
    }
}

/// A stream on which everything that a server will ever send has arrived already. The first read returns its
/// preface and its first frame: a client reads them before it sends a large request.
struct Script {
    server: Mutex<(Bytes, Bytes)>,
    client: Arc<Mutex<Vec<u8>>>,
    peer: Peer,
}

impl ClientStream for Script {
    fn read(&self, buffer: &mut BytesMut, _: Option<Instant>) -> io::Result<usize> {
        let mut server = self.server.lock().unwrap();
        let (first, rest) = &mut *server;
        let server = if first.is_empty() { rest } else { first };
        let len = server.len().min(buffer.capacity() - buffer.len());
        buffer.put(server.split_to(len));
        Ok(len)
    }

    fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut client = self.client.lock().unwrap();
        let before = client.len();
        slices.iter().for_each(|slice| client.extend_from_slice(slice));
        Ok(client.len() - before)
    }

    fn is_sent(&self) -> bool {
        true
    }

    fn wait_writable(&self, _: bool, _: Option<Instant>) -> io::Result<()> {
        Ok(())
    }

    fn wake(&self) {}

    fn shutdown(&self) {
        *self.server.lock().unwrap() = Default::default();
    }

    fn peer(&self) -> &Peer {
        &self.peer
    }
}

/// A client makes the calls of this vector.
fn client_calls(vector: &Vector) {
    let file = &vector.file;
    let sent = Arc::new(Mutex::new(Vec::new()));
    let mut rest = Bytes::copy_from_slice(&vector.get("server").bytes);
    let payload = u32::from_le_bytes(rest[16..20].try_into().unwrap());
    let first = rest.split_to(16 + 8 + payload as usize);
    let server = Mutex::new((first, rest));
    let stream = Script { server, client: sent.clone(), peer: Peer::default() };
    let client = Client::over(Box::new(stream), file, limits(vector));

    let mut batch = client.batch();
    let (requests, answers): (Vec<_>, Vec<_>) = exchanges(vector).into_iter().unzip();
    requests.into_iter().for_each(|request| {
        batch.add(request);
    });
    for (call, answer) in batch.send().unwrap().into_iter().zip(answers) {
        match (call.wait(), answer) {
            (Ok(reply), Some(Ok(expected))) => assert_eq!(reply, expected, "{file}"),
            (Err(Error::Answered { reply, .. }), Some(Err(expected))) => {
                assert_eq!(reply, expected, "{file}");
            }
            (Err(Error::Closed { reason: CloseReason::Protocol(_), .. }), None) => {}
            (ended, _) => panic!("{file}: {ended:?}"),
        }
    }
    let (sent, expected) = (sent.lock().unwrap(), &vector.get("client").bytes);
    let (requests, goodbye) = sent.split_at(expected.len().min(sent.len()));
    assert_eq!(requests, expected, "{file}");
    match vector.find("client goodbye") {
        Some(code) => assert_eq!(goodbye_code(goodbye).to_string(), code.argument, "{file}"),
        None => assert_eq!(goodbye, b"", "{file}"),
    }
}

#[test]
fn a_client_calls_as_the_vectors_say() {
    let vectors = vectors("calls-", &OF_CALLS);
    let is_for_clients =
        |v: &Vector| v.find("server only").is_none() && v.find("server goodbye").is_none();
    let mut seen = 0;
    for vector in vectors.into_iter().filter(is_for_clients) {
        let (file, (done, ended)) = (vector.file.clone(), mpsc::channel());
        let calling = thread::spawn(move || {
            client_calls(&vector);
            drop::<mpsc::Sender<()>>(done);
        });
        let is_over = ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Disconnected);
        assert!(is_over, "{file}: a call does not end");
        calling.join().unwrap();
        seen += 1;
    }
    assert!(seen > LEAST / 3, "only {seen} vectors are for clients");
}

#[test]
fn the_conversation_of_the_protocol_page_is_exact() {
    let page = fs::read_to_string(root().join("docs/PROTOCOL.md")).expect("the page can be read");
    let (client, server) = (said(&page, 0, "C "), said(&page, 0, "S "));
    assert!(client.len() > 32 && server.len() > 32, "the conversation was not found");

    let exchanges = vec![
        (b"hello".to_vec(), Some(Ok(b"hello".to_vec()))),
        (b"note 7".to_vec(), Some(Err(ErrorReply::new(404, "no such note")))),
    ];
    let (stream, stopper, serving) = start_server(&Limits::default(), exchanges);
    write(&stream, &client);
    // All but the drain and the goodbye, which follow when the server stops.
    let (mut heard, goodbye) = (Vec::new(), 8 + 16 + 8 + 2 + "the server stops".len());
    read(&stream, &mut heard, server.len() - goodbye);
    stopper.stop();
    read(&stream, &mut heard, usize::MAX);
    assert_eq!(heard, server);
    serving.join().unwrap();
}

#[test]
fn a_frame_has_room_for_every_error() {
    assert_eq!(ERROR_MAX + 2 + HEAD_MAX, 20_504);
    for (body, limit) in [(0, 20_504), (16_386, 20_504), (16_387, 20_505), (1 << 30, 1_052_694)] {
        assert_eq!(Native::for_calls(body).limit(), limit, "{body}");
    }
}
