//! The bare floor on Windows: a single-threaded overlapped loop on a completion port that echoes frames over
//! message-type pipes, and a blocking handle as its client. Pinning to CPUs is here too, as it also needs
//! `unsafe`.
//!
//! Each pipe has one operation in flight: connect, then read, write, read ... The loop waits for the
//! completion packet of each operation; with `MSGPIPE_FLOOR=eager` an operation that completes immediately
//! queues none, and the loop continues at once. All frames of one read are echoed with one write. A pipe
//! message holds one frame or several; the pipes are in byte-read mode.

use crate::Failure;
use crate::frames::{Inbox, Replies};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr::null;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use windows_sys::Win32::Foundation::{
    ERROR_FILE_NOT_FOUND, ERROR_IO_PENDING, ERROR_PIPE_BUSY, ERROR_PIPE_CONNECTED, HANDLE,
    INVALID_HANDLE_VALUE,
};
use windows_sys::Win32::Storage::FileSystem::{
    FILE_FLAG_OVERLAPPED, PIPE_ACCESS_DUPLEX, ReadFile, SetFileCompletionNotificationModes,
    WriteFile,
};
use windows_sys::Win32::System::IO::{
    CreateIoCompletionPort, GetQueuedCompletionStatus, OVERLAPPED,
};
use windows_sys::Win32::System::Pipes::{
    ConnectNamedPipe, CreateNamedPipeW, PIPE_READMODE_BYTE, PIPE_TYPE_MESSAGE,
    PIPE_UNLIMITED_INSTANCES,
};
use windows_sys::Win32::System::Threading::{
    GetCurrentProcess, GetProcessAffinityMask, INFINITE, SetProcessAffinityMask,
};

/// The buffer size of a pipe in each direction.
const QUOTA: u32 = 64 * 1024;

/// No completion packet for an operation that completes immediately (`winbase.h`).
const FILE_SKIP_COMPLETION_PORT_ON_SUCCESS: u8 = 1;

/// Whether the loop continues without a completion packet after an operation that completes immediately.
fn is_eager() -> bool {
    std::env::var_os("MSGPIPE_FLOOR").is_some_and(|floor| floor == "eager")
}

/// The deadline of a connect while every instance has a client.
const PATIENCE: Duration = Duration::from_secs(10);

