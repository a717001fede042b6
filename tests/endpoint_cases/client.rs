//! A whole blocking client that is fed by a hostile server.

use super::hostile::{Plain, limits};
use super::played::{Server, Stream};
use super::script::Script;
use bytes::Bytes;
use msgpipe::exchange::Metadata;
use msgpipe::framing::LengthPrefix;
use msgpipe::monitor::Seen;
use msgpipe::{Call, Client, Error, Incoming, Parts, ServerMessage, ServerRequest, Upload};
use std::collections::VecDeque;
use std::time::Duration;

/// The steps of a program.
const STEPS: usize = 60;

/// The time of a call. The tests never wait so long: the connection ends before.
const LONG: Duration = Duration::from_secs(600);

/// The sizes of requests and parts.
const SIZES: [usize; 10] = [0, 1, 10, 239, 240, 241, 1000, 20_000, 40_000, 70_001];

/// What an application has of a client.
struct App {
    server: Server,
    client: Client,
    limit: usize,
    calls: VecDeque<Call>,
    parts: VecDeque<Parts>,
    uploads: VecDeque<Upload>,
    incoming: Option<Incoming>,
    requests: VecDeque<ServerRequest>,
}

/// Runs a client with the server that `bytes` describe.
pub fn check(bytes: &[u8]) {
    let mut script = Script::new(bytes);
    let limits = limits(&mut script).with_call(LONG);
    let framing = script.of(&[Plain::Native, Plain::Native, Plain::Native, Plain::Prefix]);
    let limit = limits.message;
    let server = Server::new(&bytes[bytes.len() - script.left()..], framing);
    let stream = Box::new(Stream::new(server.clone()));
    let client = match framing {
        Plain::Native => Client::over(stream, "a hostile server", limits),
        Plain::Prefix => {
            let framing = LengthPrefix::big_endian(40_000);
            Client::over_framing(stream, framing, "a hostile server", limits)
        }
    };
    let mut app = App {
        server,
        client,
        limit,
        calls: VecDeque::new(),
        parts: VecDeque::new(),
        uploads: VecDeque::new(),
        incoming: None,
        requests: VecDeque::new(),
    };
    for _ in 0..STEPS {
        if app.server.lock().script_is_over() {
            break;
        }
        app.step();
    }
    app.finish();
}

impl App {
    fn step(&mut self) {
        match self.server.choose(|script| script.below(32)) {
            choice @ 0..=13 => self.calls(choice),
            choice @ 14..=26 => self.streams(choice),
            choice => self.is_called(choice),
        }
        self.look();
    }

    /// Calls of one message each way.
    fn calls(&mut self, choice: usize) {
        match choice {
            0..=3 => {
                let reply = self.asks().call(self.body());
                self.check(&reply);
            }
            4..=7 => self.calls.extend(self.asks().start(self.body()).ok()),
            8 | 9 => {
                if let Some(mut call) = self.calls.pop_front() {
                    match call.try_wait() {
                        Some(reply) => self.check(&reply),
                        None => self.calls.push_back(call),
                    }
                }
            }
            10 => {
                if let Some(call) = self.calls.pop_front() {
                    let reply = call.wait();
                    self.check(&reply);
                }
            }
            11 => drop(self.calls.pop_back()),
            12 => {
                let mut calls: Vec<Call> = self.calls.drain(..).collect();
                let _ = Call::wait_any(&mut calls, Some(Duration::ZERO));
                self.calls.extend(calls);
            }
            _ => {
                if let Some(call) = self.calls.pop_front() {
                    call.detach();
                }
            }
        }
    }

    /// Calls of several messages, notifications and batches.
    fn streams(&mut self, choice: usize) {
        match choice {
            14 | 15 => self.parts.extend(self.asks().stream(self.body()).ok()),
            16 | 17 => self.takes(),
            18 => drop(self.parts.pop_front()),
            19 => self.uploads.extend(self.asks().upload().ok()),
            20 => {
                if let Ok((upload, parts)) = self.asks().duplex() {
                    self.uploads.push_back(upload);
                    self.parts.push_back(parts);
                }
            }
            21 | 22 => {
                let body = self.body();
                if let Some(upload) = self.uploads.front_mut() {
                    let _ = upload.send(body);
                }
            }
            23 => {
                if let Some(upload) = self.uploads.pop_front() {
                    let ends = self.server.choose(|script| script.is());
                    match ends {
                        true => drop(upload.end()),
                        false => self.calls.extend(upload.finish().ok()),
                    }
                }
            }
            24 => drop(self.uploads.pop_front()),
            25 => drop(self.asks().notify_within(self.body(), Duration::ZERO)),
            _ => {
                let client = self.asks();
                let mut batch = client.batch();
                for _ in 0..self.server.choose(|script| script.below(5)) {
                    batch.add(self.body());
                }
                self.calls.extend(batch.send().into_iter().flatten());
            }
        }
    }

