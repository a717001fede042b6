//! The client for messages.

use super::channel::{Channel, Failure, Inbox};
use crate::client_stream::ClientStream;
use crate::endpoint::Endpoint;
use crate::error::{CloseReason, Error};
use crate::framing::{Framing, FramingError, Layer, Native};
use crate::limits::Limits;
use crate::message_server::Peer;
use crate::options::ClientOptions;
use bytes::Bytes;
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A connection to a [`MessageServer`](crate::MessageServer): whole messages, both ways, with
/// nothing between them and the application.
///
/// It blocks. Cloning is cheap and shares the connection, so that one thread can send while another
/// receives. See [`MessageServer`](crate::MessageServer) for an example of both ends.
#[derive(Clone)]
pub struct MessageClient {
    inner: Arc<Inner>,
    /// How long sending may take.
    timeout: Duration,
}

struct Inner {
    channel: Channel,
    arrived: Arrived,
    endpoint: Arc<str>,
}

impl MessageClient {
    /// Connects to the server at `endpoint` with the default [`Limits`]. Blocks while it is busy.
    ///
    /// # Errors
    /// As [`Client::connect`](crate::Client::connect).
    ///
    /// ```no_run
    /// let client = msgpipe::MessageClient::connect("com.example.chat")?;
    /// client.send("hello, everyone")?;
    /// println!("{:?}", client.receive(None)?);
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    pub fn connect<E>(endpoint: E) -> Result<MessageClient, Error>
    where
        E: TryInto<Endpoint>,
        Error: From<E::Error>,
    {
        MessageClient::connect_with(endpoint, Limits::default())
    }

    /// Connects with limits of one's own.
    ///
    /// # Errors
    /// As [`Client::connect`](crate::Client::connect).
    pub fn connect_with<E>(endpoint: E, limits: Limits) -> Result<MessageClient, Error>
    where
        E: TryInto<Endpoint>,
        Error: From<E::Error>,
    {
        ClientOptions::new().limits(limits).connect_messages(endpoint)
    }

    /// A client over a stream that is connected already; `endpoint` is its name in errors.
    pub fn over(stream: Box<dyn ClientStream>, endpoint: &str, limits: Limits) -> MessageClient {
        let framing = Native::new(Layer::Messages, limits.clamped().message);
        MessageClient::over_framing(stream, &framing, endpoint, &limits)
    }

    /// As [`over`](MessageClient::over), in another framing than this crate's own.
    ///
    /// ```
    /// use msgpipe::framing::Lines;
    /// use msgpipe::{Event, Limits, MessageClient, MessageServer, memory};
    ///
    /// let (hub, lines, limits) = (memory::Hub::new(), Lines::new(80), Limits::default());
    /// let mut server = hub.listen_with("lines", limits.clone(), std::sync::Arc::new(lines))?;
    /// let stream = Box::new(hub.connect("lines")?);
    /// let client = MessageClient::over_framing(stream, &lines, "lines in memory", &limits);
    /// client.send("hello")?;
    /// assert!(matches!(server.poll(None)?, Some(Event::Connected(_))));
    /// assert!(matches!(server.poll(None)?, Some(Event::Message(_, line)) if line == "hello"));
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    pub fn over_framing(
        stream: Box<dyn ClientStream>,
        framing: &dyn Framing,
        endpoint: &str,
        limits: &Limits,
    ) -> MessageClient {
        let limits = limits.clamped();
        let channel = Channel::new(stream, framing);
        let arrived =
            Arrived { state: Mutex::default(), changed: Condvar::new(), limit: limits.queued };
        let inner = Inner { channel, arrived, endpoint: endpoint.into() };
        MessageClient { inner: Arc::new(inner), timeout: limits.call }
    }

    /// Sends a message. Blocks while the server does not take it, [`Limits::call`] at most; what
    /// the server sends meanwhile is kept for [`receive`](MessageClient::receive), up to
    /// [`Limits::queued`] bytes.
    ///
    /// # Errors
    /// [`Error::TooLarge`] and [`Error::Unsendable`] for one that was not sent, [`Error::Deadline`] for
    /// one that may have been begun and then goes on with the next, [`Error::Closed`] when the
    /// connection has ended.
    pub fn send(&self, message: impl Into<Bytes>) -> Result<(), Error> {
        let (inner, message) = (&self.inner, message.into());
        let (size, limit) = (message.len(), inner.channel.limit());
        let endpoint = inner.endpoint.clone();
        if size > limit {
            return Err(Error::TooLarge { endpoint, size, limit, message });
        }
        let deadline = Instant::now().checked_add(self.timeout);
        inner.open()?;
        match inner.channel.send([([], message.clone())], deadline, &inner.arrived) {
            Ok(()) => Ok(()),
            Err(Failure::Closed(reason)) => Err(inner.close(reason)),
            Err(Failure::Refused(FramingError::TooLarge { size, limit })) => {
                let size = usize::try_from(size).unwrap_or(usize::MAX);
                Err(Error::TooLarge { endpoint, size, limit, message })
            }
            Err(Failure::Refused(problem)) => Err(Error::Unsendable { endpoint, problem, message }),
            Err(_) => Err(Error::Deadline { endpoint, after: self.timeout }),
        }
    }

