//! The client for messages.

use super::arrived::{Arrived, Next};
use super::channel::{Channel, Failure};
use super::lead::{Inbox as _, Lead};
use super::options::ClientOptions;
use crate::body::IntoBody;
use crate::client_stream::ClientStream;
use crate::clock;
use crate::endpoint::Endpoint;
use crate::error::{CloseReason, Error, Progress};
use crate::framing::{Framing, Layer, Native};
use crate::limits::Limits;
use crate::peer::Peer;
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A connection to a [`MessageServer`](crate::MessageServer), for plain messages in both directions.
///
/// It blocks. A clone is cheap and uses the same connection, so that one thread can send while another
/// receives. [`MessageServer`](crate::MessageServer) has an example of both ends.
#[derive(Clone)]
pub struct MessageClient {
    inner: Arc<Inner>,
    /// The time limit of sending.
    timeout: Duration,
}

struct Inner {
    channel: Channel,
    arrived: Arrived,
    endpoint: Arc<str>,
}

impl MessageClient {
    /// Connects to the server at `endpoint` with the default [`Limits`]. Blocks while the server is busy, at most
    /// for [`Limits::connect`].
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

    /// Connects with the given limits; otherwise as [`connect`](MessageClient::connect).
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

    /// A client over a connected stream. `endpoint` is its name in errors.
    pub fn over(stream: Box<dyn ClientStream>, endpoint: &str, limits: Limits) -> MessageClient {
        let framing = Native::new(Layer::Messages, limits.clamped().message);
        MessageClient::over_framing(stream, framing, endpoint, limits)
    }

    /// As [`over`](MessageClient::over), with another framing.
    pub fn over_framing(
        stream: Box<dyn ClientStream>,
        framing: impl Framing,
        endpoint: &str,
        limits: Limits,
    ) -> MessageClient {
        let limits = limits.clamped();
        let channel = Channel::new(stream, &framing);
        let arrived = Arrived::new(limits.queued);
        channel.begin(&arrived);
        let inner = Inner { channel, arrived, endpoint: endpoint.into() };
        MessageClient { inner: Arc::new(inner), timeout: limits.call }
    }

    /// Sends a message. Blocks while the server does not read, at most for [`Limits::call`]. Messages that
    /// arrive meanwhile are kept for [`receive`](MessageClient::receive), up to [`Limits::queued`] bytes. If the
    /// first message is larger than every server accepts (256 bytes), it waits for the server's preface.
    ///
    /// # Errors
    /// [`Error::TooLarge`] and [`Error::Unsendable`] for a message that was not sent. [`Error::Deadline`] at
    /// the deadline: a part may have been sent, and the next [`receive`](MessageClient::receive) or `send` of
    /// any thread sends the rest. [`Error::Closed`] if the connection has ended.
    pub fn send(&self, message: impl IntoBody) -> Result<(), Error> {
        let (inner, message) = (&self.inner, message.into_body());
        let endpoint = inner.endpoint.clone();
        if let Some(reason) = inner.arrived.closed() {
            return Err(Error::closed(&endpoint, reason, Progress::NotBegun));
        }
        let (began, deadline) = (clock::now(), Some(Limits::until(self.timeout)));
        let mut end = u64::MAX;
        let channel = &inner.channel;
        let takes = || channel.takes(message.len());
        let known = channel.wait_for_peer(deadline, &inner.arrived, takes);
        let sent = known.and_then(|()| {
            channel.send(deadline, &inner.arrived, |filler| {
                end = filler.put(&[], message.clone()).map_err(Failure::Refused)?;
                Ok(())
            })
        });
        match sent {
            Ok(()) => Ok(()),
            Err(Failure::Closed(reason)) => {
                let reason = inner.close(reason);
                let unsent = inner.channel.given.is_surely_unsent(end);
                let progress = if unsent { Progress::NotBegun } else { Progress::of(&reason) };
                Err(Error::closed(&endpoint, reason, progress))
            }
            Err(Failure::Refused(problem)) => {
                Err(Error::refused(&endpoint, problem, message.into_bytes()))
            }
            Err(failure) => Err(Error::late(&endpoint, self.timeout, began, failure.progress())),
        }
    }

