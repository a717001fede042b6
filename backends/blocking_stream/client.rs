//! The client's role on a stream.

use super::pump::{Link, State};
use crate::byte_stream::ByteStream;
use crate::client_stream::ClientStream;
use crate::peer::Peer;
use bytes::BytesMut;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::Arc;
use std::time::Instant;

/// A client's connection over a stream.
pub(super) struct StreamClient {
    link: Arc<Link>,
    peer: Peer,
}

impl StreamClient {
    /// Starts the threads of a connection.
    pub fn start(stream: ByteStream) -> io::Result<StreamClient> {
        let peer = stream.peer.clone();
        Ok(StreamClient { link: Link::start(stream)?, peer })
    }

    /// Waits until `is_met`, until `deadline` at the latest. `Interrupted`: woken instead, by this flag.
    fn wait(
        &self,
        deadline: Option<Instant>,
        woken: impl Fn(&mut State) -> &mut bool,
        is_met: impl Fn(&State) -> bool,
    ) -> io::Result<()> {
        let mut state = self.link.lock();
        while !is_met(&state) {
            if deadline.is_some_and(|at| at <= Instant::now()) {
                return Err(ErrorKind::TimedOut.into());
            }
            if std::mem::take(woken(&mut state)) {
                return Err(ErrorKind::Interrupted.into());
            }
            state = self.link.wait(state, deadline);
        }
        Ok(())
    }
}

impl ClientStream for StreamClient {
    fn read(&self, buffer: &mut BytesMut, deadline: Option<Instant>) -> io::Result<usize> {
        loop {
            match self.link.read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => return read,
            }
            self.wait(deadline, |state| &mut state.woken, State::is_readable)?;
        }
    }

    fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.link.write(slices)
    }

    /// The writing thread has not written it yet, and needs nobody for it. Who waited here for that thread would leave the
    /// next messages to a thread that may not come. A crash of this process in this moment loses what is queued.
    fn is_sent(&self) -> bool {
        true
    }

    fn wait_writable(&self, or_readable: bool, deadline: Option<Instant>) -> io::Result<()> {
        let is_met = |state: &State| {
            state.is_writable() || state.is_closed() || or_readable && state.is_readable()
        };
        match self.wait(deadline, |state| &mut state.writer_woken, is_met) {
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            waited => waited,
        }
    }

    fn wake(&self) {
        self.link.wake();
    }

    fn shutdown(&self) {
        self.link.shutdown();
    }

    fn peer(&self) -> &Peer {
        &self.peer
    }
}

impl Drop for StreamClient {
    fn drop(&mut self) {
        self.link.shutdown();
        self.link.flush();
    }
}
