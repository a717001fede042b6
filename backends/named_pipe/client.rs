//! The client's end of a pipe: blocking, with deadlines.

use super::QUOTA;
use super::handle::{check, clone_error, code, is_disconnected};
use super::identity::{own_sid, server_of, trusts};

use super::messages::Messages;
use super::opening::open;
use super::readiness::Readiness;
use super::stream::{disconnected_to_broken_pipe, next_message};
use super::transfer::{Signal, Transfer, wait_any};
use super::writer::Writer;
use crate::access::Trust;
use crate::backends::{Connected, Waitable};
use crate::client_stream::{ClientStream, ReadMessage};
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::framing::Carrier;
use crate::limits::Limits;
use crate::peer::Peer;
use bytes::{BufMut, BytesMut};
use std::io::{self, ErrorKind, IoSlice};
use std::ops::Range;
use std::os::windows::io::{AsHandle, AsRawHandle, OwnedHandle};
use std::ptr::null;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;
use windows_sys::Win32::Foundation::{
    ERROR_FILE_NOT_FOUND, ERROR_OPERATION_ABORTED, ERROR_PIPE_BUSY,
};
use windows_sys::Win32::System::Pipes::{PIPE_READMODE_MESSAGE, SetNamedPipeHandleState};

/// The bytes of one read: the quota of this crate's pipes.
const READ: usize = QUOTA as usize;

/// Connects to the server at `endpoint`; returns the pipe's name too.
pub(crate) fn connect(
    endpoint: &Endpoint,
    limits: &Limits,
    carrier: Carrier,
    trust: &Trust,
) -> Result<Connected, Error> {
    let Opened { pipe, peer, name } = open_trusted(endpoint, limits, trust)?;
    let stream = PipeClient::new(&pipe, peer, carrier)
        .map_err(|source| Error::system(&name, "setting up the pipe", source))?;
    Ok((Box::new(stream), name))
}

/// A pipe of a server that is trusted. Nothing was sent yet.
pub(super) struct Opened {
    pub pipe: OwnedHandle,
    pub peer: Peer,
    pub name: Arc<str>,
}

/// Opens the pipe of the server at `endpoint`, for overlapped reads and writes, and checks who serves it.
pub(super) fn open_trusted(
    endpoint: &Endpoint,
    limits: &Limits,
    trust: &Trust,
) -> Result<Opened, Error> {
    let shown: Arc<str> = endpoint.to_string().into();
    let sid = own_sid().map_err(|source| Error::system(&shown, "asking who we are", source))?;
    let name: Arc<str> = endpoint.pipe_name(sid)?.into();
    let failed = |action| {
        let name = name.clone();
        move |source| Error::system(&name, action, source)
    };
    let pipe = open(&name, limits.connect).map_err(|source| match code(&source) {
        Some(ERROR_FILE_NOT_FOUND) => Error::no_server(&name, source),
        Some(ERROR_PIPE_BUSY) => Error::busy(&name, limits.connect),
        _ => failed("connecting")(source),
    })?;
    let peer = server_of(pipe.as_handle()).map_err(failed("asking who serves"))?;
    if !trusts(trust, &peer) {
        let problem = format!(
            "it is served by {peer}, whom this client does not trust: if it is to, name it with ClientOptions::trust (Trust)"
        );
        return Err(Error::Insecure { endpoint: name, problem });
    }
    Ok(Opened { pipe, peer, name })
}

/// Sets the client's end to message read mode (SetNamedPipeHandleState). It opens in byte mode, and stays in
/// it where the framing marks message boundaries.
fn read_messages(pipe: &OwnedHandle) -> io::Result<()> {
    let mode = PIPE_READMODE_MESSAGE;
    // SAFETY: the handle is open, `mode` outlives the call, and the other two pointers are null.
    check(unsafe { SetNamedPipeHandleState(pipe.as_raw_handle(), &mode, null(), null()) })
}

/// A client's open end.
pub(super) struct PipeClient {
    /// These three have a handle each. They are `None` after `shutdown`: the pipe is closed with the last handle.
    reader: Mutex<Option<Reader>>,
    /// Reads whole messages; `None` also on a stream of bytes.
    messages: Mutex<Option<Messages>>,
    sending: Mutex<Sending>,
    reads_messages: bool,
    read_done: Arc<Signal>,
    write_done: Arc<Signal>,
    /// `shutdown` was called: a flag to check, and a signal that ends a wait.
    is_closed: AtomicBool,
    closed: Signal,
    /// `wake` was called, and a read, or a wait to write, has not returned for it yet: one for each of two threads.
    woken: Signal,
    writer_woken: Signal,
    /// For an application's own loop, once it has asked for it.
    readiness: OnceLock<Readiness>,
    peer: Peer,
}

