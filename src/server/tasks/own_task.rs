//! A server whose loop runs in the task that awaits it, with its handlers.

use super::running::{Kept, Running, Slot, busy};
use crate::backends::TaskWait;
use crate::clock;
use crate::error::Error;
use crate::message_server::MessageServer;
use crate::server::answering::{Answering, Turn};
use crate::server::responder::{Request, Responder};
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::{Context, Poll};
use std::time::Duration;

/// The events that are handled before handlers go on.
const TURNS: usize = 64;

/// How often that is done before other tasks of the runtime have their turn: a server that always finds work yields.
const ROUNDS: usize = 16;

struct Looping<M, F, H> {
    running: Running<F>,
    /// Dropped after the handlers, which may still reply.
    answering: Answering<M>,
    wait: TaskWait,
    /// How many handlers run, and may.
    count: Arc<AtomicUsize>,
    at_once: usize,
    handler: H,
}

impl<M, F, H> Drop for Looping<M, F, H> {
    fn drop(&mut self) {
        let outbox = self.answering.outbox.clone();
        // What handlers do when they are dropped must not wait for the loop.
        let _here = outbox.run_here();
        self.running.clear();
    }
}

pub(super) async fn serve<M, F, H>(
    answering: Answering<M>,
    wait: TaskWait,
    running: Running<F>,
    at_once: usize,
    handler: H,
) -> Result<(), Error>
where
    M: MessageServer,
    F: Future<Output = ()>,
    H: FnMut(Request, Kept) -> F,
{
    let count = Arc::default();
    let mut looping = Looping { running, answering, wait, count, at_once, handler };
    poll_fn(|context| looping.poll(context)).await
}

impl<M, F, H> Looping<M, F, H>
where
    M: MessageServer,
    F: Future<Output = ()>,
    H: FnMut(Request, Kept) -> F,
{
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let outbox = self.answering.outbox.clone();
        let _here = outbox.run_here_awake();
        for _ in 0..ROUNDS {
            self.running.poll(context);
            let began = self.running.len();
            match self.turns() {
                Err(error) => return Poll::Ready(Err(error)),
                Ok(Turn::Over) => return Poll::Ready(Ok(())),
                Ok(Turn::Busy) => continue,
                // They have not been polled yet.
                Ok(Turn::Quiet) if self.running.len() > began => continue,
                // It was not woken for what was given here.
                Ok(Turn::Quiet) if outbox.has_some() => continue,
                Ok(Turn::Quiet) => {
                    let left = self.answering.timeout();
                    let at = left.map(|left| clock::now() + left);
                    let at = at.into_iter().chain(self.answering.messages.poll_at()).min();
                    if at.is_some_and(|at| at <= clock::now()) {
                        // The runtime's timer would round that up to its next millisecond.
                        continue;
                    }
                    match self.wait.poll(&self.answering.messages, context, at) {
                        Poll::Ready(Ok(())) => {}
                        Poll::Ready(Err(source)) => {
                            let failed =
                                Error::system(outbox.endpoint(), "waiting for events", source);
                            return Poll::Ready(Err(failed));
                        }
                        Poll::Pending => return Poll::Pending,
                    }
                }
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Handles some events, without waiting for any.
    fn turns(&mut self) -> Result<Turn, Error> {
        let Looping { running, handler, at_once, count, .. } = self;
        let mut begin = |request, responder: Responder| match Slot::take(count, *at_once) {
            Some(slot) => running.begin(request, Kept::new(slot, responder), handler),
            None => responder.refuse(busy(*at_once)),
        };
        for _ in 0..TURNS {
            let turn = self.answering.turn(Some(Duration::ZERO), &mut |request, answer| {
                answer.later(request, &mut begin)
            })?;
            if !matches!(turn, Turn::Busy) {
                return Ok(turn);
            }
        }
        Ok(Turn::Busy)
    }
}
