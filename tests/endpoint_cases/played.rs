//! A hostile server: what it sends is made when the client reads, and it takes what it likes. Nothing waits: when its script
//! is over, the connection ends.

use super::frames::{self, Frames};
use super::hostile::Plain;
use super::observed::Observed;
use super::script::Script;
use bytes::{Buf, BytesMut};
use msgpipe::framing::{Encoder, Layer, Native, SendQueue};
use msgpipe::{ClientStream, Peer};
use std::io::{self, ErrorKind, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The most reads and writes of one run that move nothing, and the most bytes that a client writes: more would be a loop that
/// does not end.
const TURNS_MAX: usize = 50_000;
const WRITTEN_MAX: usize = 64 << 20;

/// The script, with the server that it drives.
pub struct Played {
    script: Vec<u8>,
    at: usize,
    framing: Plain,
    frames: Frames,
    observed: Observed,
    /// What the client can read.
    readable: BytesMut,
    /// What is made and not sent: it is cut anywhere.
    unsent: BytesMut,
    /// What the client can write before it has to wait.
    room: usize,
    /// The most bytes of one read or write.
    chunk: usize,
    has_begun: bool,
    is_over: bool,
    is_reset: bool,
    turns: usize,
    written: usize,
}

/// A hostile server, for the client's stream and for the test.
#[derive(Clone)]
pub struct Server(Arc<Mutex<Played>>);

impl Server {
    pub fn new(script: &[u8], framing: Plain) -> Server {
        Server(Arc::new(Mutex::new(Played {
            script: script.to_vec(),
            at: 0,
            framing,
            frames: Frames::new(false),
            observed: Observed::new(&*framing.unlimited(), false),
            readable: BytesMut::new(),
            unsent: BytesMut::new(),
            room: 64 * 1024,
            chunk: usize::MAX,
            has_begun: false,
            is_over: false,
            is_reset: false,
            turns: 0,
            written: 0,
        })))
    }

    pub fn lock(&self) -> MutexGuard<'_, Played> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes choices by the script.
    pub fn choose<T>(&self, choose: impl FnOnce(&mut Script<'_>) -> T) -> T {
        self.lock().choose(|_, script| choose(script))
    }
}

impl Played {
    fn choose<T>(&mut self, choose: impl FnOnce(&mut Played, &mut Script<'_>) -> T) -> T {
        let bytes = std::mem::take(&mut self.script);
        let mut script = Script::new(&bytes[self.at..]);
        let chosen = choose(self, &mut script);
        self.at = bytes.len() - script.left();
        self.script = bytes;
        chosen
    }

    pub fn script_is_over(&self) -> bool {
        self.at == self.script.len()
    }

    /// Ends the connection: nothing more is sent.
    pub fn end(&mut self) {
        self.is_over = true;
        self.chunk = usize::MAX;
    }

    /// The server does one thing.
    pub fn happens(&mut self) {
        if self.script_is_over() {
            self.end();
            return;
        }
        self.choose(|it, script| it.acts(script));
        self.frames.others = self.observed.latest;
    }

    fn acts(&mut self, script: &mut Script<'_>) {
        self.frames.others = self.observed.latest;
        if !self.has_begun {
            self.begins(script);
        }
        match script.below(24) {
            0..=13 => {
                let frame = self.frames.next(script);
                self.put(&frame);
                if script.below(4) > 0 {
                    self.send(usize::MAX);
                }
            }
            14 => self.unsent.extend_from_slice(script.bytes(30)),
            15 => {
                let mut queue = SendQueue::default();
                let text = script.text(40);
                Native::new(Layer::Calls, 1).goodbye(script.u16() % 12, &text, &mut queue);
                self.unsent.extend_from_slice(&queue.to_bytes());
            }
            16 => self.send(script.below(256)),
            17 => self.chunk = script.of(&[usize::MAX, 1, 7, 300]),
            18 => self.room = script.of(&[0, 1, 100, 64 * 1024, 1 << 20]),
            19 if script.once_in(4) => self.is_reset = true,
            20 if script.once_in(4) => self.is_over = true,
            _ => self.send(usize::MAX),
        }
    }

    fn begins(&mut self, script: &mut Script<'_>) {
        self.has_begun = true;
        let mut begun = self.framing.begun();
        if script.once_in(16) {
            let at = script.below(16).min(begun.len().saturating_sub(1));
            if let Some(byte) = begun.get_mut(at) {
                *byte = script.byte();
            }
        }
        self.unsent.extend_from_slice(&begun);
        let settings = match script.below(8) {
            0..=3 => frames::plain_settings(),
            4..=6 => frames::settings(script),
            _ => return,
        };
        self.put(&settings);
    }

    fn put(&mut self, frame: &[u8]) {
        let wrapped = self.framing.wrap(frame);
        self.unsent.extend_from_slice(&wrapped);
    }

    fn send(&mut self, most: usize) {
        let some = self.unsent.split_to(most.min(self.unsent.len()));
        self.observed.sent(&some);
        self.readable.extend_from_slice(&some);
    }

    /// Counts what may not be done without end.
    fn turns(&mut self) {
        self.turns += 1;
        assert!(self.turns < TURNS_MAX, "the client reads or writes for ever");
    }

    /// What a read returns; `None`: nothing has arrived.
    pub fn read(&mut self, buffer: &mut [u8]) -> Option<io::Result<usize>> {
        self.turns();
        if self.is_reset {
            return Some(Err(ErrorKind::ConnectionReset.into()));
        }
        match self.readable.len().min(buffer.len()).min(self.chunk) {
            0 if self.is_over => Some(Ok(0)),
            0 => None,
            count => {
                self.turns -= 1;
                self.readable.copy_to_slice(&mut buffer[..count]);
                Some(Ok(count))
            }
        }
    }

    /// What a write returns; `None`: there is no room.
    pub fn write(&mut self, slices: &[IoSlice<'_>]) -> Option<io::Result<usize>> {
        self.turns();
        if self.is_reset || self.is_over {
            return Some(Err(ErrorKind::BrokenPipe.into()));
        }
        let mut left = self.room.min(self.chunk);
        let mut written = 0;
        for slice in slices {
            let count = slice.len().min(left);
            self.observed.received(&slice[..count]);
            (left, written) = (left - count, written + count);
        }
        self.room = self.room.saturating_sub(written);
        self.written += written;
        assert!(self.written < WRITTEN_MAX, "the client writes for ever");
        self.turns -= usize::from(written > 0);
        let is_empty = slices.iter().all(|slice| slice.is_empty());
        (written > 0 || is_empty).then_some(Ok(written))
    }

    /// Gives the client room to write.
    pub fn makes_room(&mut self) {
        self.room = self.room.max(1000);
    }
}

/// The client's stream.
pub struct Stream {
    server: Server,
    peer: Peer,
}

impl Stream {
    pub fn new(server: Server) -> Stream {
        Stream { server, peer: Peer::default() }
    }
}

fn has_passed(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|at| at <= Instant::now())
}

impl ClientStream for Stream {
    fn read(&self, buffer: &mut BytesMut, deadline: Option<Instant>) -> io::Result<usize> {
        let mut server = self.server.lock();
        let room = buffer.capacity() - buffer.len();
        assert!(room > 0, "a read without room for a byte");
        let mut bytes = vec![0; room];
        loop {
            if let Some(read) = server.read(&mut bytes) {
                buffer.extend_from_slice(&bytes[..*read.as_ref().unwrap_or(&0)]);
                return read;
            }
            if has_passed(deadline) {
                return Err(ErrorKind::TimedOut.into());
            }
            server.happens();
        }
    }

    fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.server.lock().write(slices).unwrap_or(Err(ErrorKind::WouldBlock.into()))
    }

    fn is_sent(&self) -> bool {
        true
    }

    fn wait_writable(&self, or_readable: bool, deadline: Option<Instant>) -> io::Result<()> {
        let mut server = self.server.lock();
        server.turns();
        if has_passed(deadline) {
            return Err(ErrorKind::TimedOut.into());
        }
        server.happens();
        if !or_readable || server.readable.is_empty() {
            server.makes_room();
        }
        Ok(())
    }

    fn wake(&self) {}

    fn shutdown(&self) {
        self.server.lock().end();
    }

    fn peer(&self) -> &Peer {
        &self.peer
    }
}