struct Sending {
    writer: Option<Writer>,
    /// A write was cut off by `shutdown`.
    is_cut: bool,
    /// The error of a failed write: a piece of the stream is then missing, and no other may follow.
    failed: Option<io::Error>,
}

struct Reader {
    transfer: Transfer,
    /// The bytes of the transfer's buffer that have not been given out yet.
    left: Range<usize>,
}

impl PipeClient {
    pub fn new(pipe: &OwnedHandle, peer: Peer, carrier: Carrier) -> io::Result<PipeClient> {
        let transfer = Transfer::new(pipe.as_handle())?;
        let read_done = transfer.done();
        let messages = match carrier {
            Carrier::Stream => None,
            Carrier::Messages => {
                read_messages(pipe)?;
                let zero_read = Transfer::with_signal(pipe.as_handle(), read_done.clone())?;
                Some(Messages::new(pipe.try_clone()?, zero_read))
            }
        };
        let reader = Reader { transfer, left: 0..0 };
        let writer = Writer::new(pipe.as_handle())?;
        Ok(PipeClient {
            reader: Mutex::new(Some(reader)),
            reads_messages: messages.is_some(),
            messages: Mutex::new(messages),
            write_done: writer.done(),
            sending: Mutex::new(Sending { writer: Some(writer), is_cut: false, failed: None }),
            read_done,
            is_closed: AtomicBool::new(false),
            closed: Signal::manual_reset()?,
            woken: Signal::manual_reset()?,
            writer_woken: Signal::manual_reset()?,
            readiness: OnceLock::new(),
            peer,
        })
    }

    fn reader(&self) -> MutexGuard<'_, Option<Reader>> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn messages(&self) -> MutexGuard<'_, Option<Messages>> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a read has completed or this end is shut down; `Interrupted` after a `wake`.
    fn wait_for_read(&self, deadline: Option<Instant>) -> io::Result<()> {
        let waited = match wait_any(&[&self.read_done, &self.closed, &self.woken], deadline) {
            Ok(2) => {
                // By hand: the reset by a wait has been lost together with its outcome (Wine, busy).
                self.woken.reset()?;
                Err(ErrorKind::Interrupted.into())
            }
            waited => waited.map(drop),
        };
        if let Some(readiness) = self.readiness.get().filter(|_| waited.is_err()) {
            readiness.watch_read();
        }
        waited
    }

    fn sending(&self) -> MutexGuard<'_, Sending> {
        self.sending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The result of a read after the stream has been shut down: the end, or the error that ended the stream.
    fn shutdown_result(&self) -> io::Result<()> {
        match &self.sending().failed {
            Some(error) if !is_disconnected(error) => Err(clone_error(error)),
            _ => Ok(()),
        }
    }
}

impl Sending {
    /// Whether no write is in flight. The result of every write is collected here.
    ///
    /// # Errors
    /// The error of a failed write, each time.
    fn is_settled(&mut self) -> io::Result<bool> {
        let writer = self.writer.as_mut().filter(|writer| writer.is_in_flight());
        if let (None, Some(writer)) = (&self.failed, writer) {
            match writer.poll() {
                None => return Ok(false),
                Some(Ok(_)) => {}
                Some(Err(error)) => self.failed = Some(disconnected_to_broken_pipe(error)),
            }
        }
        self.failed.as_ref().map_or(Ok(!self.is_cut), |error| Err(clone_error(error)))
    }
}

impl Reader {
    /// Starts a read if none is in flight and `left` is empty. A read that has completed by then, or
    /// completes at once, leaves its bytes in `left`.
    fn start(&mut self) -> io::Result<()> {
        if !self.left.is_empty() {
            return Ok(());
        }
        let ended = self.transfer.is_in_flight().then(|| self.transfer.poll());
        let read = match ended {
            // Still in flight.
            Some(None) => None,
            // The system cancels a thread's operations when the thread ends; this read has taken nothing.
            Some(Some(Err(error))) if code(&error) == Some(ERROR_OPERATION_ABORTED) => {
                self.transfer.start_read(READ)?
            }
            Some(Some(read)) => Some(read?),
            None => self.transfer.start_read(READ)?,
        };
        self.left = 0..read.unwrap_or(0);
        Ok(())
    }

    /// Moves bytes of `left` into the spare capacity of `buffer`.
    fn copy_to(&mut self, buffer: &mut BytesMut) -> usize {
        let len = self.left.len().min(buffer.capacity() - buffer.len());
        let end = self.left.start + len;
        if len > 0 {
            buffer.put_slice(&self.transfer.buffer()[self.left.start..end]);
        }
        self.left.start = end;
        len
    }
}