    /// What the server asks, and the end.
    fn is_called(&mut self, choice: usize) {
        match choice {
            27 => match &self.incoming {
                None => self.incoming = self.client.incoming().ok(),
                Some(_) if self.server.choose(|script| script.once_in(4)) => self.incoming = None,
                Some(_) => {}
            },
            28 | 29 => self.listens(),
            30 => {
                if let Some(request) = self.requests.pop_front() {
                    let _ = request.is_cancelled();
                    match self.server.choose(|script| script.below(3)) {
                        0 => request.reply(self.body()),
                        1 => request.reply(Err::<Bytes, _>("refused")),
                        _ => drop(request),
                    }
                }
            }
            _ => {
                if self.server.choose(|script| script.once_in(16)) {
                    self.client.close();
                }
            }
        }
    }

    /// A client with a method, a time and metadata of its own.
    fn asks(&self) -> Client {
        let (method, at_once, value) = self.server.choose(|script| {
            let method = script.of(&[0, 0, 1, 7, 0xFFFF_FF01, 0xFFFF_FF02]);
            (method, script.once_in(4), script.once_in(4).then(|| script.bytes(20).to_vec()))
        });
        let metadata = value.map(|value| Metadata::default().with(b"key", &value));
        let client = self.client.with_method(method);
        let client = if at_once { client.with_timeout(Duration::ZERO) } else { client };
        match metadata {
            Some(Ok(metadata)) => client.with_metadata(metadata),
            _ => client,
        }
    }

    fn body(&self) -> Bytes {
        vec![b'a'; self.server.choose(|script| script.of(&SIZES))].into()
    }

    /// A reply is within the limit, and an error says something.
    fn check(&self, reply: &Result<Bytes, Error>) {
        match reply {
            Ok(body) => {
                assert!(body.len() <= self.limit, "a reply over the limit");
                // What a tool would read of it.
                let seen = Seen::decode(body.clone());
                assert!(seen.is_none_or(|seen| seen.to_string().starts_with("connection ")));
            }
            Err(error) => {
                let text = error.to_string();
                assert!(!text.is_empty() && !text.contains('\n'), "{text:?}");
            }
        }
    }

    fn takes(&mut self) {
        let waits = self.server.choose(|script| script.once_in(4));
        let Some(parts) = self.parts.front_mut() else { return };
        let next = match waits {
            true => Some(parts.next_within(LONG)),
            false => parts.try_next(),
        };
        let metadata = parts.metadata();
        assert!(metadata.len() <= 4096 && metadata.pairs().count() <= 4096);
        match next {
            Some(Ok(Some(part))) => self.check(&Ok(part)),
            Some(Ok(None)) => drop(self.parts.pop_front()),
            Some(Err(error)) => {
                self.check(&Err(error));
                self.parts.pop_front();
            }
            None => {}
        }
    }

    fn listens(&mut self) {
        let Some(incoming) = &mut self.incoming else { return };
        match incoming.try_next() {
            Ok(Some(ServerMessage::Request(request))) => {
                assert!(request.body().len() <= self.limit);
                self.requests.push_back(request);
            }
            Ok(Some(ServerMessage::Notification(news))) => {
                assert!(news.body().len() <= self.limit);
            }
            _ => {}
        }
    }

    /// What holds at any time.
    fn look(&self) {
        let counts = self.client.counts();
        assert!(counts.calls.ended() <= counts.calls.begun, "{counts:?}");
        assert!(counts.requests.ended() <= counts.requests.begun, "{counts:?}");
    }

    /// The connection has ended: each call ends, and nothing waits.
    fn finish(mut self) {
        self.server.lock().end();
        while let Some(call) = self.calls.pop_front() {
            let reply = call.wait();
            self.check(&reply);
        }
        for mut parts in std::mem::take(&mut self.parts) {
            let mut left = 0;
            while let Ok(Some(part)) = parts.next_within(LONG) {
                left += 1;
                assert!(left < 10_000, "parts without end");
                self.check(&Ok(part));
            }
        }
        for mut upload in std::mem::take(&mut self.uploads) {
            let _ = upload.send("more");
        }
        let last = self.client.call("");
        assert!(last.is_err(), "a reply from nobody");
        // A server that had said that it stops was not asked again.
        let is_refused = matches!(last, Err(Error::Answered { .. }));
        assert!(is_refused || self.client.close_reason().is_some(), "{last:?}");
        if let Some(incoming) = &mut self.incoming {
            let mut left = 0;
            let end = loop {
                match incoming.next_within(LONG) {
                    Ok(_) => left += 1,
                    Err(error) => break error,
                }
                assert!(left < 10_000, "messages without end");
            };
            assert!(!matches!(end, Error::Deadline { .. }), "{end:?}");
        }
        self.requests.clear();
        let counts = self.client.counts();
        assert_eq!((counts.calls.open(), counts.requests.open()), (0, 0), "{counts:?}");
    }
}
