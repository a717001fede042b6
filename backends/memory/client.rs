//! The client's end of an in-memory connection.

use super::control::Control;
use super::wire::{End, Exchange, State, Wire};
use crate::client_stream::ClientStream;
use crate::clock;
use crate::peer::Peer;
use bytes::BytesMut;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// Which of two threads is woken.
const READER: usize = 0;
const WRITER: usize = 1;

/// A client's connection to a [`MemoryServer`](super::MemoryServer);
/// [`Hub::connect`](super::Hub::connect) returns it. Dropping it closes the connection.
#[derive(Debug)]
pub struct MemoryStream {
    pub(super) exchange: Arc<Exchange>,
    id: u64,
}

impl MemoryStream {
    pub(super) fn new(exchange: Arc<Exchange>, id: u64) -> MemoryStream {
        MemoryStream { exchange, id }
    }

    /// A handle that stalls or resets this connection while it is in use.
    pub fn control(&self) -> Control {
        Control::new(self.exchange.clone(), self.id)
    }

    /// Changes the wire at this end and notifies the server.
    pub(super) fn at_wire<T>(&self, act: impl FnOnce(&mut Wire) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.exchange.lock();
        let done = self.wire(&mut state).and_then(act);
        state.touched.push_back(self.id);
        drop(state);
        self.exchange.notify();
        done
    }

    pub(super) fn wire<'a>(&self, state: &'a mut State) -> io::Result<&'a mut Wire> {
        state.wires.get_mut(&self.id).ok_or_else(|| ErrorKind::NotConnected.into())
    }

    /// Waits until `ready` returns true, until `deadline` at the latest; `Interrupted` if it was woken instead, by this
    /// flag.
    fn wait(
        &self,
        deadline: Option<Instant>,
        woken: usize,
        ready: impl Fn(&Wire) -> bool,
    ) -> io::Result<()> {
        let mut state = self.exchange.lock();
        while !self.wire(&mut state).is_ok_and(|wire| wire.is_closed_here() || ready(wire)) {
            if deadline.is_some_and(|at| at <= clock::now()) {
                return Err(ErrorKind::TimedOut.into());
            }
            if std::mem::take(&mut self.wire(&mut state)?.woken[woken]) {
                return Err(ErrorKind::Interrupted.into());
            }
            state = self.exchange.wait(state, deadline);
        }
        Ok(())
    }
}

impl ClientStream for MemoryStream {
    fn read(&self, buffer: &mut BytesMut, deadline: Option<Instant>) -> io::Result<usize> {
        loop {
            match self.at_wire(|wire| wire.read(End::Client, buffer)) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                done => return done,
            }
            self.wait(deadline, READER, |wire| wire.is_readable(End::Client))?;
        }
    }

    fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let first = slices.iter().find(|slice| !slice.is_empty());
        self.at_wire(|wire| first.map_or(Ok(0), |slice| wire.write(End::Client, slice)))
    }

    fn is_sent(&self) -> bool {
        true
    }

    fn wait_writable(&self, or_readable: bool, deadline: Option<Instant>) -> io::Result<()> {
        let waited = self.wait(deadline, WRITER, |wire| {
            wire.is_writable(End::Client) || (or_readable && wire.is_readable(End::Client))
        });
        match waited {
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            waited => waited,
        }
    }

    fn wake(&self) {
        let mut state = self.exchange.lock();
        if let Ok(wire) = self.wire(&mut state) {
            wire.woken = [true; 2];
        }
        drop(state);
        self.exchange.notify();
    }

    fn shutdown(&self) {
        let mut state = self.exchange.lock();
        state.close(self.id, End::Client);
        state.touched.push_back(self.id);
        drop(state);
        self.exchange.notify();
    }

    fn peer(&self) -> &Peer {
        this_process()
    }
}

impl Drop for MemoryStream {
    fn drop(&mut self) {
        self.shutdown();
    }
}

/// The peer of both ends: this process.
pub(super) fn this_process() -> &'static Peer {
    static PEER: OnceLock<Peer> = OnceLock::new();
    PEER.get_or_init(|| Peer { pid: Some(std::process::id()), same_user: true, ..Peer::default() })
}