impl ClientStream for PipeClient {
    fn read(&self, buffer: &mut BytesMut, deadline: Option<Instant>) -> io::Result<usize> {
        let mut reader = self.reader();
        while let Some(reader) = reader.as_mut().filter(|_| !self.is_closed.load(Ordering::SeqCst))
        {
            match reader.start() {
                Ok(()) => {}
                Err(error) if is_disconnected(&error) => break,
                Err(error) => return Err(error),
            }
            let copied = reader.copy_to(buffer);
            if copied > 0 {
                return Ok(copied);
            }
            // A message of no bytes completes a read too; then the next read is started.
            if reader.transfer.is_in_flight() {
                self.wait_for_read(deadline)?;
            }
        }
        drop(reader); // `shutdown` waits for it
        self.shutdown_result().map(|()| 0)
    }

    fn read_message(
        &self,
        buffer: &mut BytesMut,
        limit: usize,
        deadline: Option<Instant>,
    ) -> io::Result<ReadMessage> {
        if !self.reads_messages {
            return Err(ErrorKind::Unsupported.into());
        }
        let mut messages = self.messages();
        let is_closed = || self.is_closed.load(Ordering::SeqCst);
        while let Some(messages) = messages.as_mut().filter(|_| !is_closed()) {
            match messages.read(buffer, limit) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.wait_for_read(deadline)?;
                }
                read => return read,
            }
        }
        drop(messages); // `shutdown` waits for it
        self.shutdown_result().map(|()| ReadMessage::End)
    }

    fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut sending = self.sending();
        if self.is_closed.load(Ordering::SeqCst) {
            return Err(ErrorKind::BrokenPipe.into());
        }
        if !sending.is_settled()? {
            return Err(ErrorKind::WouldBlock.into());
        }
        let fill = |message: &mut Vec<u8>| match (self.reads_messages, slices.first()) {
            (true, Some(first)) => {
                message.clear();
                message.extend_from_slice(first);
            }
            _ => next_message(slices, message),
        };
        let writer = sending.writer.as_mut().ok_or(ErrorKind::BrokenPipe)?;
        writer.start(fill).map_err(disconnected_to_broken_pipe)
    }

    /// A write that failed because the server has closed counts as sent: reading finds the reason, and each
    /// further write fails.
    fn is_sent(&self) -> bool {
        let settled = self.sending().is_settled();
        match settled {
            Ok(settled) => settled,
            Err(error) if is_disconnected(&error) => true,
            Err(_) => {
                // A thread that waits for bytes gets the error too.
                self.shutdown();
                false
            }
        }
    }

    fn wait_writable(&self, or_readable: bool, deadline: Option<Instant>) -> io::Result<()> {
        if self.is_sent() {
            return Ok(());
        }
        self.shutdown_result()?;
        let mut signals = vec![&*self.write_done, &self.closed, &self.writer_woken];
        // While it waits, no other thread reads.
        let (mut messages, mut reader);
        if or_readable && self.reads_messages {
            messages = self.messages();
            let Some(messages) = messages.as_mut() else { return Ok(()) };
            if messages.is_readable()? {
                return Ok(());
            }
            signals.push(&self.read_done);
        } else if or_readable {
            reader = self.reader();
            let Some(reader) = reader.as_mut() else { return Ok(()) };
            // A read that has failed or completed counts as readable.
            if reader.start().is_err() || !reader.transfer.is_in_flight() {
                return Ok(());
            }
            signals.push(&self.read_done);
        }
        match wait_any(&signals, deadline)? {
            2 => self.writer_woken.reset(),
            _ => Ok(()),
        }
    }

    fn wake(&self) {
        // Setting an event fails only for an invalid handle.
        let _ = self.woken.set();
        let _ = self.writer_woken.set();
    }

    fn waitable(&self) -> io::Result<Option<Waitable>> {
        if self.readiness.get().is_none() {
            // Another thread may have been faster.
            let _ = self.readiness.set(Readiness::new(self.read_done.clone())?);
        }
        Ok(self.readiness.get().map(|readiness| {
            if let Some(writer) = &self.sending().writer {
                writer.set_too(readiness.alert());
            }
            readiness.waitable()
        }))
    }

    fn set_alert(&self, is_set: bool) {
        if let Some(readiness) = self.readiness.get() {
            readiness.set_alert(is_set);
        }
    }

    fn shutdown(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        // Setting an event fails only for an invalid handle.
        let _ = self.closed.set();
        // The other end learns it when the last handle is closed. Threads that wait leave their locks: they have been
        // told. What the pipe has taken still arrives.
        drop(self.reader().take());
        drop(self.messages().take());
        let mut sending = self.sending();
        // A write that has just ended is not cut off; its error is found by who sends.
        sending.is_cut = matches!(sending.is_settled(), Ok(false));
        drop(sending.writer.take());
    }

    fn peer(&self) -> &Peer {
        &self.peer
    }
}
