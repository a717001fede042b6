//! A transport made outside this crate, from its public items only: bytes through channels. It
//! shows that the traits are complete: the calls of `Server` and `Client` run on it.

use bytes::{Bytes, BytesMut};
use msgpipe::framing::{Decoder, Encoder, Framing, Native, SendQueue};
use msgpipe::{
    Client, ClientStream, CloseReason, ConnectionId, Error, Event, Goodbye, Limits, MessageServer,
    Peer, Refusal, SendError, Server, Waker,
};
use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind, IoSlice};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// The items that clients and wakers put into the server's one channel.
enum Input {
    New(ConnectionId, Out),
    Bytes(ConnectionId, Vec<u8>),
    Gone(ConnectionId),
    Wake,
}

struct Connection {
    decoder: Box<dyn Decoder>,
    encoder: Box<dyn Encoder>,
    arrived: BytesMut,
    out: Out,
    peer: Peer,
}

/// The bytes that a server has sent to one client.
#[derive(Default)]
struct Sent {
    bytes: BytesMut,
    ended: bool,
    woken: bool,
}

/// Its two ends. Dropping the server's is its end.
struct Out(Arc<(Mutex<Sent>, Condvar)>);

impl Out {
    fn change(&self, change: impl FnOnce(&mut Sent)) {
        change(&mut self.0.0.lock().unwrap());
        self.0.1.notify_all();
    }

    fn send(&self, queue: &SendQueue) {
        self.change(|sent| sent.bytes.extend_from_slice(&queue.to_bytes()));
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        self.change(|sent| sent.ended = true);
    }
}

struct ChannelServer {
    framing: Native,
    input: Receiver<Input>,
    sender: Sender<Input>,
    connections: HashMap<ConnectionId, Connection>,
    events: VecDeque<Event>,
    accepting: bool,
}

/// The source of a `ChannelServer`'s clients.
#[derive(Clone)]
struct Dialer {
    server: Sender<Input>,
    next: Arc<AtomicU64>,
}

impl ChannelServer {
    fn new(framing: Native) -> (ChannelServer, Dialer) {
        let (sender, input) = mpsc::channel();
        let dialer = Dialer { server: sender.clone(), next: Arc::default() };
        let (connections, events) = (HashMap::new(), VecDeque::new());
        (ChannelServer { framing, input, sender, connections, events, accepting: true }, dialer)
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::New(id, out) if self.accepting => {
                let mut encoder = self.framing.encoder();
                let mut begin = SendQueue::default();
                encoder.begin(&mut begin);
                out.send(&begin);
                let mut peer = Peer::default();
                peer.pid = Some(std::process::id());
                let connection = Connection {
                    decoder: self.framing.decoder(),
                    encoder,
                    arrived: BytesMut::new(),
                    out,
                    peer,
                };
                self.connections.insert(id, connection);
                self.events.push_back(Event::Connected(id));
            }
            Input::New(..) => {}
            Input::Bytes(id, bytes) => self.decode(id, &bytes),
            Input::Gone(id) => self.end(id, CloseReason::PeerClosed),
            Input::Wake => self.events.push_back(Event::Woken),
        }
    }

    fn decode(&mut self, id: ConnectionId, bytes: &[u8]) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        connection.arrived.extend_from_slice(bytes);
        loop {
            match connection.decoder.decode(&mut connection.arrived) {
                Ok(Some(message)) => self.events.push_back(Event::Message(id, message)),
                Ok(None) => return,
                Err(error) => return self.end(id, error.into()),
            }
        }
    }

    fn end(&mut self, id: ConnectionId, reason: CloseReason) {
        if self.connections.remove(&id).is_some() {
            self.events.push_back(Event::Closed(id, reason));
        }
    }
}

impl MessageServer for ChannelServer {
    fn poll(&mut self, timeout: Option<Duration>) -> Result<Option<Event>, Error> {
        while self.events.is_empty() {
            // The server holds a sender itself, so the channel does not close.
            match self.input.recv_timeout(timeout.unwrap_or(Duration::from_secs(3600))) {
                Ok(input) => self.take(input),
                Err(RecvTimeoutError::Timeout) if timeout.is_some() => return Ok(None),
                Err(_) => {}
            }
        }
        Ok(self.events.pop_front())
    }

    fn send_with_head(
        &mut self,
        to: ConnectionId,
        head: &[u8],
        body: Bytes,
    ) -> Result<(), SendError> {
        let Some(connection) = self.connections.get_mut(&to) else {
            return Err(SendError::new(to, Refusal::Closed, body));
        };
        let mut queue = SendQueue::default();
        if let Err(error) = connection.encoder.encode(head, body.clone().into(), &mut queue) {
            return Err(SendError::new(to, error.into(), body));
        }
        connection.out.send(&queue);
        Ok(())
    }

