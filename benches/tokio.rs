//! Calls of 64 bytes: async and blocking clients and handlers, and tokio's own framed socket, which has no calls, in one run:
//! `cargo bench --features tokio --bench tokio`. Ratios are to that socket.

use msgpipe::Server;
use msgpipe::tokio::Tasks;
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};

const ROUNDS: usize = 5;
const CALLS: usize = 10_000;
const IN_FLIGHT: usize = 128;

fn main() {
    let name = format!("msgpipe.bench.tokio.{}", std::process::id());
    let server = Server::bind(name.as_str()).unwrap();
    let stopper = server.stopper();
    let serving = thread::spawn(move || server.serve(|request| request.body()).unwrap());
    let blocking = msgpipe::Client::connect(name.as_str()).unwrap();
    let handlers = format!("{name}.handlers");
    let server = Server::bind(handlers.as_str()).unwrap();
    let handlers_stopper = server.stopper();
    let handling = thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let serving =
            server.serve_tasks(Tasks::new(), |request| async move { request.into_body() });
        runtime.block_on(serving).unwrap();
    });
    let to_handlers = msgpipe::Client::connect(handlers.as_str()).unwrap();
    let one = Builder::new_current_thread().enable_all().build().unwrap();
    let two = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let connect = || msgpipe::tokio::Client::connect(name.as_str());
    let (on_one, on_two) = (one.block_on(connect()).unwrap(), two.block_on(connect()).unwrap());
    let async_to_handlers =
        one.block_on(msgpipe::tokio::Client::connect(handlers.as_str())).unwrap();
    let mut framed = one.block_on(framed::connect());
    let body = vec![7; 64];
    let mut rows = [
        ("framed socket, one by one", Vec::new()),
        ("framed socket, 128 in flight", Vec::new()),
        ("blocking, one by one", Vec::new()),
        ("async on one thread, one by one", Vec::new()),
        ("async in a task of one thread, one by one", Vec::new()),
        ("async on two threads, one by one", Vec::new()),
        ("blocking to async handlers, one by one", Vec::new()),
        ("async to async handlers, one by one", Vec::new()),
        ("blocking, 128 in flight, batches", Vec::new()),
        ("blocking, 128 in flight", Vec::new()),
        ("async on one thread, 128 in flight", Vec::new()),
        ("async on two threads, 128 in flight", Vec::new()),
        ("blocking to async handlers, 128 in flight", Vec::new()),
        ("async to async handlers, 128 in flight", Vec::new()),
    ];
    // In turn: what else the machine does meets all of them.
    for _ in 0..ROUNDS {
        let times = [
            timed(|| framed::one_by_one(&one, &mut framed, &body)),
            timed(|| framed::in_flight(&one, &mut framed, &body)),
            timed(|| blocking_one_by_one(&blocking, &body)),
            timed(|| one_by_one(&one, &on_one, &body)),
            timed(|| in_a_task(&one, &on_one, &body)),
            timed(|| one_by_one(&two, &on_two, &body)),
            timed(|| blocking_one_by_one(&to_handlers, &body)),
            timed(|| one_by_one(&one, &async_to_handlers, &body)),
            timed(|| batches(&blocking, &body)),
            timed(|| started(&blocking, &body)),
            timed(|| in_flight(&one, &on_one, &body)),
            timed(|| in_flight(&two, &on_two, &body)),
            timed(|| started(&to_handlers, &body)),
            timed(|| in_flight(&one, &async_to_handlers, &body)),
        ];
        for (row, time) in rows.iter_mut().zip(times) {
            row.1.push(time);
        }
    }
    print(&mut rows);
    drop((blocking, on_one, on_two, to_handlers, async_to_handlers));
    stopper.stop();
    handlers_stopper.stop();
    serving.join().unwrap();
    handling.join().unwrap();
}

/// The median of each row, and its ratio to the first row of its kind.
fn print(rows: &mut [(&str, Vec<Duration>)]) {
    rows.iter_mut().for_each(|row| row.1.sort());
    let median = |row: usize| rows[row].1[ROUNDS / 2].as_nanos() as f64 / 1000.0;
    for (at, (row, _)) in rows.iter().enumerate() {
        let floor = median(usize::from(row.contains("128")));
        println!("{row:44} {:8.2} µs a call {:6.2}", median(at), median(at) / floor);
    }
}

/// The time of one of the calls.
fn timed(calls: impl FnOnce()) -> Duration {
    let began = Instant::now();
    calls();
    began.elapsed() / CALLS as u32
}

