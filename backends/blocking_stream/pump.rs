//! The two threads of a connection and the queues between them and the rest.

use crate::byte_stream::ByteStream;
use crate::guard::guarded;
use bytes::{Buf, BufMut, BytesMut};
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The bytes that are queued in each direction: about the buffer of a socket. When a queue is full, its thread stops
/// reading, or `write` takes nothing more.
pub(super) const QUEUE: usize = 64 * 1024;

/// The most bytes of one read or write. A read begins when the queue has room for it.
const PIECE: usize = QUEUE / 2;

/// How long reading goes on after a write has failed: the peer may have said why before it closed. It may also have
/// closed only the direction in which it reads, and then no end arrives.
const LINGER: Duration = Duration::from_secs(1);

/// How long dropping an end waits until what it has sent is written. A peer that reads takes far less.
const FLUSH: Duration = Duration::from_secs(1);

type Close = Box<dyn FnOnce() + Send>;

/// What the threads share with the connection's side.
pub(super) struct Link {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
pub(super) struct State {
    incoming: BytesMut,
    /// The reading thread has found the end, or an error.
    end: Option<End>,
    outgoing: BytesMut,
    /// The bytes that the writing thread has taken and not written yet. They still count.
    writing: usize,
    /// A write has failed.
    unwritable: Option<io::Error>,
    /// This side has closed the connection.
    is_closed: bool,
    close: Option<Close>,
    /// The writing thread has ended.
    is_writer_gone: bool,
    /// Something has arrived, or can be written, since the server last looked.
    pub has_arrived: bool,
    pub has_room: bool,
    /// See [`Waker`](crate::Waker) and [`ClientStream::wake`](crate::ClientStream::wake).
    pub woken: bool,
    /// The same for the thread of a client that waits to write.
    pub writer_woken: bool,
}

enum End {
    Closed,
    Failed(io::Error),
}

impl Link {
    /// Starts the threads of a connection.
    ///
    /// # Errors
    /// The system starts no more threads; the stream is then closed.
    pub fn start(stream: ByteStream) -> io::Result<Arc<Link>> {
        let ByteStream { reader, writer, close, .. } = stream;
        let state = State { close, ..State::default() };
        let link = Arc::new(Link { state: Mutex::new(state), changed: Condvar::new() });
        let started = link.start_threads(reader, writer);
        if started.is_err() {
            link.abort();
        }
        started.map(|()| link)
    }

    fn start_threads(
        self: &Arc<Link>,
        reader: Box<dyn Read + Send>,
        writer: Box<dyn Write + Send>,
    ) -> io::Result<()> {
        let link = self.clone();
        let reading = thread::Builder::new().name("msgpipe reader".into());
        reading.spawn(move || guarded(|| Reading(link).run(reader)))?;
        let link = self.clone();
        let writing = thread::Builder::new().name("msgpipe writer".into());
        writing.spawn(move || guarded(|| Writing(link).run(writer)))?;
        Ok(())
    }

    /// A poisoned lock is used as it is: every change is complete before the next can panic.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a change, until `deadline` at the latest. May return early.
    pub fn wait<'a>(
        &self,
        state: MutexGuard<'a, State>,
        deadline: Option<Instant>,
    ) -> MutexGuard<'a, State> {
        match deadline {
            None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(at) => {
                let left = at.saturating_duration_since(Instant::now());
                self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }

    /// Appends what has arrived to the spare capacity of `buffer`; 0 at the end.
    pub fn read(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        let mut state = self.lock();
        let room = buffer.capacity() - buffer.len();
        let moved = state.incoming.len().min(room);
        if moved == 0 {
            return state.at_end();
        }
        buffer.put_slice(&state.incoming[..moved]);
        state.incoming.advance(moved);
        if state.incoming.is_empty() {
            state.incoming = BytesMut::new();
        }
        drop(state);
        self.changed.notify_all();
        Ok(moved)
    }

    /// Queues some bytes of `slices` for the writing thread.
    pub fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut state = self.lock();
        if state.is_closed {
            return Err(ErrorKind::BrokenPipe.into());
        }
        if let Some(error) = &state.unwritable {
            return Err(again(error));
        }
        let mut moved = 0;
        for slice in slices {
            let some = slice.len().min(QUEUE - state.unwritten());
            state.outgoing.put_slice(&slice[..some]);
            moved += some;
        }
        if moved == 0 && slices.iter().any(|slice| !slice.is_empty()) {
            return Err(ErrorKind::WouldBlock.into());
        }
        drop(state);
        self.changed.notify_all();
        Ok(moved)
    }

    /// Makes a wait return.
    pub fn wake(&self) {
        let mut state = self.lock();
        (state.woken, state.writer_woken) = (true, true);
        drop(state);
        self.changed.notify_all();
    }

    /// Closes this side. What is queued is still written, and the writer is dropped then. What has arrived is dropped.
    pub fn shutdown(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        state.incoming = BytesMut::new();
        let is_writer_gone = state.is_writer_gone;
        drop(state);
        self.changed.notify_all();
        if is_writer_gone {
            self.close();
        }
    }

    /// Waits a little until what is queued is written: this process may end now, and its threads with it.
    pub fn flush(&self) {
        let until = Instant::now() + FLUSH;
        let mut state = self.lock();
        while !state.is_sent() && Instant::now() < until {
            state = self.wait(state, Some(until));
        }
    }

