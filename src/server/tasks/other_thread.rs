//! A server whose loop runs on a thread of its own, and whose handlers run in a task.

use super::running::{Kept, Running, Slot, busy};
use crate::error::Error;
use crate::message_server::MessageServer;
use crate::server::changed::Changed;
use crate::server::responder::{Request, Responder};
use crate::server::{Server, Stopper};
use crate::sync::atomic::AtomicUsize;
use crate::sync::{Mutex, MutexGuard, thread};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll};

/// How often requests are taken before other tasks of the runtime have their turn.
const ROUNDS: usize = 16;

/// What the loop hands over to the task.
#[derive(Default)]
struct Handed {
    /// How many handlers run, or will.
    count: Arc<AtomicUsize>,
    state: Mutex<State>,
    changed: Changed,
}

#[derive(Default)]
struct State {
    requests: VecDeque<(Request, Kept)>,
    /// Also a panic of the loop, which goes on in the task.
    ended: Option<thread::Result<Result<(), Error>>>,
    /// The task has gone.
    is_left: bool,
}

impl Handed {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hand_over(&self, request: Request, responder: Responder, at_once: usize) {
        let Some(slot) = Slot::take(&self.count, at_once) else {
            return responder.refuse(busy(at_once));
        };
        let kept = Kept::new(slot, responder);
        let mut state = self.lock();
        if state.is_left {
            drop(state);
            // The drop of its responder answers.
            return drop(kept);
        }
        state.requests.push_back((request, kept));
        drop(state);
        drop(self.changed.notify());
    }

    fn end(&self, ended: thread::Result<Result<(), Error>>) {
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
    H: FnMut(Request, Kept) -> F,
{
    let handed = Arc::new(Handed::default());
    let endpoint: Arc<str> = server.endpoint().into();
    let left = Left { handed: &handed, stopper: server.stopper() };
    let gives = handed.clone();
    let serves = move || {
        let serves = || {
            server.serve_deferred(|request, responder| {
                gives.hand_over(request, responder, at_once);
            })
        };
        gives.end(catch_unwind(AssertUnwindSafe(serves)));
    };
    let thread = thread::Builder::new().name("msgpipe-serve".to_owned());
    let started = thread.spawn(serves);
    started.map_err(|source| Error::system(&endpoint, "starting a thread", source))?;
    let ended = poll_fn(|context| poll(&handed, &mut running, &mut handler, context)).await;
    // The handlers that are left are dropped while their server is known to have ended.
    drop((running, left));
    ended.unwrap_or_else(|panic| resume_unwind(panic))
}

fn poll<F, H>(
    handed: &Handed,
    running: &mut Running<F>,
    handler: &mut H,
    context: &mut Context<'_>,
) -> Poll<thread::Result<Result<(), Error>>>
where
    F: Future<Output = ()>,
    H: FnMut(Request, Kept) -> F,
{
    for _ in 0..ROUNDS {
        running.poll(context);
        let mut state = handed.lock();
        if let Some(ended) = state.ended.take() {
            return Poll::Ready(ended);
        }
        let requests = std::mem::take(&mut state.requests);
        let before = match requests.is_empty() {
            true => handed.changed.watch(context.waker()),
            false => None,
        };
        drop(state);
        drop(before);
        if requests.is_empty() {
            return Poll::Pending;
        }
        for (request, kept) in requests {
            running.begin(request, kept, handler);
        }
    }
    context.waker().wake_by_ref();
    Poll::Pending
}
