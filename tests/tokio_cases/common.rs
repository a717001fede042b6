//! A server that does what the method of a request says, and runtimes.

use msgpipe::tokio::Client;
use msgpipe::{
    ClientOptions, ErrorReply, Failure, Interrupt, Limits, MessageServer, Request, Responder,
    Server, ServerOptions, Stopper,
};
use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// A deadline that only a failing test reaches, even on a busy machine under Wine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Is answered with the request.
pub const ECHO: u32 = 0;
/// Is not answered; how it ends is reported.
pub const HOLD: u32 = 1;
/// Is answered with an error that has details.
pub const FAIL: u32 = 2;
/// Is answered with as many parts of 1000 bytes as the request says.
pub const PARTS: u32 = 3;
/// Counts the bytes of a request of parts.
pub const COUNT: u32 = 4;
/// Answers each part with the same part.
pub const PARTS_BACK: u32 = 5;
/// Calls the client, and answers with its reply.
pub const CALL_BACK: u32 = 6;
/// Notifies the client as often as the request says, and answers then.
pub const NOTIFY: u32 = 7;
/// Answers to a request of parts at once, and does not take them.
pub const REFUSE: u32 = 8;
/// Parts without an end.
pub const ENDLESS: u32 = 9;

/// What the server saw.
#[derive(Debug, PartialEq)]
pub enum Seen {
    Begun,
    Ended(Interrupt),
    Sent(u64),
    Notified(Vec<u8>),
}

/// A server on a thread.
pub struct Serving {
    pub name: String,
    seen: Mutex<UnboundedReceiver<Seen>>,
    stopper: Stopper,
    thread: Option<JoinHandle<()>>,
}

pub fn unique_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("msgpipe.tokio.{}.{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

impl Serving {
    pub fn start() -> Serving {
        Serving::with(ServerOptions::new())
    }

    pub fn with(options: ServerOptions) -> Serving {
        let name = unique_name();
        let server = options.bind(name.as_str()).unwrap();
        Serving::of(name, server)
    }

    /// A server with this name.
    pub fn at(name: &str) -> Serving {
        Serving::of(name.to_owned(), Server::bind(name).unwrap())
    }

    fn of(name: String, server: Server) -> Serving {
        let (see, seen) = unbounded_channel();
        let stopper = server.stopper();
        let thread = thread::spawn(move || serve(server, see));
        Serving { name, seen: Mutex::new(seen), stopper, thread: Some(thread) }
    }

    pub async fn client(&self) -> Client {
        Client::connect_with(self.name.as_str(), &options()).await.unwrap()
    }

    /// The next that the server saw.
    pub async fn next(&self) -> Seen {
        within(async { self.seen.lock().await.recv().await.unwrap() }).await
    }

    pub fn stop(&self) {
        self.stopper.stop();
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stopper.stop();
        let joined = self.thread.take().unwrap().join();
        assert!(joined.is_ok() || thread::panicking(), "the server panicked");
    }
}

/// Limits with which a hanging test ends with an error.
pub fn limits() -> Limits {
    Limits::new().with_call(PATIENCE)
}

pub fn options() -> ClientOptions {
    ClientOptions::new().limits(limits())
}

/// Serves until it is stopped.
pub fn serve<M: MessageServer>(server: Server<M>, see: UnboundedSender<Seen>) {
    let mut held = Vec::new();
    let notified = see.clone();
    let server = server.accept_streams().on_notification(move |notification| {
        let _ = notified.send(Seen::Notified(notification.body().to_vec()));
    });
    let served = server.serve_deferred(move |request, responder| match request.method() {
        HOLD => {
            let ended = see.clone();
            responder.on_interrupt(move |why| drop(ended.send(Seen::Ended(why))));
            let _ = see.send(Seen::Begun);
            held.push(responder);
        }
        _ => answer(request, responder, see.clone()),
    });
    served.unwrap();
}

fn answer(request: Request, responder: Responder, see: UnboundedSender<Seen>) {
    let body = request.body();
    let number = || String::from_utf8_lossy(&body).parse::<u64>().unwrap();
    match request.method() {
        ECHO => {
            let metadata = request.metadata();
            responder.with_metadata(metadata).reply(request.into_body());
        }
        FAIL => {
            let error = ErrorReply::new(404, "no such note").with_details("note 7");
            responder.reply(Err::<&str, Failure>(error.into()));
        }
        REFUSE => responder.reply("no more"),
        CALL_BACK => {
            let call = request.connection().start("may I?").unwrap();
            call.then(|answer| responder.reply(answer.map_err(|error| error.to_string())));
        }
        NOTIFY => {
            let (connection, count) = (request.connection(), number());
            thread::spawn(move || {
                for at in 0..count {
                    connection.notify(at.to_string()).unwrap();
                }
                responder.reply("done");
            });
        }
        PARTS | ENDLESS => {
            let count = if request.method() == PARTS { number() } else { u64::MAX };
            thread::spawn(move || {
                let mut parts = responder.into_parts();
                for sent in 0..count {
                    if parts.send(vec![sent as u8; 1000]).is_err() {
                        let _ = see.send(Seen::Sent(sent));
                        return;
                    }
                }
                parts.finish();
            });
        }
        COUNT => {
            let mut parts = request.into_parts();
            thread::spawn(move || {
                let mut count = 0;
                loop {
                    match parts.next_within(PATIENCE) {
                        Ok(Some(part)) => count += part.len(),
                        Ok(None) => return responder.reply(count.to_string()),
                        Err(_) => return drop(see.send(Seen::Sent(count as u64))),
                    }
                }
            });
        }
        PARTS_BACK => {
            let mut parts = request.into_parts();
            thread::spawn(move || {
                let mut back = responder.into_parts();
                while let Ok(Some(part)) = parts.next_within(PATIENCE) {
                    if back.send(part).is_err() {
                        return;
                    }
                }
                back.finish();
            });
        }
        method => panic!("no method {method}"),
    }
}

pub fn one_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

pub fn two_threads() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Runs a case in each kind of runtime.
pub fn on_each<F: Future<Output = ()>>(case: impl Fn() -> F) {
    for runtime in [one_thread(), two_threads()] {
        runtime.block_on(async { within(case()).await });
    }
}

/// The outcome of a future that comes in time.
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it hangs")
}