fn blocking_one_by_one(client: &msgpipe::Client, body: &[u8]) {
    (0..CALLS).for_each(|_| drop(client.call(body).unwrap()));
}

fn one_by_one(runtime: &Runtime, client: &msgpipe::tokio::Client, body: &[u8]) {
    runtime.block_on(async {
        for _ in 0..CALLS {
            client.call(body).await.unwrap();
        }
    });
}

/// As handlers and most other code run: not in the future that the runtime was started with.
fn in_a_task(runtime: &Runtime, client: &msgpipe::tokio::Client, body: &[u8]) {
    let (client, body) = (client.clone(), body.to_vec());
    let calls = runtime.spawn(async move {
        for _ in 0..CALLS {
            client.call(&body[..]).await.unwrap();
        }
    });
    runtime.block_on(calls).unwrap();
}

fn batches(client: &msgpipe::Client, body: &[u8]) {
    for _ in 0..CALLS / IN_FLIGHT {
        let mut batch = client.batch();
        for _ in 0..IN_FLIGHT {
            batch.add(body);
        }
        batch.send().unwrap().into_iter().for_each(|call| drop(call.wait().unwrap()));
    }
}

fn started(client: &msgpipe::Client, body: &[u8]) {
    for _ in 0..CALLS / IN_FLIGHT {
        let calls: Vec<_> = (0..IN_FLIGHT).map(|_| client.start(body).unwrap()).collect();
        calls.into_iter().for_each(|call| drop(call.wait().unwrap()));
    }
}

fn in_flight(runtime: &Runtime, client: &msgpipe::tokio::Client, body: &[u8]) {
    runtime.block_on(async {
        for _ in 0..CALLS / IN_FLIGHT {
            let mut calls = Vec::with_capacity(IN_FLIGHT);
            for _ in 0..IN_FLIGHT {
                calls.push(client.start(body).await.unwrap());
            }
            for call in calls {
                call.await.unwrap();
            }
        }
    });
}

/// Messages with a length before each, as tokio-util frames them over a Unix domain socket (TCP on Windows): what
/// a program would write by hand. Requests and replies are told apart by their order alone.
mod framed {
    use super::{CALLS, IN_FLIGHT};
    use bytes::Bytes;
    use futures_util::{SinkExt, StreamExt};
    use tokio::runtime::{Builder, Runtime};
    use tokio_util::codec::{Framed, LengthDelimitedCodec};

    #[cfg(unix)]
    pub type Socket = tokio::net::UnixStream;
    #[cfg(windows)]
    pub type Socket = tokio::net::TcpStream;

    pub type Client = Framed<Socket, LengthDelimitedCodec>;

    #[cfg(unix)]
    fn pair() -> (std::os::unix::net::UnixStream, std::os::unix::net::UnixStream) {
        std::os::unix::net::UnixStream::pair().unwrap()
    }

    #[cfg(windows)]
    fn pair() -> (std::net::TcpStream, std::net::TcpStream) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.set_nodelay(true).unwrap();
        (client, listener.accept().unwrap().0)
    }

    /// Starts a server that echoes, and connects to it.
    pub async fn connect() -> Client {
        let (ours, theirs) = pair();
        ours.set_nonblocking(true).unwrap();
        theirs.set_nonblocking(true).unwrap();
        std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let socket = Socket::from_std(theirs).unwrap();
                let mut framed = Framed::new(socket, LengthDelimitedCodec::new());
                while let Some(Ok(request)) = framed.next().await {
                    // What has arrived is answered together.
                    framed.feed(request.freeze()).await.unwrap();
                    if framed.read_buffer().is_empty() {
                        SinkExt::<Bytes>::flush(&mut framed).await.unwrap();
                    }
                }
            });
        });
        Framed::new(Socket::from_std(ours).unwrap(), LengthDelimitedCodec::new())
    }

    pub fn one_by_one(runtime: &Runtime, client: &mut Client, body: &[u8]) {
        runtime.block_on(async {
            for _ in 0..CALLS {
                client.send(Bytes::copy_from_slice(body)).await.unwrap();
                client.next().await.unwrap().unwrap();
            }
        });
    }

    pub fn in_flight(runtime: &Runtime, client: &mut Client, body: &[u8]) {
        runtime.block_on(async {
            for _ in 0..CALLS / IN_FLIGHT {
                for _ in 0..IN_FLIGHT {
                    client.feed(Bytes::copy_from_slice(body)).await.unwrap();
                }
                SinkExt::<Bytes>::flush(client).await.unwrap();
                for _ in 0..IN_FLIGHT {
                    client.next().await.unwrap().unwrap();
                }
            }
        });
    }
}
