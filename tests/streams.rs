//! Connections over any two streams of bytes: streams that fail, that panic, that stop. `tests/suite` runs its cases on one.

use msgpipe::{
    ByteStream, Client, ClientOptions, CloseReason, Error, ErrorReply, Limits, Server,
    ServerOptions, monitor,
};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// The queue of each direction.
const QUEUE: usize = 64 * 1024;

fn limits() -> Limits {
    Limits::default().with_call(PATIENCE)
}

fn client(stream: ByteStream) -> Client {
    ClientOptions::new().limits(limits()).over_stream(stream).unwrap()
}

fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (one, listener.accept().unwrap().0)
}

fn over(socket: TcpStream) -> ByteStream {
    let (reader, writer) = (socket.try_clone().unwrap(), socket.try_clone().unwrap());
    ByteStream::new(reader, writer).on_close(move || drop(socket.shutdown(Shutdown::Both)))
}

/// Reads nothing until its sender is dropped; then the end. Says when it is dropped.
struct Silent {
    ends: Receiver<()>,
    gone: Option<Sender<()>>,
}

impl Drop for Silent {
    fn drop(&mut self) {
        drop(self.gone.take());
    }
}

impl Read for Silent {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        let _ = self.ends.recv();
        Ok(0)
    }
}

/// What the reader and the writer of a connection do at each call.
struct Does<F>(F);

impl<F: FnMut() -> io::Result<usize>> Read for Does<F> {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        (self.0)()
    }
}

impl<F: FnMut() -> io::Result<usize>> Write for Does<F> {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        (self.0)()
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn fails(kind: io::ErrorKind) -> impl FnMut() -> io::Result<usize> {
    move || Err(kind.into())
}

fn panics() -> io::Result<usize> {
    std::panic::resume_unwind(Box::new("as it is to"))
}

/// A reader that is silent until the returned sender is dropped, and a receiver that ends when the reader is dropped.
fn silent() -> (Silent, Sender<()>, Receiver<()>) {
    let ((end, ends), (gone, goes)) = (mpsc::channel(), mpsc::channel());
    (Silent { ends, gone: Some(gone) }, end, goes)
}

/// Neither a call nor a serve waits for a stream that has failed, whatever its error.
#[test]
fn a_stream_that_fails_or_panics_ends_the_connection() {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, TimedOut, WouldBlock};
    for kind in [BrokenPipe, ConnectionReset, TimedOut, WouldBlock] {
        let error = client(ByteStream::new(Does(fails(kind)), io::sink())).call("hello");
        let error = error.unwrap_err();
        assert!(matches!(error, Error::Closed { .. }), "{kind}: {error}");
        let (reader, _end, _) = silent();
        let error = client(ByteStream::new(reader, Does(fails(kind)))).call("hello").unwrap_err();
        assert!(matches!(error, Error::Closed { .. }), "{kind}: {error}");
        let server = Server::over_stream(ByteStream::new(Does(fails(kind)), io::sink()));
        server.unwrap().serve(|request| request.body()).unwrap();
        let (reader, _end, _) = silent();
        let server = Server::over_stream(ByteStream::new(reader, Does(fails(kind))));
        server.unwrap().serve(|request| request.body()).unwrap();
    }
    let error = client(ByteStream::new(Does(panics), io::sink())).call("hello").unwrap_err();
    assert!(error.to_string().contains("the reader panicked"), "{error}");
    let (reader, _end, _) = silent();
    let error = client(ByteStream::new(reader, Does(panics))).call("hello").unwrap_err();
    assert!(error.to_string().contains("the writer panicked"), "{error}");
}

/// Garbage is named, and ends the connection.
#[test]
fn other_bytes_than_the_protocol_are_a_clear_error() {
    let garbage = io::Cursor::new(b"Welcome to this machine!\n".repeat(10));
    let error = client(ByteStream::new(garbage, io::sink()).named("ssh host")).call("hello");
    let error = error.unwrap_err();
    assert!(matches!(error, Error::Closed { reason: CloseReason::Peer(_), .. }), "{error}");
    assert!(error.to_string().starts_with("ssh host: "), "{error}");
}

/// The writer takes so much and then waits: what is queued has a limit, and the time of a call holds.
#[test]
fn what_a_peer_does_not_take_has_a_limit_and_deadlines_hold() {
    struct Stuck(Arc<(Mutex<usize>, Condvar)>);
    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (left, changed) = &*self.0;
            let mut left = left.lock().unwrap();
            while *left == 0 {
                left = changed.wait(left).unwrap();
            }
            let taken = bytes.len().min(*left);
            *left -= taken;
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (reader, end, gone) = silent();
    let left = Arc::new((Mutex::new(100), Condvar::new()));
    let closed = Arc::new(AtomicUsize::new(0));
    let stream = ByteStream::new(reader, Stuck(left.clone())).on_close({
        let closed = closed.clone();
        move || {
            closed.fetch_add(1, Ordering::SeqCst);
        }
    });
    let hasty = limits().with_call(Duration::from_millis(50));
    let client = ClientOptions::new().limits(hasty).over_stream_messages(stream).unwrap();
    let started = Instant::now();
    // Each is small enough to need no preface of the peer.
    let mut sent = 0;
    while client.send(vec![0; 200]).is_ok() {
        sent += 200;
        assert!(sent <= QUEUE + 100, "{sent} bytes were taken");
    }
    assert!(sent > QUEUE * 9 / 10, "only {sent} bytes were taken");
    assert!(started.elapsed() < PATIENCE / 2);
    assert_eq!(closed.load(Ordering::SeqCst), 0);
    drop(client);
    // The rest is still written, then the stream is closed.
    *left.0.lock().unwrap() = usize::MAX;
    left.1.notify_all();
    let started = Instant::now();
    while closed.load(Ordering::SeqCst) == 0 {
        assert!(started.elapsed() < PATIENCE, "it was not closed");
        thread::yield_now();
    }
    drop(end);
    assert!(gone.recv_timeout(PATIENCE).is_err(), "the reader was kept");
}

