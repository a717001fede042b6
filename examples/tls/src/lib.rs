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
use std::net::{Shutdown, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

/// How long a peer may take for the handshake: one that says nothing must not hold a thread for ever.
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

/// Serves each client on a thread of its own, as long as the listener accepts. `handler` also gets the name in the
/// client's certificate. Of more than 64 clients the others wait to be accepted.
pub fn serve(
    listener: &TcpListener,
    config: &Arc<ServerConfig>,
    handler: impl Fn(&str, Request, Responder) + Clone + Send + 'static,
) -> Result<(), Failure> {
    let (leave, left) = sync_channel(CLIENTS);
    for (number, socket) in listener.incoming().enumerate() {
        if number >= CLIENTS {
            left.recv()?;
        }
        let (socket, config, handler) = (socket?, config.clone(), handler.clone());
        let leaving = Leaving(leave.clone());
        thread::Builder::new().name("a client over TLS".to_owned()).spawn(move || {
            let _leaving = leaving;
            if let Err(error) = serve_one(socket, config, handler) {
                eprintln!("a client was refused: {error}");
            }
        })?;
    }
    Ok(())
}

/// Gives a client's place back, also after a panic.
struct Leaving(SyncSender<()>);

impl Drop for Leaving {
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
    socket.set_read_timeout(Some(HANDSHAKE))?;
    socket.set_write_timeout(Some(HANDSHAKE))?;
    while tls.is_handshaking() {
        let mut socket = socket;
        tls.complete_io(&mut socket)?;
    }
    // A stream for msgpipe blocks without a time-out: deadlines are its own.
    socket.set_read_timeout(None)?;
    Ok(socket.set_write_timeout(None)?)
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
