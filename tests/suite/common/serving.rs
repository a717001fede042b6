//! A server for calls on a separate thread.

use super::{Backend, PATIENCE};
use msgpipe::{Connection, Limits, MessageServer, Request, Responder, Server, Stopper, Workers};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

/// A server on a separate thread, stopped at the end of the test.
pub struct Serving {
    stopper: Stopper,
    thread: Option<JoinHandle<()>>,
}

impl Serving {
    pub fn start<M: MessageServer + Send + 'static>(
        server: Server<M>,
        handler: impl FnMut(Request, Responder) + Send + 'static,
    ) -> Serving {
        let stopper = server.stopper();
        let thread = thread::spawn(move || server.serve_deferred(handler).unwrap());
        Serving { stopper, thread: Some(thread) }
    }

    /// A server with workers.
    pub fn workers<M: MessageServer + Send + 'static>(
        server: Server<M>,
        workers: Workers,
        handler: impl Fn(Request, Responder) + Send + Sync + 'static,
    ) -> Serving {
        let stopper = server.stopper();
        let thread =
            thread::spawn(move || server.serve_workers_deferred(workers, handler).unwrap());
        Serving { stopper, thread: Some(thread) }
    }

    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// A server that echoes, and passes on its clients.
    pub fn passing_clients<B: Backend>(
        backend: &B,
        limits: &Limits,
    ) -> (Serving, mpsc::Receiver<Connection>) {
        let (give, clients) = mpsc::channel();
        let server = backend.serve_calls(limits).unwrap();
        let server = server.on_connected(move |client| give.send(client.clone()).unwrap());
        let serving = Serving::start(server, |request, responder| {
            responder.reply(request.into_body());
        });
        (serving, clients)
    }

    pub fn echo<B: Backend>(backend: &B, limits: &Limits) -> Serving {
        let server = backend.serve_calls(limits).unwrap();
        let stopper = server.stopper();
        let thread = thread::spawn(move || server.serve(|request| request.body()).unwrap());
        Serving { stopper, thread: Some(thread) }
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
    let mut limits = Limits::default();
    limits.call = PATIENCE;
    limits
}
