//! The bare floor on Unix: a single-threaded mio loop that echoes frames over a Unix socket, and a blocking
//! socket as its client.
//!
//! The loop is edge-triggered. Each connection reads into one buffer that it keeps, replies to all frames of
//! one read with one write, and continues to read only when all replies have been sent. A read of fewer bytes
//! than fit has emptied the socket, so no further read follows that would only return `WouldBlock`.

use crate::Failure;
use crate::frames::{Inbox, Replies};
use mio::net::UnixListener;
use mio::{Events, Interest, Poll, Registry, Token};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

const LISTENER: Token = Token(usize::MAX);

/// Opens a blocking connection to the server of this name.
pub fn connect(name: &str) -> io::Result<UnixStream> {
    UnixStream::connect(path(name))
}

/// Two connected blocking streams.
pub fn pair() -> io::Result<(UnixStream, UnixStream)> {
    UnixStream::pair()
}

/// Removes the socket file of a server that has ended.
pub fn clean_up(name: &str) {
    // The server may have ended before it created the file.
    let _ = std::fs::remove_file(path(name));
}

fn path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("{name}.bare"))
}

/// Serves without end; calls `ready` when clients can connect.
pub fn serve(name: &str, ready: impl FnOnce()) -> Result<(), Failure> {
    let mut poll = Poll::new()?;
    let mut listener = UnixListener::bind(path(name))?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(256);
    let mut connections: Vec<Option<Connection>> = Vec::new();
    ready();
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        for event in &events {
            if event.token() == LISTENER {
                accept(&listener, poll.registry(), &mut connections)?;
                continue;
            }
            let slot = &mut connections[event.token().0];
            let Some(connection) = slot else { continue };
            let is_due = event.is_readable() || (event.is_writable() && connection.blocked);
            if is_due && !connection.echo().unwrap_or(false) {
                *slot = None;
            }
        }
    }
}

fn accept(
    listener: &UnixListener,
    registry: &Registry,
    connections: &mut Vec<Option<Connection>>,
) -> io::Result<()> {
    loop {
        let mut stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        let token = Token(connections.len());
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        let (inbox, replies) = (Inbox::new(), Replies::default());
        connections.push(Some(Connection { stream, inbox, replies, blocked: false }));
    }
}

struct Connection {
    stream: mio::net::UnixStream,
    inbox: Inbox,
    replies: Replies,
    /// The socket's send buffer is full.
    blocked: bool,
}

impl Connection {
    /// Reads and replies until the socket is empty or full. `false`: the client has disconnected.
    fn echo(&mut self) -> io::Result<bool> {
        loop {
            self.send()?;
            if self.blocked {
                return Ok(true);
            }
            let room = self.inbox.spare();
            let most = room.len();
            let read = match self.stream.read(room) {
                Ok(0) => return Ok(false),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            };
            self.inbox.advance_end(read);
            self.replies.answer(&mut self.inbox);
            if read < most {
                self.send()?;
                return Ok(true);
            }
        }
    }

    fn send(&mut self) -> io::Result<()> {
        self.blocked = false;
        loop {
            let unsent = self.replies.unsent(&self.inbox);
            if unsent.is_empty() {
                return Ok(());
            }
            match self.stream.write(unsent) {
                Ok(sent) => self.replies.advance(sent),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.blocked = true;
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
    }
}
