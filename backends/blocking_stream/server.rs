//! The server's role on a stream: `crate::connections` with one connection.

use super::pump::Link;
use crate::byte_stream::ByteStream;
use crate::connections::{Connections, ServerStream, is_over};
use crate::framing::{Carrier, Framing, GoodbyeCode, SendQueue};
use crate::goodbye::Goodbye;
use crate::message_server::{ConnectionId, Event, MessageServer, SendError, Waker};
use crate::peer::Peer;
use crate::{Error, Limits, ServerOptions, Share};
use bytes::{Bytes, BytesMut};
use std::fmt;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The only connection.
const ONLY: ConnectionId = ConnectionId::from_number(1);

/// The most slices of one gathering write.
const SLICES: usize = 16;

/// A [`MessageServer`] with one client, over a [`ByteStream`]; [`ServerOptions::over_stream_messages`] returns it.
///
/// Its connection is there from the beginning, and no other follows: once it has ended,
/// [`is_over`](MessageServer::is_over) is true and no event comes any more.
pub struct StreamServer {
    link: Arc<Link>,
    connections: Connections<Accepted>,
    endpoint: Arc<str>,
}

/// The server's end.
struct Accepted {
    link: Arc<Link>,
}

impl StreamServer {
    /// A server of this framing. A client that `authorize` refuses gets a goodbye.
    pub(crate) fn start(
        stream: ByteStream,
        framing: Arc<dyn Framing>,
        options: &ServerOptions,
    ) -> Result<StreamServer, Error> {
        let endpoint = stream.name.clone();
        let failed = |action| {
            let endpoint = endpoint.clone();
            move |source| Error::system(&endpoint, action, source)
        };
        if framing.carrier() != Carrier::Stream {
            let source = ErrorKind::Unsupported.into();
            return Err(failed("carrying whole messages over a stream of bytes")(source));
        }
        let peer = stream.peer.clone();
        let link = Link::start(stream).map_err(failed("starting the threads of a stream"))?;
        let mut connections =
            Connections::new(framing, &options.limits).with_half_close(options.half_close);
        let accepted = Accepted { link: link.clone() };
        if options.admits(&peer) {
            connections.add(ONLY, accepted, peer, true, Instant::now());
        } else {
            let why = format!("{peer} may not connect here");
            connections.refuse(accepted, &Goodbye::new(GoodbyeCode::NOT_AUTHORIZED, why));
        }
        Ok(StreamServer { link, connections, endpoint })
    }

    /// Reports to the connection what has happened since the last call.
    fn collect(&mut self) {
        let mut state = self.link.lock();
        let woken = std::mem::take(&mut state.woken);
        let has_arrived = std::mem::take(&mut state.has_arrived);
        let has_room = std::mem::take(&mut state.has_room);
        let is_ended = state.is_ended();
        drop(state);
        if woken {
            self.connections.push_event(Event::Woken);
        }
        if has_arrived {
            self.connections.readable(ONLY, is_ended);
        }
        if has_room {
            self.connections.writable(ONLY);
        }
        self.connections.begin_turn(Instant::now());
    }
}

impl fmt::Debug for StreamServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamServer").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl MessageServer for StreamServer {
    fn poll(&mut self, timeout: Option<Duration>) -> Result<Option<Event>, Error> {
        let until = timeout.map(Limits::until);
        loop {
            self.collect();
            let now = Instant::now();
            if let Some(event) = self.connections.next(now) {
                return Ok(Some(event));
            }
            let state = self.link.lock();
            let has_news = state.woken || state.has_arrived || state.has_room;
            let is_busy = self.connections.is_busy() || has_news;
            if is_over(until, is_busy, now) {
                return Ok(None);
            }
            if is_busy {
                continue;
            }
            let deadline = [until, self.connections.deadline()].into_iter().flatten().min();
            drop(self.link.wait(state, deadline));
        }
    }

    fn send_with_head(
        &mut self,
        to: ConnectionId,
        head: &[u8],
        body: Bytes,
    ) -> Result<(), SendError> {
        self.connections.send(to, head, body)
    }

    fn close(&mut self, connection: ConnectionId, why: Goodbye) {
        self.connections.close(connection, &why, Instant::now());
    }

    fn abort(&mut self, connection: ConnectionId) {
        self.connections.abort(connection);
    }

    fn is_reachable(&self, connection: ConnectionId) -> bool {
        self.connections.is_reachable(connection)
    }

    fn has_room(&mut self, to: ConnectionId) -> bool {
        self.connections.has_room(to)
    }

    fn wait_for_memory(&mut self, connection: ConnectionId) {
        self.connections.wait_for_memory(connection);
    }

    fn keep_going(&mut self, connection: ConnectionId, keeps_going: bool) {
        self.connections.keep_going(connection, keeps_going);
    }

    fn allow_unread(&mut self, connection: ConnectionId, allowed: bool) {
        self.connections.allow_unread(connection, allowed, Instant::now());
    }

    fn largest_message(&self, to: ConnectionId) -> usize {
        self.connections.largest_message(to)
    }

    fn share(&self, connection: ConnectionId) -> Option<Share> {
        self.connections.share(connection)
    }

    fn peer(&self, connection: ConnectionId) -> Option<&Peer> {
        self.connections.peer(connection)
    }

    fn stop_accepting(&mut self) {}

    fn is_over(&self) -> bool {
        self.connections.len() == 0
    }

    fn waker(&self) -> Waker {
        let link = self.link.clone();
        Waker::new(move || link.wake())
    }

    fn endpoint(&self) -> &str {
        &self.endpoint
    }
}

impl Drop for StreamServer {
    /// Ends the connection, if there still is one.
    fn drop(&mut self) {
        self.link.flush();
        self.connections.clear();
    }
}

impl ServerStream for Accepted {
    fn read(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        self.link.read(buffer)
    }

    fn write(&mut self, queue: &mut SendQueue) -> io::Result<usize> {
        let mut sent = 0;
        while !queue.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let filled = queue.slices(&mut slices);
            match self.link.write(&slices[..filled]) {
                Ok(taken) => {
                    queue.advance(taken);
                    sent += taken;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock && sent > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(sent)
    }

    fn is_sent(&mut self) -> bool {
        self.link.lock().is_sent()
    }

    fn has_gone(&mut self) -> bool {
        self.link.lock().has_gone()
    }

    fn abort(&mut self) {
        self.link.abort();
    }
}

impl Drop for Accepted {
    fn drop(&mut self) {
        self.link.shutdown();
    }
}
