//! The bare floor on Windows: a single-threaded overlapped loop on a completion port that echoes
//! frames over message-type pipes, and a blocking handle to it. And the CPUs to keep to, which
//! cannot be asked for without `unsafe` either.
//!
//! One operation is under way on each pipe: connect, then read, write, read ... The end of each is
//! taken from the port; with `MSGPIPE_FLOOR=eager` those that finish at once are gone on from without
//! a look at it. All frames of one read are answered with one write. A pipe message holds one frame or
//! several, as it comes; the pipes are read as bytes.

use crate::Failure;
use crate::frames::{Inbox, Replies};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr::null;
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

/// What a pipe holds in each direction.
const QUOTA: u32 = 64 * 1024;

/// No packet for an operation that has finished at once (`winbase.h`).
const FILE_SKIP_COMPLETION_PORT_ON_SUCCESS: u8 = 1;

/// Whether operations that finish at once are gone on from at once.
fn is_eager() -> bool {
    std::env::var_os("MSGPIPE_FLOOR").is_some_and(|floor| floor == "eager")
}

/// How long a client tries while all instances are taken.
const PATIENCE: Duration = Duration::from_secs(10);

/// A blocking connection to the server of this name.
pub fn connect(name: &str) -> io::Result<File> {
    let until = Instant::now() + PATIENCE;
    loop {
        let opened = OpenOptions::new().read(true).write(true).open(path(name));
        let code = opened.as_ref().err().and_then(io::Error::raw_os_error);
        let is_taken = |code: i32| [ERROR_PIPE_BUSY, ERROR_FILE_NOT_FOUND].contains(&(code as u32));
        if !code.is_some_and(is_taken) || until <= Instant::now() {
            return opened;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A server that was ended leaves nothing behind.
pub fn clean_up(_name: &str) {}

fn path(name: &str) -> String {
    format!(r"\\.\pipe\{name}.bare")
}

/// Serves for ever; calls `ready` when clients may come.
pub fn serve(name: &str, ready: impl FnOnce()) -> Result<(), Failure> {
    let path: Vec<u16> = path(name).encode_utf16().chain([0]).collect();
    // SAFETY: makes a new port; no pointer is passed.
    let port = unsafe { CreateIoCompletionPort(INVALID_HANDLE_VALUE, std::ptr::null_mut(), 0, 0) };
    // SAFETY: a handle that was just made, if it was, is this function's own.
    let port = unsafe { OwnedHandle::from_raw_handle(created(port)?) };
    // What is pointed to by an operation stays in its box, which is dropped between operations.
    let mut connections: Vec<Option<Box<Connection>>> = Vec::new();
    listen(&path, &port, &mut connections)?;
    ready();
    loop {
        let (key, outcome) = next_packet(&port);
        let Some(connection) = connections[key].as_mut() else {
            continue;
        };
        let is_new = matches!(connection.step, Step::Connect);
        let went = outcome.and_then(|moved| connection.go_on(moved));
        if went.is_err() {
            connections[key] = None;
        }
        if is_new {
            listen(&path, &port, &mut connections)?;
        }
    }
}

/// Makes an instance that waits for a client.
fn listen(
    path: &[u16],
    port: &OwnedHandle,
    connections: &mut Vec<Option<Box<Connection>>>,
) -> io::Result<()> {
    loop {
        let mut connection = Box::new(Connection::new(path, port, connections.len())?);
        let is_waiting = connection.connect()?;
        let is_there = is_waiting || connection.go_on(0).is_ok();
        connections.push(is_there.then_some(connection));
        if is_waiting {
            return Ok(());
        }
    }
}

/// The key of the next operation that has finished, and the bytes that it moved.
fn next_packet(port: &OwnedHandle) -> (usize, io::Result<u32>) {
    let (mut moved, mut key, mut overlapped) = (0, 0, std::ptr::null_mut());
    // SAFETY: the pointers are to locals, which live until the call returns.
    let done = unsafe {
        GetQueuedCompletionStatus(
            port.as_raw_handle(),
            &mut moved,
            &mut key,
            &mut overlapped,
            INFINITE,
        )
    };
    let outcome = if done == 0 { Err(io::Error::last_os_error()) } else { Ok(moved) };
    (key, outcome)
}

/// What is under way.
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
        // SAFETY: a handle that was just made, if it was, is this function's own.
        let pipe = unsafe { OwnedHandle::from_raw_handle(created(pipe)?) };
        // SAFETY: both handles are open, and the pipe is in no port yet.
        created(unsafe {
            CreateIoCompletionPort(pipe.as_raw_handle(), port.as_raw_handle(), key, 0)
        })?;
        let eager = is_eager();
        let modes = if eager { FILE_SKIP_COMPLETION_PORT_ON_SUCCESS } else { 0 };
        // SAFETY: the handle is open, and its packets go to a port.
        succeeded(unsafe { SetFileCompletionNotificationModes(pipe.as_raw_handle(), modes) })?;
        let (overlapped, inbox, replies) =
            (OVERLAPPED::default(), Inbox::new(), Replies::default());
        Ok(Connection { eager, pipe, overlapped, step: Step::Connect, inbox, replies })
    }

    /// Waits for a client; `false`: one is there already.
    fn connect(&mut self) -> io::Result<bool> {
        // SAFETY: no operation is under way on this pipe; the structure stays where it is until
        // this one has finished, since the connection is in a box that is kept until then.
        let done = unsafe { ConnectNamedPipe(self.pipe.as_raw_handle(), &mut self.overlapped) };
        match succeeded(done) {
            Err(error) if is(&error, ERROR_PIPE_CONNECTED) => Ok(false),
            Err(error) if is(&error, ERROR_IO_PENDING) => Ok(true),
            done => done.map(|()| true),
        }
    }

    /// Goes on from an operation that has moved so many bytes, until one is under way.
    fn go_on(&mut self, mut moved: u32) -> io::Result<()> {
        loop {
            match self.step {
                Step::Connect => {}
                Step::Read => {
                    self.inbox.filled(moved as usize);
                    self.replies.answer(&mut self.inbox);
                }
                Step::Write => self.replies.advance(moved as usize),
            }
            let (done, at_once) = match self.replies.unsent(&self.inbox).is_empty() {
                true => self.read(),
                false => self.write(),
            };
            match succeeded(done) {
                Ok(()) if self.eager => moved = at_once,
                Ok(()) => return Ok(()),
                Err(error) if is(&error, ERROR_IO_PENDING) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn read(&mut self) -> (i32, u32) {
        self.step = Step::Read;
        let (room, mut moved) = (self.inbox.room(), 0);
        let (to, len) = (room.as_mut_ptr(), room.len() as u32);
        // SAFETY: no operation is under way on this pipe. The buffer is neither looked at nor moved
        // before this one has finished, and the structure stays where it is, as for `connect`.
        let done = unsafe {
            ReadFile(self.pipe.as_raw_handle(), to, len, &mut moved, &mut self.overlapped)
        };
        (done, moved)
    }

    fn write(&mut self) -> (i32, u32) {
        self.step = Step::Write;
        let (unsent, mut moved) = (self.replies.unsent(&self.inbox), 0);
        let (from, len) = (unsent.as_ptr(), unsent.len() as u32);
        // SAFETY: as for `read`; the bytes are not changed before the operation has finished.
        let done = unsafe {
            WriteFile(self.pipe.as_raw_handle(), from, len, &mut moved, &mut self.overlapped)
        };
        (done, moved)
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

/// Two CPUs that this process may use: for the client and for the server.
pub fn two_cpus() -> Option<(usize, usize)> {
    let (mut usable, mut all) = (0, 0);
    // SAFETY: the handle stands for this process; the pointers are to locals.
    let done = unsafe { GetProcessAffinityMask(GetCurrentProcess(), &mut usable, &mut all) };
    let mut cpus = (0..usize::BITS as usize).filter(|cpu| done != 0 && usable & (1 << cpu) != 0);
    Some((cpus.next()?, cpus.next()?))
}

/// Keeps this process to a CPU.
pub fn pin(cpu: usize) -> Result<(), Failure> {
    // SAFETY: the handle stands for this process.
    Ok(succeeded(unsafe { SetProcessAffinityMask(GetCurrentProcess(), 1 << cpu) })?)
}