/// Opens a blocking connection to the server of this name.
pub fn connect(name: &str) -> io::Result<File> {
    let until = Instant::now() + PATIENCE;
    loop {
        let opened = OpenOptions::new().read(true).write(true).open(path(name));
        let code = opened.as_ref().err().and_then(io::Error::raw_os_error);
        let is_busy = |code: i32| [ERROR_PIPE_BUSY, ERROR_FILE_NOT_FOUND].contains(&(code as u32));
        if !code.is_some_and(is_busy) || until <= Instant::now() {
            return opened;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Two connected blocking streams.
pub fn pair() -> io::Result<(File, File)> {
    static MADE: AtomicUsize = AtomicUsize::new(0);
    let number = MADE.fetch_add(1, Ordering::Relaxed);
    let name = format!("msgpipe.bench.pair.{}.{number}", std::process::id());
    let wide: Vec<u16> = path(&name).encode_utf16().chain([0]).collect();
    // SAFETY: `wide` ends with a zero and outlives the call; no security attributes are passed.
    let handle = unsafe {
        CreateNamedPipeW(
            wide.as_ptr(),
            PIPE_ACCESS_DUPLEX,
            PIPE_TYPE_MESSAGE | PIPE_READMODE_BYTE,
            1,
            QUOTA,
            QUOTA,
            0,
            null(),
        )
    };
    // SAFETY: if the call above has created a handle, this function owns it.
    let server = File::from(unsafe { OwnedHandle::from_raw_handle(created(handle)?) });
    // A client that connects before the server waits for it is connected.
    Ok((connect(&name)?, server))
}

/// Does nothing: a server that has ended leaves no file.
pub fn clean_up(_name: &str) {}

fn path(name: &str) -> String {
    format!(r"\\.\pipe\{name}.bare")
}

/// Serves without end; calls `ready` when clients can connect.
pub fn serve(name: &str, ready: impl FnOnce()) -> Result<(), Failure> {
    let path: Vec<u16> = path(name).encode_utf16().chain([0]).collect();
    // SAFETY: the call creates a new port; no pointer is passed.
    let port = unsafe { CreateIoCompletionPort(INVALID_HANDLE_VALUE, std::ptr::null_mut(), 0, 0) };
    // SAFETY: if the call above has created a handle, this function owns it.
    let port = unsafe { OwnedHandle::from_raw_handle(created(port)?) };
    // The memory that an operation points to stays in its box, which is dropped only between operations.
    let mut connections: Vec<Option<Box<Connection>>> = Vec::new();
    listen(&path, &port, &mut connections)?;
    ready();
    loop {
        let (key, outcome) = next_packet(&port);
        let Some(connection) = connections[key].as_mut() else {
            continue;
        };
        let is_new = matches!(connection.step, Step::Connect);
        let advanced = outcome.and_then(|transferred| connection.advance(transferred));
        if advanced.is_err() {
            connections[key] = None;
        }
        if is_new {
            listen(&path, &port, &mut connections)?;
        }
    }
}

/// Creates an instance that waits for a client.
fn listen(
    path: &[u16],
    port: &OwnedHandle,
    connections: &mut Vec<Option<Box<Connection>>>,
) -> io::Result<()> {
    loop {
        let mut connection = Box::new(Connection::new(path, port, connections.len())?);
        let is_pending = connection.connect()?;
        let is_open = is_pending || connection.advance(0).is_ok();
        connections.push(is_open.then_some(connection));
        if is_pending {
            return Ok(());
        }
    }
}

/// Waits for the next completion packet. Returns its key and the transferred bytes.
fn next_packet(port: &OwnedHandle) -> (usize, io::Result<u32>) {
    let (mut transferred, mut key, mut overlapped) = (0, 0, std::ptr::null_mut());
    // SAFETY: the pointers are to local variables, which outlive the call.
    let done = unsafe {
        GetQueuedCompletionStatus(
            port.as_raw_handle(),
            &mut transferred,
            &mut key,
            &mut overlapped,
            INFINITE,
        )
    };
    let outcome = if done == 0 { Err(io::Error::last_os_error()) } else { Ok(transferred) };
    (key, outcome)
}

/// The operation in flight.
#[derive(Clone, Copy)]
enum Step {
    Connect,
    Read,
    Write,
}

struct Connection {
    eager: bool,
    pipe: OwnedHandle,
    overlapped: OVERLAPPED,
    step: Step,
    inbox: Inbox,
    replies: Replies,
}

impl Connection {
    fn new(path: &[u16], port: &OwnedHandle, key: usize) -> io::Result<Connection> {
        // SAFETY: `path` ends with a zero; no security attributes are passed.
        let pipe = unsafe {
            CreateNamedPipeW(
                path.as_ptr(),
                PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED,
                PIPE_TYPE_MESSAGE | PIPE_READMODE_BYTE,
                PIPE_UNLIMITED_INSTANCES,
                QUOTA,
                QUOTA,
                0,
                null(),
            )
        };
        // SAFETY: if the call above has created a handle, this function owns it.
        let pipe = unsafe { OwnedHandle::from_raw_handle(created(pipe)?) };
        // SAFETY: both handles are open, and the pipe is not associated with a port yet.
        created(unsafe {
            CreateIoCompletionPort(pipe.as_raw_handle(), port.as_raw_handle(), key, 0)
        })?;
        let eager = is_eager();
        let modes = if eager { FILE_SKIP_COMPLETION_PORT_ON_SUCCESS } else { 0 };
        // SAFETY: the handle is open and associated with a port.
        succeeded(unsafe { SetFileCompletionNotificationModes(pipe.as_raw_handle(), modes) })?;
        let (overlapped, inbox, replies) =
            (OVERLAPPED::default(), Inbox::new(), Replies::default());
        Ok(Connection { eager, pipe, overlapped, step: Step::Connect, inbox, replies })
    }

    /// Begins to wait for a client. `false`: a client has connected already.
    fn connect(&mut self) -> io::Result<bool> {
        // SAFETY: the pipe has no operation in flight. The structure does not move until this operation has
        // completed: the connection is in a box, which is kept until then.
        let done = unsafe { ConnectNamedPipe(self.pipe.as_raw_handle(), &mut self.overlapped) };
        match succeeded(done) {
            Err(error) if is(&error, ERROR_PIPE_CONNECTED) => Ok(false),
            Err(error) if is(&error, ERROR_IO_PENDING) => Ok(true),
            done => done.map(|()| true),
        }
    }

    /// Continues after an operation of `transferred` bytes, until another operation is in flight.
    fn advance(&mut self, mut transferred: u32) -> io::Result<()> {
        loop {
            match self.step {
                Step::Connect => {}
                Step::Read => {
                    self.inbox.advance_end(transferred as usize);
                    self.replies.answer(&mut self.inbox);
                }
                Step::Write => self.replies.advance(transferred as usize),
            }
            let (done, immediately) = match self.replies.unsent(&self.inbox).is_empty() {
                true => self.read(),
                false => self.write(),
            };
            match succeeded(done) {
                Ok(()) if self.eager => transferred = immediately,
                Ok(()) => return Ok(()),
                Err(error) if is(&error, ERROR_IO_PENDING) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn read(&mut self) -> (i32, u32) {
        self.step = Step::Read;
        let (room, mut transferred) = (self.inbox.spare(), 0);
        let (to, len) = (room.as_mut_ptr(), room.len() as u32);
        // SAFETY: the pipe has no operation in flight. The buffer is neither accessed nor moved until this
        // operation has completed, and the structure does not move, as in `connect`.
        let done = unsafe {
            ReadFile(self.pipe.as_raw_handle(), to, len, &mut transferred, &mut self.overlapped)
        };
        (done, transferred)
    }

    fn write(&mut self) -> (i32, u32) {
        self.step = Step::Write;
        let (unsent, mut transferred) = (self.replies.unsent(&self.inbox), 0);
        let (from, len) = (unsent.as_ptr(), unsent.len() as u32);
        // SAFETY: as in `read`; the bytes do not change until the operation has completed.
        let done = unsafe {
            WriteFile(self.pipe.as_raw_handle(), from, len, &mut transferred, &mut self.overlapped)
        };
        (done, transferred)
    }
}

fn created(handle: HANDLE) -> io::Result<HANDLE> {
    match handle.is_null() || handle == INVALID_HANDLE_VALUE {
        true => Err(io::Error::last_os_error()),
        false => Ok(handle),
    }
}

fn succeeded(done: i32) -> io::Result<()> {
    if done == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn is(error: &io::Error, code: u32) -> bool {
    error.raw_os_error() == Some(code as i32)
}

/// Two CPUs that this process may run on: one for the client, one for the server.
pub fn two_cpus() -> Option<(usize, usize)> {
    let (mut usable, mut all) = (0, 0);
    // SAFETY: the pseudo-handle refers to this process; the pointers are to local variables.
    let done = unsafe { GetProcessAffinityMask(GetCurrentProcess(), &mut usable, &mut all) };
    let mut cpus = (0..usize::BITS as usize).filter(|cpu| done != 0 && usable & (1 << cpu) != 0);
    Some((cpus.next()?, cpus.next()?))
}

/// Pins this process to a CPU.
pub fn pin(cpu: usize) -> Result<(), Failure> {
    // SAFETY: the pseudo-handle refers to this process.
    Ok(succeeded(unsafe { SetProcessAffinityMask(GetCurrentProcess(), 1 << cpu) })?)
}
