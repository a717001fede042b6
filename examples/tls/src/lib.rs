//! Calls to another machine: the same server and client, over TLS with certificates on both sides.
//!
//! On one machine the system says who the peer is. Over a network its certificate does: a server takes only clients with
//! a certificate of its own authority, and hands their names to its handler. What the system guarantees locally,
//! the peer's user and process, is not known.
#![forbid(unsafe_code)]

pub mod certificates;
mod session;

use certificates::{Failure, server_name};
use msgpipe::{ByteStream, Client, Request, Responder, Server};
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// How long a peer may take for the whole handshake: one that says nothing, or little, must not hold a place for ever.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Connects to a server.
pub fn connect(address: impl ToSocketAddrs, config: Arc<ClientConfig>) -> Result<Client, Failure> {
    let socket = TcpStream::connect(address)?;
    let mut tls = ClientConnection::new(config, server_name()?)?;
    shake_hands(&mut tls, &socket)?;
    Ok(Client::over_stream(stream(tls.into(), socket, "a server over TLS")?)?)
}

/// The clients that are served at once: each has four threads, and up to `Limits::memory`.
const CLIENTS: usize = 64;

/// How long to wait after the system had no descriptor, memory or thread for a client, until some may be free.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves each client on a thread of its own, without end: a client that could not be accepted is written to standard
/// error, and the next one is. `handler` also gets the name in the client's certificate. Of more than 64 clients the
/// others wait to be accepted; a stranger has a place for 10 s at most.
///
/// # Errors
/// None is known: the thread that waits for clients goes on.
pub fn serve(
    listener: &TcpListener,
    config: &Arc<ServerConfig>,
    handler: impl Fn(&str, Request, Responder) + Clone + Send + 'static,
) -> Result<(), Failure> {
    serve_each(listener.incoming(), |socket, place| {
        let (config, handler) = (config.clone(), handler.clone());
        let thread = thread::Builder::new().name("a client over TLS".to_owned());
        let serving = thread.spawn(move || {
            let _place = place;
            if let Err(error) = serve_one(socket, config, handler) {
                eprintln!("a client was refused: {error}");
            }
        });
        serving.map(drop)
    })
}

/// Begins to serve each of these, with a place for as long as that takes.
fn serve_each(
    mut sockets: impl Iterator<Item = io::Result<TcpStream>>,
    mut begin: impl FnMut(TcpStream, Place) -> io::Result<()>,
) -> Result<(), Failure> {
    let (leave, places) = sync_channel(CLIENTS);
    for _ in 0..CLIENTS {
        leave.send(())?;
    }
    loop {
        places.recv()?;
        let place = Place(leave.clone());
        let Some(socket) = sockets.next() else { return Ok(()) };
        if let Err(error) = socket.and_then(|socket| begin(socket, place)) {
            eprintln!("a client was not accepted: {error}");
            if !has_gone(&error) {
                thread::sleep(PAUSE);
            }
        }
    }
}

/// Whether only this client is concerned: it left before it was accepted. Otherwise the next one may fail as well.
fn has_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

/// A place for a client. Dropped, also by a panic or without a thread, it is given back.
struct Place(SyncSender<()>);

impl Drop for Place {
    fn drop(&mut self) {
        // There is room for each of them.
        let _ = self.0.try_send(());
    }
}

fn serve_one(
    socket: TcpStream,
    config: Arc<ServerConfig>,
    handler: impl Fn(&str, Request, Responder),
) -> Result<(), Failure> {
    let mut tls = ServerConnection::new(config)?;
    shake_hands(&mut tls, &socket)?;
    let name = name_of(&tls).ok_or("its certificate has no name")?;
    let server = Server::over_stream(stream(tls.into(), socket, &format!("{name} over TLS"))?)?;
    Ok(server.serve_deferred(move |request, responder| handler(&name, request, responder))?)
}

/// The handshake, in its time. Nothing of the application is sent before it is over.
fn shake_hands<S: rustls::SideData>(
    tls: &mut impl std::ops::DerefMut<Target = rustls::ConnectionCommon<S>>,
    socket: &TcpStream,
) -> Result<(), Failure> {
    socket.set_nodelay(true)?;
    let mut until = Until { socket, at: Instant::now() + HANDSHAKE };
    while tls.is_handshaking() {
        tls.complete_io(&mut until)?;
    }
    // A stream for msgpipe blocks without a time-out: deadlines are its own.
    socket.set_read_timeout(None)?;
    Ok(socket.set_write_timeout(None)?)
}

/// A socket until a deadline. Each read and write has what is left of the time: a peer that sends a byte now and then
/// gains nothing.
struct Until<'a> {
    socket: &'a TcpStream,
    at: Instant,
}

impl Until<'_> {
    fn left(&self) -> io::Result<Option<Duration>> {
        match self.at.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(late()),
            left => Ok(Some(left)),
        }
    }
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("no handshake within {HANDSHAKE:?}"))
}

/// The system's name for the end of a socket's time differs.
fn named(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => late(),
        _ => error,
    }
}

impl Read for Until<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(self.left()?)?;
        self.socket.read(buffer).map_err(named)
    }
}

impl Write for Until<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(self.left()?)?;
        self.socket.write(bytes).map_err(named)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn stream(tls: Connection, socket: TcpStream, name: &str) -> Result<ByteStream, Failure> {
    let closing = socket.try_clone()?;
    let (reader, writer) = session::split(tls, socket);
    let stream = ByteStream::new(reader, writer).named(name);
    Ok(stream.on_close(move || drop(closing.shutdown(Shutdown::Both))))
}

/// The first name that the client's certificate is for. The handshake has checked who has signed it.
fn name_of(tls: &ServerConnection) -> Option<String> {
    let certificate = tls.peer_certificates()?.first()?;
    let parsed = webpki::EndEntityCert::try_from(certificate).ok()?;
    parsed.valid_dns_names().next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// More failures of each kind than there are places, with clients between them.
    #[test]
    fn clients_that_cannot_be_accepted_end_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let rounds = CLIENTS + 1;
        let sockets = (0..rounds).flat_map(|_| {
            [Err(io::ErrorKind::ConnectionAborted.into()), TcpStream::connect(address)]
        });
        let mut begun = 0;
        let began = Instant::now();
        let served = serve_each(sockets, |_socket, _place| {
            begun += 1;
            Err(io::ErrorKind::OutOfMemory.into()) // no thread for it
        });
        served.unwrap();
        assert_eq!(begun, rounds);
        assert!(began.elapsed() >= PAUSE * rounds as u32, "no busy loop");
    }
}
