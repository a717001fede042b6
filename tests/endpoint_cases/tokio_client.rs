//! A whole async client that is fed by a hostile server. Its tasks and its driver are polled by hand, each whenever it was
//! woken; the clock of the runtime does not go on meanwhile.

use super::hostile::{Plain, limits};
use super::played::Server;
use super::script::Script;
use bytes::Bytes;
use msgpipe::framing::LengthPrefix;
use msgpipe::tokio::{ByteStream, Client, Driver};
use msgpipe::{ClientOptions, Error, ServerMessage};
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::{Builder, Runtime};

/// The steps of a program, and the rounds of polls between two of them.
const STEPS: usize = 60;
const ROUNDS_MAX: usize = 10_000;

/// The time of a call. The tests never wait so long: the connection ends before.
const LONG: Duration = Duration::from_secs(600);

const SIZES: [usize; 10] = [0, 1, 10, 239, 240, 241, 1000, 20_000, 40_000, 70_001];

thread_local! {
    /// Has the timers. Nobody drives it, so no timer goes off.
    static RUNTIME: Runtime =
        Builder::new_current_thread().enable_time().build().expect("a runtime without I/O");
}

/// The client's stream.
struct Stream {
    server: Server,
    /// Who waits for bytes or room.
    waiting: Arc<Wakers>,
}

/// Those who wait.
struct Wakers(Mutex<Vec<Waker>>);

impl Wakers {
    fn add(&self, context: &Context<'_>) {
        self.0.lock().expect("no panic in between").push(context.waker().clone());
    }

