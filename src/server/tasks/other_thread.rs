//! A server whose loop runs on a thread of its own, and whose handlers run in a task.

use super::running::{Running, busy};
use crate::error::Error;
use crate::message_server::MessageServer;
use crate::server::changed::Changed;
use crate::server::responder::{Request, Responder};
use crate::server::{Server, Stopper};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::thread;

/// What the loop hands over to the task.
#[derive(Default)]
struct Handed {
    state: Mutex<State>,
    changed: Changed,
}

#[derive(Default)]
struct State {
    requests: VecDeque<(Request, Responder)>,
    /// Those whose handlers have not ended.
    running: usize,
    ended: Option<Result<(), Error>>,
    /// The task has gone.
    is_left: bool,
}

impl Handed {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hand_over(&self, request: Request, responder: Responder, at_once: usize) {
        let mut state = self.lock();
        if state.is_left {
            // The drop of its responder answers.
            return;
        }
        if state.running + state.requests.len() >= at_once {
            drop(state);
            return responder.refuse(busy(at_once));
        }
        state.requests.push_back((request, responder));
        drop(state);
        drop(self.changed.notify());
    }

    fn end(&self, ended: Result<(), Error>) {
        self.lock().ended = Some(ended);
        drop(self.changed.notify());
    }
}

/// Ends the server when its task is dropped.
struct Left<'h> {
    handed: &'h Handed,
    stopper: Stopper,
}

impl Drop for Left<'_> {
    fn drop(&mut self) {
        let mut state = self.handed.lock();
        state.is_left = true;
        let requests = std::mem::take(&mut state.requests);
        drop(state);
        drop(requests);
        self.stopper.stop();
    }
}

pub(super) async fn serve<M, F, H>(
    server: Server<M>,
    mut running: Running<F>,
    at_once: usize,
    mut handler: H,
) -> Result<(), Error>
where
    M: MessageServer + Send + 'static,
    F: Future<Output = ()>,
    H: FnMut(Request, Responder) -> F,
{
    let handed = Arc::new(Handed::default());
    let endpoint: Arc<str> = server.endpoint().into();
    let left = Left { handed: &handed, stopper: server.stopper() };
    let gives = handed.clone();
    let serves = move || {
        let ended = server.serve_deferred(|request, responder| {
            gives.hand_over(request, responder, at_once);
        });
        gives.end(ended);
    };
    let thread = thread::Builder::new().name("msgpipe-serve".to_owned());
    let started = thread.spawn(serves);
    started.map_err(|source| Error::system(&endpoint, "starting a thread", source))?;
    let ended = poll_fn(|context| poll(&handed, &mut running, &mut handler, context)).await;
    // The handlers that are left are dropped while their server is known to have ended.
    drop((running, left));
    ended
}

fn poll<F, H>(
    handed: &Handed,
    running: &mut Running<F>,
    handler: &mut H,
    context: &mut Context<'_>,
) -> Poll<Result<(), Error>>
where
    F: Future<Output = ()>,
    H: FnMut(Request, Responder) -> F,
{
    loop {
        running.poll(context);
        let mut state = handed.lock();
        state.running = running.len();
        if let Some(ended) = state.ended.take() {
            return Poll::Ready(ended);
        }
        let requests = std::mem::take(&mut state.requests);
        state.running += requests.len();
        let before = match requests.is_empty() {
            true => handed.changed.watch(context.waker()),
            false => None,
        };
        drop(state);
        drop(before);
        if requests.is_empty() {
            return Poll::Pending;
        }
        for (request, responder) in requests {
            running.begin(request, responder, handler);
        }
    }
}
