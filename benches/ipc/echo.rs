//! The clients of both sides of every comparison. Both servers echo: each reply is the bytes of its request.

use crate::Failure;
use crate::frames::{HEADER, Inbox};
use bytes::Bytes;
use msgpipe::{Call, Client, Endpoint};
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

/// The two sides of a comparison.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The bare floor.
    Bare,
    Msgpipe,
}

impl Side {
    pub const BOTH: [Side; 2] = [Side::Bare, Side::Msgpipe];

    pub fn name(self) -> &'static str {
        match self {
            Side::Bare => "bare",
            Side::Msgpipe => "msgpipe",
        }
    }

    /// Connects to the server of this side.
    pub fn connect(self, name: &str) -> Result<Box<dyn Echo>, Failure> {
        Ok(match self {
            Side::Bare => {
                let stream = crate::floor::connect(name)?;
                Box::new(Bare { stream, inbox: Inbox::new(), out: Vec::new() })
            }
            Side::Msgpipe => {
                let client = Client::connect(Endpoint::name(name)?)?;
                Box::new(Msgpipe { client, calls: VecDeque::new() })
            }
        })
    }
}

/// A request, prepared for both sides: neither copies it to send it.
pub struct Request {
    /// The frame of the floor: the length, then the body.
    frame: Bytes,
}

impl Request {
    /// `count` requests of `size` bytes, which differ in their first eight bytes.
    pub fn several(count: u64, size: usize) -> Vec<Request> {
        let request = |number: u64| {
            let mut frame = u32::try_from(size).expect("a small size").to_le_bytes().to_vec();
            frame.extend((0..size).map(|at| (at * 31 + 7) as u8));
            frame[HEADER..HEADER + 8].copy_from_slice(&number.to_le_bytes());
            Request { frame: frame.into() }
        };
        (0..count).map(request).collect()
    }

    fn body(&self) -> Bytes {
        self.frame.slice(HEADER..)
    }

    /// Checks the reply: its length, its first and its last eight bytes.
    fn check(&self, reply: &[u8]) -> Result<(), Failure> {
        let asked = &self.frame[HEADER..];
        let is_echo = reply.len() == asked.len()
            && reply[..8] == asked[..8]
            && reply[reply.len() - 8..] == asked[asked.len() - 8..];
        if is_echo { Ok(()) } else { Err("a wrong reply".into()) }
    }
}

/// How a request is passed to the client.
#[derive(Clone, Copy)]
pub enum Ownership {
    Owned,
    Borrowed,
}

/// With how many writes several requests are sent.
#[derive(Clone, Copy)]
pub enum Writes {
    /// All with one write.
    OneForAll,
    /// Each with its own write.
    OnePerRequest,
}

/// A connection to an echo server.
pub trait Echo: Send {
    /// One round trip.
    fn call(&mut self, request: &Request, ownership: Ownership) -> Result<(), Failure>;

    /// Sends requests with one write.
    fn send(&mut self, requests: &[Request]) -> Result<(), Failure>;

    /// Waits for the replies to `requests`, which are the oldest in flight.
    fn receive(&mut self, requests: &[Request]) -> Result<(), Failure>;

    /// Sends each request with its own write, and waits after each for the oldest reply. The floor sends all
    /// with one write.
    fn exchange(&mut self, requests: &[Request]) -> Result<(), Failure> {
        self.send(requests)?;
        self.receive(requests)
    }
}

struct Bare<S> {
    stream: S,
    inbox: Inbox,
    out: Vec<u8>,
}

impl<S: Read + Write> Bare<S> {
    fn receive_one(&mut self, request: &Request) -> Result<(), Failure> {
        loop {
            if let Some(frame) = self.inbox.next() {
                return request.check(&self.inbox.slice(frame)[HEADER..]);
            }
            match self.stream.read(self.inbox.spare())? {
                0 => return Err("the bare server has disconnected".into()),
                read => self.inbox.advance_end(read),
            }
        }
    }
}

impl<S: Read + Write + Send> Echo for Bare<S> {
    fn call(&mut self, request: &Request, _: Ownership) -> Result<(), Failure> {
        self.stream.write_all(&request.frame)?;
        self.receive_one(request)
    }

    fn send(&mut self, requests: &[Request]) -> Result<(), Failure> {
        self.out.clear();
        requests.iter().for_each(|request| self.out.extend_from_slice(&request.frame));
        Ok(self.stream.write_all(&self.out)?)
    }

    fn receive(&mut self, requests: &[Request]) -> Result<(), Failure> {
        requests.iter().try_for_each(|request| self.receive_one(request))
    }
}

struct Msgpipe {
    client: Client,
    calls: VecDeque<Call>,
}

impl Echo for Msgpipe {
    fn call(&mut self, request: &Request, ownership: Ownership) -> Result<(), Failure> {
        let reply = match ownership {
            Ownership::Owned => self.client.call(request.body())?,
            Ownership::Borrowed => self.client.call(&request.frame[HEADER..])?,
        };
        request.check(&reply)
    }

    fn send(&mut self, requests: &[Request]) -> Result<(), Failure> {
        let mut batch = self.client.batch();
        for request in requests {
            batch.add(request.body());
        }
        self.calls.extend(batch.send()?);
        Ok(())
    }

    fn exchange(&mut self, requests: &[Request]) -> Result<(), Failure> {
        for request in requests {
            self.calls.push_back(self.client.start(request.body())?);
            self.receive(std::slice::from_ref(request))?;
        }
        Ok(())
    }

    fn receive(&mut self, requests: &[Request]) -> Result<(), Failure> {
        for request in requests {
            let call = self.calls.pop_front().ok_or("no call is in flight")?;
            request.check(&call.wait()?)?;
        }
        Ok(())
    }
}

/// Calls one after another for some time, and how long each took in nanoseconds.
pub fn calls(
    echo: &mut dyn Echo,
    requests: &[Request],
    ownership: Ownership,
    time: Duration,
) -> Result<Vec<f64>, Failure> {
    let mut durations = Vec::with_capacity(1 << 16);
    let start = Instant::now();
    let mut before = start;
    for request in requests.iter().cycle() {
        echo.call(request, ownership)?;
        let now = Instant::now();
        durations.push((now - before).as_nanos() as f64);
        before = now;
        if now - start >= time {
            break;
        }
    }
    Ok(durations)
}