    /// Closes this side, and drops what is queued. A thread that waits in a read or write goes on waiting, unless the
    /// stream can be closed from outside ([`ByteStream::on_close`]).
    pub fn abort(&self) {
        self.lock().outgoing.clear();
        self.shutdown();
        self.close();
    }

    fn close(&self) {
        let close = self.lock().close.take();
        if let Some(close) = close {
            guarded(close);
        }
    }
}

impl State {
    /// The bytes that were taken and that the system does not have yet.
    pub fn unwritten(&self) -> usize {
        self.outgoing.len() + self.writing
    }

    /// Whether all that was taken has been written, or cannot be.
    pub fn is_sent(&self) -> bool {
        self.unwritten() == 0 || self.unwritable.is_some()
    }

    /// Whether a write takes a good part of the queue, or finds an error.
    pub fn is_writable(&self) -> bool {
        self.unwritten() <= QUEUE - PIECE || self.unwritable.is_some()
    }

    pub fn is_readable(&self) -> bool {
        !self.incoming.is_empty() || self.end.is_some() || self.is_closed
    }

    /// Nothing more arrives.
    pub fn is_ended(&self) -> bool {
        self.end.is_some()
    }

    /// Nothing more arrives, and nothing more can be written.
    pub fn has_gone(&self) -> bool {
        self.end.is_some() && self.unwritable.is_some()
    }

    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Nothing more is waited for, if nothing more can be written.
    fn end_unwritable(&mut self) {
        if let (None, Some(error)) = (&self.end, &self.unwritable) {
            self.end = Some(End::Failed(again(error)));
            self.has_arrived = true;
        }
    }

    /// What a read finds that finds no bytes.
    fn at_end(&self) -> io::Result<usize> {
        match &self.end {
            _ if self.is_closed => Ok(0),
            None => Err(ErrorKind::WouldBlock.into()),
            Some(End::Closed) => Ok(0),
            Some(End::Failed(error)) => Err(again(error)),
        }
    }
}

/// The thread that reads. However it ends, the connection is told.
struct Reading(Arc<Link>);

impl Reading {
    fn run(self, mut reader: Box<dyn Read + Send>) {
        let mut buffer = vec![0; PIECE];
        while self.waits_for_room() {
            let end = match reader.read(&mut buffer) {
                Ok(0) => End::Closed,
                Ok(read) => {
                    self.arrived(&buffer[..read]);
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => End::Failed(lasting(error)),
            };
            self.0.lock().end = Some(end);
            break;
        }
    }

    /// `false`: this side has closed the connection.
    fn waits_for_room(&self) -> bool {
        let mut state = self.0.lock();
        while state.incoming.len() > QUEUE - PIECE && !state.is_closed {
            state = self.0.wait(state, None);
        }
        !state.is_closed
    }

    fn arrived(&self, bytes: &[u8]) {
        let mut state = self.0.lock();
        if !state.is_closed {
            state.incoming.put_slice(bytes);
        }
        state.has_arrived = true;
        drop(state);
        self.0.changed.notify_all();
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        let panicked = || End::Failed(io::Error::other("the reader panicked"));
        state.end.get_or_insert_with(panicked);
        state.has_arrived = true;
        drop(state);
        self.0.changed.notify_all();
    }
}

/// The thread that writes. However it ends, the connection is told.
struct Writing(Arc<Link>);

impl Writing {
    fn run(self, mut writer: Box<dyn Write + Send>) {
        while let Some(bytes) = self.next() {
            let written = writer.write_all(&bytes).and_then(|()| writer.flush());
            let mut state = self.0.lock();
            state.writing = 0;
            state.has_room = true;
            let failed = written.is_err();
            state.unwritable = written.err().map(lasting);
            drop(state);
            self.0.changed.notify_all();
            if failed {
                drop(writer);
                return self.linger();
            }
        }
        drop(writer); // the peer learns it by this
    }

    /// A write has failed: the connection ends, once the reading thread has found the end or has had its time.
    fn linger(&self) {
        let until = Instant::now() + LINGER;
        let mut state = self.0.lock();
        state.outgoing = BytesMut::new();
        while state.end.is_none() && !state.is_closed && Instant::now() < until {
            state = self.0.wait(state, Some(until));
        }
    }

    /// The next bytes; `None` when this side has closed the connection, and all is written.
    fn next(&self) -> Option<BytesMut> {
        let mut state = self.0.lock();
        while state.outgoing.is_empty() {
            if state.is_closed {
                return None;
            }
            state = self.0.wait(state, None);
        }
        let some = state.outgoing.len().min(PIECE);
        let bytes = state.outgoing.split_to(some);
        if state.outgoing.is_empty() {
            state.outgoing = BytesMut::new();
        }
        state.writing = bytes.len();
        Some(bytes)
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        if !state.is_closed || state.writing > 0 {
            let panicked = || io::Error::other("the writer panicked");
            state.unwritable.get_or_insert_with(panicked);
        }
        state.end_unwritable();
        state.has_room = true;
        state.is_writer_gone = true;
        let is_closed = state.is_closed;
        drop(state);
        self.0.changed.notify_all();
        if is_closed {
            self.0.close();
        }
    }
}

/// An error of a read or write that ends the connection. The kinds that mean "later" are given another one: what
/// waits would try again for ever.
fn lasting(error: io::Error) -> io::Error {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => io::Error::other(
            format!("the stream gave up ({error}): it must block, without a time-out of its own"),
        ),
        _ => error,
    }
}

fn again(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}
