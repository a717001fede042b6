//! A server of msgpipe on a thread of this process, for the measures of streams and subscriptions, and bare sockets
//! beside it.

use crate::{Failure, machine};
use bytes::Bytes;
use msgpipe::{Client, Endpoint, Limits, Server, ServerOptions, Stopper, Topic, WhenFull};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

/// The methods of the server besides the echo.
pub const STREAM: u32 = 1;
pub const SUBSCRIBE: u32 = 2;

/// The size of a part.
pub const PART: usize = 64 << 10;

/// A running server, which ends when this is dropped.
pub struct OwnServer {
    name: String,
    pub topic: Topic,
    stopper: Stopper,
    serving: Option<JoinHandle<()>>,
}

impl OwnServer {
    /// A server that echoes, replies with as many parts as the request says, and takes subscriptions. Its threads run
    /// on this CPU.
    pub fn start(cpu: Option<usize>) -> Result<OwnServer, Failure> {
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let name = format!("msgpipe.bench.own.{}.{number}", std::process::id());
        let server = ServerOptions::new().limits(limits()).bind(Endpoint::name(&name)?)?;
        let topic = Topic::new(WhenFull::Wait);
        let (stopper, subscribers) = (server.stopper(), topic.clone());
        let serving = std::thread::spawn(move || serve(server, &subscribers, cpu));
        Ok(OwnServer { name, topic, stopper, serving: Some(serving) })
    }

    pub fn connect(&self) -> Result<Client, Failure> {
        Ok(Client::connect_with(Endpoint::name(&self.name)?, limits())?)
    }
}

/// As many clients as the measure has.
fn limits() -> Limits {
    Limits::new().with_connections(4096)
}

fn serve(server: Server, topic: &Topic, cpu: Option<usize>) {
    pin(cpu);
    let part = Bytes::from(vec![7; PART]);
    let served = server.serve_deferred(|request, responder| match request.method() {
        SUBSCRIBE => topic.subscribe(responder),
        STREAM => {
            let count = std::str::from_utf8(&request.body()).ok().and_then(|it| it.parse().ok());
            let (mut parts, part) = (responder.into_parts(), part.clone());
            std::thread::spawn(move || {
                pin(cpu);
                let all = (0..count.unwrap_or(0)).try_for_each(|_| parts.send(part.clone()));
                if all.is_ok() {
                    parts.finish();
                }
            });
        }
        _ => responder.reply(request.into_body()),
    });
    if let Err(error) = served {
        eprintln!("ipc: the server has failed: {error}");
    }
}

/// Keeps this thread on a CPU, where that can be done for a thread and not only for the process.
pub fn pin(cpu: Option<usize>) {
    let cpu = cpu.filter(|_| !cfg!(windows));
    if let Some(Err(error)) = cpu.map(machine::pin) {
        eprintln!("ipc: {error}");
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        self.stopper.stop();
        if self.serving.take().is_some_and(|serving| serving.join().is_err()) {
            eprintln!("ipc: the server panicked");
        }
    }
}