    fn close(&mut self, id: ConnectionId, why: Goodbye) {
        if let Some(connection) = self.connections.get_mut(&id) {
            let mut queue = SendQueue::default();
            connection.encoder.goodbye(why.code, &why.text, &mut queue);
            connection.out.send(&queue);
            self.end(id, CloseReason::Local);
        }
    }

    fn abort(&mut self, id: ConnectionId) {
        self.end(id, CloseReason::Local);
    }

    fn peer(&self, id: ConnectionId) -> Option<&Peer> {
        self.connections.get(&id).map(|connection| &connection.peer)
    }

    fn stop_accepting(&mut self) {
        self.accepting = false;
    }

    fn waker(&self) -> Waker {
        let sender = Mutex::new(self.sender.clone());
        Waker::new(move || {
            let _ = sender.lock().unwrap().send(Input::Wake);
        })
    }

    fn endpoint(&self) -> &str {
        "channels"
    }
}

/// A client's end.
struct ChannelStream {
    id: ConnectionId,
    server: Mutex<Sender<Input>>,
    input: Arc<(Mutex<Sent>, Condvar)>,
    peer: Peer,
}

impl Dialer {
    fn dial(&self) -> ChannelStream {
        let id = ConnectionId::from_number(self.next.fetch_add(1, Ordering::SeqCst));
        let input = Arc::<(Mutex<Sent>, Condvar)>::default();
        self.server.send(Input::New(id, Out(input.clone()))).unwrap();
        ChannelStream { id, server: Mutex::new(self.server.clone()), input, peer: Peer::default() }
    }
}

impl ClientStream for ChannelStream {
    fn read(&self, buffer: &mut BytesMut, deadline: Option<Instant>) -> io::Result<usize> {
        let mut sent = self.input.0.lock().unwrap();
        while sent.bytes.is_empty() {
            if sent.ended {
                return Ok(0);
            }
            if std::mem::take(&mut sent.woken) {
                return Err(ErrorKind::Interrupted.into());
            }
            let left = deadline.map_or(Duration::from_secs(3600), |at| {
                at.saturating_duration_since(Instant::now())
            });
            if left.is_zero() {
                return Err(ErrorKind::TimedOut.into());
            }
            sent = self.input.1.wait_timeout(sent, left).unwrap().0;
        }
        let len = sent.bytes.len().min(buffer.capacity() - buffer.len());
        buffer.extend_from_slice(&sent.bytes.split_to(len));
        Ok(len)
    }

    fn wake(&self) {
        self.input.0.lock().unwrap().woken = true;
        self.input.1.notify_all();
    }

    fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        let len = bytes.len();
        let sent = self.server.lock().unwrap().send(Input::Bytes(self.id, bytes));
        sent.map(|()| len).map_err(|_| ErrorKind::BrokenPipe.into())
    }

    fn is_sent(&self) -> bool {
        true
    }

    fn wait_writable(&self, _or_readable: bool, _deadline: Option<Instant>) -> io::Result<()> {
        Ok(())
    }

    fn shutdown(&self) {
        let _ = self.server.lock().unwrap().send(Input::Gone(self.id));
    }

    fn peer(&self) -> &Peer {
        &self.peer
    }
}

impl Drop for ChannelStream {
    fn drop(&mut self) {
        self.shutdown();
    }
}

#[test]
fn calls_run_on_a_transport_from_outside() {
    let limits = Limits::default();
    let (messages, dialer) = ChannelServer::new(Native::for_calls(limits.message));
    let server = Server::over(messages, limits.clone());
    assert_eq!(server.endpoint(), "channels");
    let stopper = server.stopper();
    let serving = std::thread::spawn(move || {
        server.serve_deferred(|request, responder| {
            std::thread::spawn(move || responder.reply(request.body().to_ascii_uppercase()));
        })
    });
    std::thread::scope(|scope| {
        for number in 0..4 {
            let client = Client::over(Box::new(dialer.dial()), "channels", limits.clone());
            scope.spawn(move || {
                for round in 0..25 {
                    let request = format!("client {number} round {round}");
                    assert_eq!(client.call(request.clone()).unwrap(), request.to_uppercase());
                }
                assert_eq!(client.call(vec![b'a'; 100_000]).unwrap(), vec![b'A'; 100_000]);
            });
        }
    });
    let client = Client::over(Box::new(dialer.dial()), "channels", limits);
    assert_eq!(client.call("last").unwrap(), "LAST");
    stopper.stop();
    serving.join().unwrap().unwrap();
    let Err(Error::Closed { reason, .. }) = client.call("too late") else { panic!("still served") };
    assert!(reason.to_string().contains("stops"), "{reason}");
}