/// Both threads of both ends end, and with them what they hold.
#[test]
fn closing_leaves_nothing() {
    struct Counted {
        socket: TcpStream,
        _count: Arc<()>,
    }
    impl Read for Counted {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.socket.read(buffer)
        }
    }
    impl Write for Counted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.socket.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            self.socket.flush()
        }
    }
    let count = Arc::new(());
    for by_client in [true, false] {
        let (here, there) = sockets();
        let counted = |socket: &TcpStream| Counted {
            socket: socket.try_clone().unwrap(),
            _count: count.clone(),
        };
        let stream = |socket: TcpStream| {
            ByteStream::new(counted(&socket), counted(&socket))
                .on_close(move || drop(socket.shutdown(Shutdown::Both)))
        };
        let server = Server::over_stream(stream(there)).unwrap();
        let stopper = server.stopper();
        let serving = thread::spawn(move || server.serve(|request| request.body()));
        let client = client(stream(here));
        assert_eq!(client.call("hello").unwrap(), "hello");
        if !by_client {
            stopper.stop();
            // One that the server has read before it sees that it is to stop, it answers.
            while client.call("is it there?").is_ok() {}
        }
        drop(client);
        serving.join().unwrap().unwrap();
        let started = Instant::now();
        while Arc::strong_count(&count) > 1 {
            assert!(started.elapsed() < PATIENCE, "{} are kept", Arc::strong_count(&count) - 1);
            thread::yield_now();
        }
    }
}

/// What was sent just before the end arrives.
#[test]
fn a_last_notification_arrives() {
    for _ in 0..50 {
        let (here, there) = sockets();
        let (heard, hears) = mpsc::channel();
        let server = Server::over_stream(over(there)).unwrap();
        let server = server.on_notification(move |said| heard.send(said.body()).unwrap());
        let serving = thread::spawn(move || server.serve(|request| request.body()));
        let client = client(over(here));
        client.notify("the last word").unwrap();
        drop(client);
        serving.join().unwrap().unwrap();
        assert_eq!(hears.recv().unwrap(), "the last word");
    }
}

#[test]
fn a_peer_is_unknown_unless_the_application_knows_it_and_may_be_refused() {
    let (here, there) = sockets();
    let options = ServerOptions::new().authorize(|peer| peer.same_user);
    let server = options.over_stream(over(there)).unwrap();
    let serving = thread::spawn(move || server.serve(|request| request.body()));
    let error = client(over(here)).call("hello").unwrap_err();
    assert!(error.to_string().contains("may not connect"), "{error}");
    serving.join().unwrap().unwrap();
}

/// `echo … | program stdio` with an end of the input right behind the request.
#[test]
fn a_half_closed_stream_is_answered_if_enabled() {
    let (here, there) = sockets();
    let server = ServerOptions::new().half_close().over_stream(over(there)).unwrap();
    let (asked, asks) = mpsc::channel();
    let serving = thread::spawn(move || {
        server.serve_deferred(move |request, responder| asked.send((request, responder)).unwrap())
    });
    let half = here.try_clone().unwrap();
    let client = client(over(here));
    let call = client.start("hello").unwrap();
    let (request, responder) = asks.recv_timeout(PATIENCE).unwrap();
    half.shutdown(Shutdown::Write).unwrap();
    responder.reply(request.into_body());
    assert_eq!(call.wait().unwrap(), "hello");
    serving.join().unwrap().unwrap();
}

/// A stream does not say whose program is at its other end.
#[test]
fn a_server_shows_nothing_of_itself_to_a_stranger() {
    let (one, other) = sockets();
    let server = Server::over_stream(over(other)).unwrap();
    let serving = thread::spawn(move || server.serve(|request| request.body()));
    let client = client(over(one));
    assert_eq!(client.with_method(monitor::PING).call("hello").unwrap(), "hello");
    let error = client.with_method(monitor::INFO).call("").unwrap_err();
    assert_eq!(error.reply().map(|reply| reply.code), Some(ErrorReply::NOT_ALLOWED), "{error}");
    let mut parts = client.with_method(monitor::TAP).stream("").unwrap();
    let error = parts.next_within(PATIENCE).unwrap_err();
    assert_eq!(error.reply().map(|reply| reply.code), Some(ErrorReply::NOT_ALLOWED), "{error}");
    drop((parts, client));
    serving.join().unwrap().unwrap();
}