    /// Waits for the next message, at most for `timeout`; with `None`, until a message arrives. With a timeout
    /// of zero it reads arrived bytes and does not wait.
    ///
    /// # Errors
    /// [`Error::Deadline`] if no message arrived in time, [`Error::Closed`] if the connection has ended
    /// and every message before its end has been received.
    pub fn receive(&self, timeout: Option<Duration>) -> Result<Bytes, Error> {
        let inner = &self.inner;
        let (began, deadline) = (clock::now(), timeout.map(Limits::until));
        let mut read = false;
        loop {
            match inner.arrived.next_or_lead(deadline, read) {
                Next::Message(message) => return Ok(message),
                Next::Closed(reason) => {
                    let reason = inner.close(reason);
                    return Err(Error::closed(&inner.endpoint, reason, Progress::NoRequest));
                }
                Next::Lead => {
                    // The next pass of the loop returns an error of the connection.
                    let lead = Lead::taken(&inner.channel, &inner.arrived);
                    let _ = inner.channel.receive(&lead, deadline);
                    read = true;
                }
                Next::Deadline => {
                    let given = timeout.unwrap_or_default();
                    return Err(Error::late(&inner.endpoint, given, began, Progress::NoRequest));
                }
            }
        }
    }

    /// The identity of the server, which the operating system gave when the connection was made.
    pub fn server(&self) -> &Peer {
        self.inner.channel.stream.peer()
    }

    /// The endpoint as text.
    pub fn endpoint(&self) -> &str {
        &self.inner.endpoint
    }

    /// Whether the client knows that the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.inner.arrived.closed().is_some()
    }

    /// Closes the connection, for all clones. A thread that waits in [`receive`](MessageClient::receive)
    /// returns with [`CloseReason::Local`].
    pub fn close(&self) {
        self.inner.close(CloseReason::Local);
    }
}

impl fmt::Debug for MessageClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoint = &self.inner.endpoint;
        f.debug_struct("MessageClient").field("endpoint", endpoint).finish_non_exhaustive()
    }
}

impl Inner {
    /// Closes the connection. Returns the reason why it has ended: the first one counts.
    fn close(&self, reason: CloseReason) -> CloseReason {
        self.arrived.end(&reason);
        let reason = self.arrived.closed().unwrap_or(reason);
        self.channel.close(&reason);
        reason
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::CloseReason;
    use crate::framing::{FramingError, SendQueue};
    use bytes::BytesMut;
    use std::io::{self, IoSlice};
    use std::sync::Mutex;
    use std::time::Instant;

    /// A server that sends a fixed sequence of bytes.
    struct Script {
        sends: Mutex<BytesMut>,
        received: Arc<Mutex<Vec<u8>>>,
        peer: Peer,
    }

    impl ClientStream for Script {
        fn read(&self, buffer: &mut BytesMut, _deadline: Option<Instant>) -> io::Result<usize> {
            let sends = std::mem::take(&mut *self.sends.lock().unwrap());
            buffer.extend_from_slice(&sends);
            Ok(sends.len())
        }

        fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            let mut received = self.received.lock().unwrap();
            slices.iter().for_each(|slice| received.extend_from_slice(slice));
            Ok(slices.iter().map(|slice| slice.len()).sum())
        }

        fn is_sent(&self) -> bool {
            true
        }

        fn wait_writable(&self, _or_readable: bool, _deadline: Option<Instant>) -> io::Result<()> {
            Ok(())
        }

        fn wake(&self) {}

        fn shutdown(&self) {}

        fn peer(&self) -> &Peer {
            &self.peer
        }
    }

    /// The error of a client of such a server, and the bytes that the server received.
    fn receive(sends: &[u8]) -> (Error, Vec<u8>) {
        let received = Arc::new(Mutex::new(Vec::new()));
        let sends = Mutex::new(BytesMut::from(sends));
        let script = Script { sends, received: received.clone(), peer: Peer::default() };
        let client = MessageClient::over(Box::new(script), "a script", Limits::default());
        let error = client.receive(None).unwrap_err();
        let received = received.lock().unwrap().clone();
        (error, received)
    }

    fn preface() -> Vec<u8> {
        let mut queue = SendQueue::default();
        Native::new(Layer::Messages, Limits::default().message).encoder().begin(&mut queue);
        queue.to_bytes().to_vec()
    }

    #[test]
    fn a_client_that_only_listens_sends_its_preface() {
        let (error, received) = receive(b"");
        assert!(matches!(error, Error::Closed { reason: CloseReason::PeerClosed, .. }), "{error}");
        assert_eq!(received, preface());
    }

    #[test]
    fn a_server_that_breaks_the_protocol_gets_a_goodbye() {
        let (error, received) = receive(&[&preface()[..], &[0xFF; 8]].concat());
        let damaged = FramingError::Damaged { what: "header", bytes: vec![0xFF; 8] };
        assert!(
            matches!(&error, Error::Closed { reason: CloseReason::Peer(e), .. } if *e == damaged),
            "{error}"
        );
        let text = String::from_utf8_lossy(&received);
        assert!(text.contains(&damaged.to_string()), "{text}");
    }
}