    /// Waits for the next message, at most for `timeout`; without one, until there is a message.
    ///
    /// # Errors
    /// [`Error::Deadline`] when none came in time, [`Error::Closed`] when the connection has ended
    /// and every message before its end has been received.
    pub fn receive(&self, timeout: Option<Duration>) -> Result<Bytes, Error> {
        let inner = &self.inner;
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            match inner.arrived.next_or_lead(deadline) {
                Next::Message(message) => return Ok(message),
                Next::Closed(reason) => return Err(inner.closed(reason)),
                Next::Lead => {
                    let received = inner.channel.receive(deadline, &inner.arrived);
                    inner.arrived.stop_leading();
                    if let Err(Failure::Closed(reason)) = received {
                        inner.close(reason);
                    }
                }
                Next::Deadline => {
                    let (endpoint, after) = (inner.endpoint.clone(), timeout.unwrap_or_default());
                    return Err(Error::Deadline { endpoint, after });
                }
            }
        }
    }

    /// Who serves, as the operating system told it when the connection was made.
    pub fn server(&self) -> &Peer {
        self.inner.channel.stream.peer()
    }
}

impl fmt::Debug for MessageClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoint = &self.inner.endpoint;
        f.debug_struct("MessageClient").field("endpoint", endpoint).finish_non_exhaustive()
    }
}

impl Inner {
    fn open(&self) -> Result<(), Error> {
        let closed = self.arrived.lock().closed.clone();
        closed.map_or(Ok(()), |reason| Err(self.closed(reason)))
    }

    fn close(&self, reason: CloseReason) -> Error {
        if self.arrived.close(&reason) {
            self.channel.close(&reason);
        }
        self.closed(reason)
    }

    fn closed(&self, reason: CloseReason) -> Error {
        Error::closed(&self.endpoint, reason)
    }
}

/// Messages that have been read and not been asked for yet.
struct Arrived {
    state: Mutex<State>,
    changed: Condvar,
    /// So many bytes are kept while a message is being sent.
    limit: usize,
}

#[derive(Default)]
struct State {
    messages: VecDeque<Bytes>,
    bytes: usize,
    /// A thread reads.
    led: bool,
    closed: Option<CloseReason>,
}

enum Next {
    Message(Bytes),
    Closed(CloseReason),
    Lead,
    Deadline,
}

impl Arrived {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next message, or the right to read, whichever comes first.
    fn next_or_lead(&self, deadline: Option<Instant>) -> Next {
        let mut state = self.lock();
        loop {
            if let Some(message) = state.messages.pop_front() {
                state.bytes -= message.len();
                return Next::Message(message);
            }
            if let Some(reason) = &state.closed {
                return Next::Closed(reason.clone());
            }
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Next::Deadline;
            }
            if !state.led {
                state.led = true;
                return Next::Lead;
            }
            state = match left {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(left) => {
                    self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// `false`: it was closed before.
    fn close(&self, reason: &CloseReason) -> bool {
        let mut state = self.lock();
        let first = state.closed.is_none();
        state.closed.get_or_insert_with(|| reason.clone());
        drop(state);
        self.changed.notify_all();
        first
    }
}

impl Inbox for Arrived {
    fn try_lead(&self) -> bool {
        let mut state = self.lock();
        let free = !state.led && state.bytes < self.limit;
        state.led |= free;
        free
    }

    fn stop_leading(&self) {
        self.lock().led = false;
        self.changed.notify_all();
    }

    fn deliver(&self, message: Bytes) -> Result<(), String> {
        let mut state = self.lock();
        state.bytes += message.len();
        state.messages.push_back(message);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framing::{FramingError, SendQueue};
    use bytes::BytesMut;
    use std::io::{self, IoSlice};

    /// A server that has said all it will say.
    struct Script {
        says: Mutex<BytesMut>,
        heard: Arc<Mutex<Vec<u8>>>,
        peer: Peer,
    }

    impl ClientStream for Script {
        fn read(&self, buffer: &mut BytesMut, _deadline: Option<Instant>) -> io::Result<usize> {
            let says = std::mem::take(&mut *self.says.lock().unwrap());
            buffer.extend_from_slice(&says);
            Ok(says.len())
        }

        fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            let mut heard = self.heard.lock().unwrap();
            slices.iter().for_each(|slice| heard.extend_from_slice(slice));
            Ok(slices.iter().map(|slice| slice.len()).sum())
        }

        fn is_sent(&self) -> bool {
            true
        }

        fn wait_writable(&self, _or_readable: bool, _deadline: Option<Instant>) -> io::Result<()> {
            Ok(())
        }

        fn shutdown(&self) {}

        fn peer(&self) -> &Peer {
            &self.peer
        }
    }

    /// What a client receives from such a server, and what the server hears.
    fn receive(says: &[u8]) -> (Error, Vec<u8>) {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let says = Mutex::new(BytesMut::from(says));
        let script = Script { says, heard: heard.clone(), peer: Peer::default() };
        let client = MessageClient::over(Box::new(script), "a script", Limits::default());
        let error = client.receive(None).unwrap_err();
        let heard = heard.lock().unwrap().clone();
        (error, heard)
    }

    fn preface() -> Vec<u8> {
        let mut queue = SendQueue::default();
        Native::new(Layer::Messages, Limits::default().message).encoder().begin(&mut queue);
        queue.to_bytes().to_vec()
    }

    #[test]
    fn a_client_that_only_listens_says_who_it_is() {
        let (error, heard) = receive(b"");
        assert!(matches!(error, Error::Closed { reason: CloseReason::Finished, .. }), "{error}");
        assert_eq!(heard, preface());
    }

    #[test]
    fn a_server_that_breaks_the_rules_is_told_which() {
        let (error, heard) = receive(&[&preface()[..], &[0xFF; 8]].concat());
        let damaged = FramingError::Damaged { what: "header", bytes: vec![0xFF; 8] };
        assert!(
            matches!(&error, Error::Closed { reason: CloseReason::Peer(e), .. } if *e == damaged),
            "{error}"
        );
        let said = String::from_utf8_lossy(&heard);
        assert!(said.contains(&damaged.to_string()), "{said}");
    }
}
