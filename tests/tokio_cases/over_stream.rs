//! Clients over any stream: one that ends anywhere, is slow, keeps what was written, or never waits.

use super::common::{
    COUNT, HOLD, PARTS, PATIENCE, Seen, limits, on_each, one_thread, options, serve, within,
};
use msgpipe::tokio::{ByteStream, Client};
use msgpipe::{ClientOptions, CloseReason, Error, Peer, Server, ServerOptions};
use std::io;
use std::net::{Shutdown, TcpListener};
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll, ready};
use std::thread;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, BufWriter, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// A server at the other end of a socket.
struct Other {
    serving: Option<thread::JoinHandle<()>>,
    seen: UnboundedReceiver<Seen>,
}

impl Other {
    async fn next(&mut self) -> Seen {
        within(self.seen.recv()).await.unwrap()
    }

    /// It ends with its only connection.
    async fn ends(mut self) {
        let serving = self.serving.take().unwrap();
        within(tokio::task::spawn_blocking(|| serving.join().unwrap())).await.unwrap();
    }
}

async fn server() -> (TcpStream, Other) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let here = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    here.set_nodelay(true).unwrap();
    let there = listener.accept().unwrap().0;
    there.set_nodelay(true).unwrap();
    let (reader, writer) = (there.try_clone().unwrap(), there.try_clone().unwrap());
    let stream = msgpipe::ByteStream::new(reader, writer)
        .on_close(move || drop(there.shutdown(Shutdown::Both)));
    let (see, seen) = unbounded_channel();
    let server = ServerOptions::new().limits(limits()).over_stream(stream).unwrap();
    let serving = thread::spawn(move || serve(server, see));
    (here, Other { serving: Some(serving), seen })
}

fn over(stream: impl AsyncRead + AsyncWrite + Send + 'static) -> Client {
    Client::over_stream_with(ByteStream::new(stream).named("the test's"), &options()).unwrap()
}

/// What a stream does otherwise than the one behind it.
struct Strange {
    inner: TcpStream,
    /// It ends after so many bytes.
    left: usize,
    /// A write takes so many.
    takes: usize,
    /// Only each second write is taken; the others are to be tried again at once.
    is_slow: bool,
    is_turn: bool,
    /// Nothing more is taken.
    is_stuck: bool,
    /// Instead of waiting for bytes it says that it was interrupted.
    is_restless: bool,
}

impl Strange {
    fn new(inner: TcpStream) -> Strange {
        Strange {
            inner,
            left: usize::MAX,
            takes: usize::MAX,
            is_slow: false,
            is_turn: false,
            is_stuck: false,
            is_restless: false,
        }
    }
}