    fn wake(&self) {
        let wakers = std::mem::take(&mut *self.0.lock().expect("no panic in between"));
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut bytes = vec![0; buffer.remaining()];
        let Some(read) = self.server.lock().read(&mut bytes) else {
            self.waiting.add(context);
            return Poll::Pending;
        };
        Poll::Ready(read.map(|count| buffer.put_slice(&bytes[..count])))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Some(written) = self.server.lock().write(slices) else {
            self.waiting.add(context);
            return Poll::Pending;
        };
        Poll::Ready(written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Whether a future was woken since it was polled.
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}

/// A future that is polled when it was woken.
struct Task<T> {
    future: Pin<Box<dyn Future<Output = T>>>,
    flag: Arc<Flag>,
}

impl<T> Task<T> {
    fn new(future: impl Future<Output = T> + 'static) -> Task<T> {
        Task { future: Box::pin(future), flag: Arc::new(Flag(AtomicBool::new(true))) }
    }

    /// `None`: it was not woken.
    fn poll(&mut self) -> Option<Poll<T>> {
        let is_woken = self.flag.0.swap(false, SeqCst);
        let waker = Waker::from(self.flag.clone());
        is_woken.then(|| self.future.as_mut().poll(&mut Context::from_waker(&waker)))
    }
}

struct App {
    server: Server,
    client: Client,
    driver: Option<Task<()>>,
    tasks: Vec<Task<()>>,
    waiting: Arc<Wakers>,
    limit: usize,
}

/// Runs a client with the server that `bytes` describe.
pub fn check(bytes: &[u8]) {
    RUNTIME.with(|runtime| {
        let _entered = runtime.enter();
        run(bytes);
    });
}

fn run(bytes: &[u8]) {
    let mut script = Script::new(bytes);
    let limits = limits(&mut script).with_call(LONG);
    let framing = script.of(&[Plain::Native, Plain::Native, Plain::Native, Plain::Prefix]);
    let limit = limits.message;
    let options = ClientOptions::new().limits(limits);
    let options = match framing {
        Plain::Native => options,
        Plain::Prefix => options.framing(LengthPrefix::big_endian(40_000)),
    };
    let server = Server::new(&bytes[bytes.len() - script.left()..], framing);
    let waiting = Arc::new(Wakers(Vec::new().into()));
    let stream = Stream { server: server.clone(), waiting: waiting.clone() };
    let made = Client::over_stream_with_driver(ByteStream::new(stream), &options);
    let (client, driver): (Client, Driver) = made.expect("the framing carries calls");
    let driver = Some(Task::new(async move { drop(driver.await) }));
    let mut app = App { server, client, driver, tasks: Vec::new(), waiting, limit };
    for _ in 0..STEPS {
        if app.server.lock().script_is_over() {
            break;
        }
        app.step();
        app.polls();
    }
    app.finish();
}

impl App {
    /// Polls whoever was woken, until nobody was.
    fn polls(&mut self) {
        for round in 0.. {
            assert!(round < ROUNDS_MAX, "they wake each other for ever");
            let mut is_woken = false;
            if let Some(polled) = self.driver.as_mut().and_then(Task::poll) {
                is_woken = true;
                if polled.is_ready() {
                    self.driver = None;
                }
            }
            self.tasks.retain_mut(|task| {
                let polled = task.poll();
                is_woken |= polled.is_some();
                !matches!(polled, Some(Poll::Ready(())))
            });
            if !is_woken {
                return;
            }
        }
    }

    fn step(&mut self) {
        let (choice, size) = self.server.choose(|script| (script.below(24), script.of(&SIZES)));
        let (client, limit) = (self.asks(), self.limit);
        let body = Bytes::from(vec![b'a'; size]);
        let task: Pin<Box<dyn Future<Output = ()>>> = match choice {
            0..=3 => Box::pin(async move { check_reply(&client.call(body).await, limit) }),
            4 => Box::pin(async move {
                if let Ok(call) = client.start(body).await {
                    call.detach();
                }
            }),
            5 | 6 => Box::pin(async move {
                let Ok(mut parts) = client.stream(body).await else { return };
                while let Some(part) = parts.next().await {
                    check_reply(&part, limit);
                }
            }),
            7 => Box::pin(async move {
                let Ok(mut upload) = client.upload() else { return };
                for _ in 0..3 {
                    let _ = upload.send(body.clone()).await;
                }
                if let Ok(call) = upload.finish() {
                    check_reply(&call.await, limit);
                }
            }),
            8 => Box::pin(async move {
                let Ok((mut upload, mut parts)) = client.duplex() else { return };
                let _ = upload.send(body).await;
                check_reply(&parts.next().await.unwrap_or(Ok(Bytes::new())), limit);
                let _ = upload.end();
            }),
            9 => Box::pin(async move { drop(client.notify(body).await) }),
            10 | 11 => Box::pin(async move {
                let Ok(mut incoming) = client.incoming() else { return };
                let mut kept = Vec::new();
                while let Some(Ok(message)) = incoming.next().await {
                    match message {
                        ServerMessage::Request(it) if it.body().len() % 2 == 0 => it.reply("yes"),
                        other => kept.push(other),
                    }
                    if kept.len() > 3 {
                        kept.clear();
                    }
                }
            }),
            12 | 13 => {
                // What is dropped at any place of its way is cancelled.
                let at = self.server.choose(|script| script.below(8));
                if at < self.tasks.len() {
                    drop(self.tasks.swap_remove(at));
                }
                return;
            }
            14 if self.server.choose(|script| script.once_in(16)) => return self.client.close(),
            _ => return self.happens(),
        };
        self.tasks.push(Task::new(task));
    }

    fn happens(&mut self) {
        let mut server = self.server.lock();
        server.happens();
        server.makes_room();
        drop(server);
        self.waiting.wake();
    }

    fn asks(&self) -> Client {
        let method = self.server.choose(|script| script.of(&[0, 0, 1, 7, 0xFFFF_FF01]));
        self.client.with_method(method)
    }

    /// The connection has ended: everything ends.
    fn finish(mut self) {
        self.polls();
        self.server.lock().end();
        self.waiting.wake();
        self.polls();
        assert!(self.driver.is_none(), "the driver does not end");
        assert!(self.tasks.is_empty(), "{} calls do not end", self.tasks.len());
        assert!(self.client.is_closed());
        let client = self.client.clone();
        self.tasks.push(Task::new(async move { assert!(client.call("").await.is_err()) }));
        self.polls();
        assert!(self.tasks.is_empty(), "a call after the end does not end");
        let counts = self.client.counts();
        assert_eq!((counts.calls.open(), counts.requests.open()), (0, 0), "{counts:?}");
    }
}

fn check_reply(reply: &Result<Bytes, Error>, limit: usize) {
    match reply {
        Ok(body) => assert!(body.len() <= limit, "a reply over the limit"),
        Err(error) => assert!(!error.to_string().contains('\n'), "{error}"),
    }
}
