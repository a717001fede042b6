//! A server whose loop runs in the task that awaits it, with its handlers.

use super::running::{Running, busy};
use crate::backends::TokioWait;
use crate::error::Error;
use crate::message_server::MessageServer;
use crate::server::answering::{Answering, Turn};
use crate::server::responder::{Request, Responder};
use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// The events that are handled before handlers go on.
const TURNS: usize = 64;

/// How often that is done before other tasks of the runtime have their turn: a server that always finds work yields.
const ROUNDS: usize = 16;

struct Looping<M, F, H> {
    running: Running<F>,
    /// Dropped after the handlers, which may still reply.
    answering: Answering<M>,
    wait: TokioWait,
    at_once: usize,
    handler: H,
}

pub(super) async fn serve<M, F, H>(
    answering: Answering<M>,
    wait: TokioWait,
    running: Running<F>,
    at_once: usize,
    handler: H,
) -> Result<(), Error>
where
    M: MessageServer,
    F: Future<Output = ()>,
    H: FnMut(Request, Responder) -> F,
{
    let mut looping = Looping { running, answering, wait, at_once, handler };
    poll_fn(|context| looping.poll(context)).await
}

impl<M, F, H> Looping<M, F, H>
where
    M: MessageServer,
    F: Future<Output = ()>,
    H: FnMut(Request, Responder) -> F,
{
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let outbox = self.answering.outbox.clone();
        let _here = outbox.run_here();
        for _ in 0..ROUNDS {
            self.running.poll(context);
            let began = self.running.len();
            match self.turns() {
                Err(error) => return Poll::Ready(Err(error)),
                Ok(Turn::Over) => return Poll::Ready(Ok(())),
                Ok(Turn::Busy) => continue,
                // They have not been polled yet.
                Ok(Turn::Quiet) if self.running.len() > began => continue,
                Ok(Turn::Quiet) => {
                    let left = self.answering.timeout();
                    let at = left.map(|left| Instant::now() + left);
                    let at = at.into_iter().chain(self.answering.messages.poll_at()).min();
                    match self.wait.poll(context, at) {
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
        let Looping { running, handler, at_once, .. } = self;
        let mut begin = |request, responder: Responder| {
            if running.len() >= *at_once {
                return responder.refuse(busy(*at_once));
            }
            running.begin(request, responder, handler);
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