impl AsyncRead for Strange {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = buffer.remaining().min(self.left);
        if room == 0 {
            return Poll::Ready(Ok(()));
        }
        let mut bytes = vec![0; room];
        let mut part = ReadBuf::new(&mut bytes);
        let read = Pin::new(&mut self.inner).poll_read(context, &mut part);
        if read.is_pending() && self.is_restless {
            return Poll::Ready(Err(io::ErrorKind::Interrupted.into()));
        }
        ready!(read)?;
        self.left -= part.filled().len();
        buffer.put_slice(part.filled());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Strange {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.is_turn = !self.is_turn;
        if self.is_stuck || self.is_slow && self.is_turn {
            if !self.is_stuck {
                context.waker().wake_by_ref();
            }
            return Poll::Pending;
        }
        let most = bytes.len().min(self.takes);
        Pin::new(&mut self.inner).poll_write(context, &bytes[..most])
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

/// All that a client does.
async fn does_all(client: &Client) {
    assert_eq!(client.call("hello").await.unwrap(), "hello");
    let large = vec![7; 300_000];
    assert_eq!(client.call(large.clone()).await.unwrap(), large);
    let mut parts = client.with_method(PARTS).stream("20").await.unwrap();
    let mut count = 0;
    while let Some(part) = parts.next().await {
        assert_eq!(part.unwrap().len(), 1000);
        count += 1;
    }
    assert_eq!(count, 20);
    let mut upload = client.with_method(COUNT).upload().unwrap();
    for _ in 0..5 {
        upload.send(vec![1; 10_000]).await.unwrap();
    }
    assert_eq!(upload.finish().unwrap().await.unwrap(), "50000");
    client.notify("heard").await.unwrap();
    assert_eq!(client.call("the end").await.unwrap(), "the end");
}

#[test]
fn a_client_over_a_stream_does_all_and_ends_with_its_last_handle() {
    on_each(|| async {
        let (socket, mut other) = server().await;
        let client = over(socket);
        within(does_all(&client)).await;
        assert_eq!(other.next().await, Seen::Notified(b"heard".to_vec()));
        assert_eq!(client.endpoint(), "the test's");
        let counts = client.counts();
        assert_eq!((counts.calls.begun, counts.calls.open(), counts.notifications_sent), (5, 0, 1));
        drop(client);
        other.ends().await;
    });
}

/// The system says nothing of the peer: it is nobody, unless the application says who.
#[test]
fn the_peer_of_a_stream_is_unknown_unless_it_is_said() {
    on_each(|| async {
        let (socket, other) = server().await;
        let client = over(socket);
        assert!(!client.server().same_user && client.server().pid.is_none());
        drop(client);
        other.ends().await;
        let (socket, other) = server().await;
        let mut peer = Peer::default();
        peer.pid = Some(77);
        let stream = ByteStream::new(socket).with_peer(peer);
        let client = Client::over_stream(stream).unwrap();
        assert_eq!((client.server().pid, client.endpoint()), (Some(77), "a stream"));
        drop(client);
        other.ends().await;
    });
}

#[test]
fn a_stream_needs_a_runtime_and_a_framing_that_carries_calls() {
    let pair = || ByteStream::new(tokio::io::join(tokio::io::empty(), tokio::io::sink()));
    let error = Client::over_stream(pair().named("nowhere")).unwrap_err();
    assert!(matches!(error, Error::Misuse { .. }) && error.to_string().contains("nowhere"));
    let lines = ClientOptions::new().framing(msgpipe::framing::Lines::new(100));
    let error = Client::over_stream_with_driver(pair(), &lines).unwrap_err();
    assert!(matches!(error, Error::Misuse { .. }), "{error}");
    let messages = ClientOptions::new().framing(msgpipe::framing::OsMessage::new(100));
    let error = Client::over_stream_with_driver(pair(), &messages).unwrap_err();
    assert!(matches!(error, Error::System { .. }), "{error}");
    // With the driver in hand it needs none yet.
    assert!(Client::over_stream_with_driver(pair(), &ClientOptions::new()).is_ok());
}

/// Cut after each number of bytes, so in the middle of each frame: every call ends, and none hangs.
#[test]
fn a_stream_that_ends_anywhere_ends_all_calls() {
    on_each(|| async {
        let mut whole = 0;
        for left in 0.. {
            let (socket, other) = server().await;
            let client = over(Strange { left, ..Strange::new(socket) });
            let (one, two) =
                within(async { tokio::join!(client.call("one"), client.call("two")) }).await;
            for outcome in [&one, &two] {
                match outcome {
                    Ok(reply) => assert_eq!(reply.len(), 3),
                    Err(Error::Closed { reason, .. }) => {
                        assert!(!matches!(reason, CloseReason::Local | CloseReason::Protocol(_)));
                    }
                    Err(error) => panic!("{left}: {error}"),
                }
            }
            whole += u32::from(one.is_ok() && two.is_ok());
            drop(client);
            other.ends().await;
            if whole == 3 {
                assert!(left > 30, "{left}");
                break;
            }
        }
    });
}

/// The server's direction ends, and this one is open still: there is nobody who would answer.
#[test]
fn a_half_close_of_the_server_ends_the_connection() {
    on_each(|| async {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let here = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let there = listener.accept().unwrap().0;
        let client = over(here);
        let call = client.start("nobody answers").await.unwrap();
        there.shutdown(Shutdown::Write).unwrap();
        let error = within(call).await.unwrap_err();
        assert!(error.to_string().contains("the server has ended"), "{error}");
        assert!(matches!(client.close_reason(), Some(CloseReason::PeerClosed)));
        assert!(client.call("late").await.unwrap_err().is_not_begun());
    });
}

#[test]
fn a_slow_stream_carries_all() {
    on_each(|| async {
        for takes in [1000, 70_000, usize::MAX] {
            let (socket, mut other) = server().await;
            let slow = Strange { takes, is_slow: true, ..Strange::new(socket) };
            let client = over(slow);
            within(does_all(&client)).await;
            assert_eq!(other.next().await, Seen::Notified(b"heard".to_vec()));
            drop(client);
            other.ends().await;
        }
    });
}

/// Nothing of what is sent is taken: times are kept, uploads wait, and nothing grows.
#[test]
fn a_stuck_stream_ends_calls_at_their_time_and_makes_uploads_wait() {
    on_each(|| async {
        let (socket, other) = server().await;
        let client = over(Strange { is_stuck: true, ..Strange::new(socket) });
        let short = client.with_timeout(Duration::from_millis(20));
        let error = within(short.call("late")).await.unwrap_err();
        assert!(matches!(error, Error::Deadline { .. }), "{error}");
        let mut upload = client.with_method(COUNT).upload().unwrap();
        let mut sent = 0;
        let send = async {
            loop {
                upload.send(vec![1; 10_000]).await.unwrap();
                sent += 10_000;
            }
        };
        assert!(tokio::time::timeout(Duration::from_millis(200), send).await.is_err());
        assert!(sent <= 512 * 1024, "{sent}");
        // The driver goes on for its second, and ends.
        let began = Instant::now();
        drop((client, short, upload));
        other.ends().await;
        assert!(began.elapsed() < PATIENCE / 2);
    });
}

/// A stream that keeps what was written until it is flushed, also the last words of a client that is dropped.
#[test]
fn a_stream_that_keeps_what_was_written_is_flushed() {
    on_each(|| async {
        let (socket, mut other) = server().await;
        let client = over(BufWriter::with_capacity(1 << 20, socket));
        within(does_all(&client)).await;
        assert_eq!(other.next().await, Seen::Notified(b"heard".to_vec()));
        client.notify("last words").await.unwrap();
        drop(client);
        assert_eq!(other.next().await, Seen::Notified(b"last words".to_vec()));
        other.ends().await;
    });
}

/// On one thread: a stream that always has something to do lets others run.
#[test]
fn a_restless_stream_does_not_hold_its_thread() {
    one_thread().block_on(within(async {
        let (socket, other) = server().await;
        let client = over(Strange { is_restless: true, ..Strange::new(socket) });
        for _ in 0..50 {
            tokio::task::yield_now().await;
            assert_eq!(client.call("between").await.unwrap(), "between");
        }
        drop(client);
        other.ends().await;
    }));
}

/// A stream that panics ends its connection, and all calls.
#[test]
fn a_stream_that_panics_ends_all_calls() {
    struct Panics;
    impl AsyncRead for Panics {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            panic!("of the test")
        }
    }
    on_each(|| async {
        let client = over(tokio::io::join(Panics, tokio::io::sink()));
        let error = within(client.call("hello")).await.unwrap_err();
        assert!(matches!(error, Error::Closed { .. }), "{error}");
        assert!(client.is_closed());
    });
}

#[test]
fn a_runtime_that_ends_ends_calls_over_a_stream() {
    let drives = one_thread();
    let (client, mut other) = drives.block_on(async {
        let (socket, mut other) = server().await;
        let client = over(socket);
        let held = client.with_method(HOLD).start("held").await.unwrap();
        assert_eq!(other.next().await, Seen::Begun);
        held.detach();
        (client, other)
    });
    drop(drives);
    assert!(client.is_closed());
    one_thread().block_on(async {
        assert!(matches!(other.next().await, Seen::Ended(_)));
        assert!(client.call("late").await.unwrap_err().is_not_begun());
        other.ends().await;
    });
}

const CHILD: &str = "MSGPIPE_TOKIO_TEST_SERVES_ITS_PARENT";

/// This test program, as a child whose standard input and error are the stream: its output is the test runner's.
#[test]
fn a_child_plays_its_role() {
    if std::env::var_os(CHILD).is_some() {
        let stream = msgpipe::ByteStream::new(io::stdin(), io::stderr());
        let server = Server::over_stream(stream).unwrap();
        server.serve(|request| request.body()).unwrap();
    }
}

#[test]
fn the_standard_streams_of_a_child_are_a_stream() {
    on_each(|| async {
        let mut child = tokio::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "tokio_cases::over_stream::a_child_plays_its_role", "--nocapture"])
            .env(CHILD, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (writer, reader) = (child.stdin.take().unwrap(), child.stderr.take().unwrap());
        let client = over(tokio::io::join(reader, writer));
        let large = vec![3; 500_000];
        let (one, two) =
            within(async { tokio::join!(client.call("hello"), client.call(large.clone())) }).await;
        assert_eq!((one.unwrap(), two.unwrap()), ("hello".into(), large.into()));
        // Its end is the end of the child.
        drop(client);
        assert!(within(child.wait()).await.unwrap().success());
    });
}
