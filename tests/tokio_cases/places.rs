//! Servers in two places, on whose tasks the cases of async handlers run.

use super::common::{limits, unique_name, within};
use msgpipe::tokio::Tasks;
use msgpipe::{
    Client, ClientOptions, Error, Limits, LocalServer, MessageServer, Server, ServerOptions,
    Stopper, memory,
};
use tokio::task::JoinHandle;

/// Where a server is, and how a client comes there.
pub trait Place: Clone + Send + Sync + 'static {
    type Messages: MessageServer + Send + 'static;
    fn new() -> Self;
    fn server(&self, limits: Limits) -> Server<Self::Messages>;
    fn client(&self) -> Client;
}

/// On Unix its loop runs in the task.
#[derive(Clone)]
pub struct Local(pub String);

impl Place for Local {
    type Messages = LocalServer;

    fn new() -> Local {
        Local(unique_name())
    }

    fn server(&self, limits: Limits) -> Server {
        ServerOptions::new().limits(limits).bind(self.0.as_str()).unwrap()
    }

    fn client(&self) -> Client {
        ClientOptions::new().limits(limits()).connect(self.0.as_str()).unwrap()
    }
}

/// Its loop has a thread.
#[derive(Clone)]
pub struct Memory(memory::Hub);

impl Place for Memory {
    type Messages = memory::MemoryServer;

    fn new() -> Memory {
        Memory(memory::Hub::new())
    }

    fn server(&self, limits: Limits) -> Server<memory::MemoryServer> {
        Server::over(self.0.listen_for_calls("tasks", limits.clone()).unwrap(), limits)
    }

    fn client(&self) -> Client {
        Client::over(Box::new(self.0.connect("tasks").unwrap()), "tasks", limits())
    }
}

/// Runs each case with both kinds of servers.
macro_rules! handler_cases {
    ($($case:ident,)*) => {
        mod over_the_system {
            $(#[test] fn $case() { super::$case::<crate::tokio_cases::places::Local>(); })*
        }
        mod in_memory {
            $(#[test] fn $case() { super::$case::<crate::tokio_cases::places::Memory>(); })*
        }
    };
}

pub(super) use handler_cases;

/// Blocking work of the test's clients.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    within(tokio::task::spawn_blocking(work)).await.unwrap()
}

/// A server that echoes on a task.
pub fn echo<P: Place>(place: &P) -> (Stopper, JoinHandle<Result<(), Error>>) {
    let server = place.server(limits());
    let stopper = server.stopper();
    let serving = tokio::spawn(server.serve_tasks(Tasks::new(), |request| async move {
        tokio::task::yield_now().await;
        request.into_body()
    }));
    (stopper, serving)
}
