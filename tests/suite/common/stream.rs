//! The transport over any two streams of bytes: here those of a TCP connection. It has one client.

use super::{Backend, Raw};
use msgpipe::framing::{Framing, Layer, Native};
use msgpipe::{
    ByteStream, Client, ClientOptions, Error, Limits, MessageClient, Peer, Server, ServerOptions,
    StreamServer,
};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A connection. The server's end is used first, and then the client's.
pub struct Stream {
    clients: Mutex<Option<TcpStream>>,
}

/// Two connected sockets.
pub fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (other, _) = listener.accept().unwrap();
    // Otherwise small writes in a row wait for each other.
    one.set_nodelay(true).unwrap();
    other.set_nodelay(true).unwrap();
    (one, other)
}

/// A stream of a socket, whose peer is known to be this user's.
pub fn stream(socket: TcpStream) -> ByteStream {
    let (reader, writer) = (socket.try_clone().unwrap(), socket.try_clone().unwrap());
    let mut peer = Peer::default();
    peer.same_user = true;
    ByteStream::new(reader, writer)
        .with_peer(peer)
        .on_close(move || drop(socket.shutdown(Shutdown::Both)))
}

impl Stream {
    fn servers(&self) -> ByteStream {
        let (client, server) = pair();
        *self.clients.lock().unwrap() = Some(client);
        stream(server)
    }

    fn client(&self) -> TcpStream {
        self.clients.lock().unwrap().take().expect("a stream has one client")
    }
}

impl Backend for Stream {
    type Messages = StreamServer;

    const MAY_BE_SHARED: bool = false;

    fn new() -> Stream {
        Stream { clients: Mutex::default() }
    }

    fn listen(&self, limits: &Limits) -> Result<StreamServer, Error> {
        ServerOptions::new().limits(limits.clone()).over_stream_messages(self.servers())
    }

    fn listen_in(&self, framing: Arc<dyn Framing>, limits: &Limits) -> Result<StreamServer, Error> {
        let options = ServerOptions::new().limits(limits.clone()).framing(framing);
        options.over_stream_messages(self.servers())
    }

    fn listen_for_calls(&self, limits: &Limits) -> StreamServer {
        self.listen_in(Arc::new(Native::new(Layer::Calls, limits.message)), limits).unwrap()
    }

    fn serve_calls(&self, limits: &Limits) -> Result<Server<StreamServer>, Error> {
        ServerOptions::new().limits(limits.clone()).over_stream(self.servers())
    }

    fn message_client(&self, limits: &Limits) -> Result<MessageClient, Error> {
        let options = ClientOptions::new().limits(limits.clone());
        options.over_stream_messages(stream(Stream::client(self)))
    }

    fn client(&self, limits: &Limits) -> Result<Client, Error> {
        ClientOptions::new().limits(limits.clone()).over_stream(stream(Stream::client(self)))
    }

    fn raw(&self) -> Raw {
        Raw::socket(Stream::client(self))
    }
}
