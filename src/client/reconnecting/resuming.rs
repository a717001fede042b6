//! When a subscription is taken up again, and what its application is told: decided here for threads and for tasks.

use super::backoff::Backoff;
use super::tries::{Loss, Tries, loss};
use crate::error::{CloseReason, Error, ErrorReply, Progress};
use crate::framing::{FramingError, GoodbyeCode};
use bytes::Bytes;
use std::sync::Arc;

/// What a subscription returns.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Received {
    /// The next part of the reply.
    Part(Bytes),
    /// The subscription was interrupted for this reason, and is taken up again: the request was sent on a new connection. What
    /// was published meanwhile is missing. A call that is made now is sent after that request.
    Gap(Arc<Error>),
}

/// Where a subscription is.
#[derive(Default)]
pub(crate) struct Resuming {
    /// Those since it last had something.
    pub tries: Tries,
    /// Why it was interrupted. Not told yet.
    gap: Option<Arc<Error>>,
    pub is_over: bool,
}

/// What a subscription does with what its reply returned.
pub(crate) enum Next {
    Part(Bytes),
    /// The server has ended it.
    Over,
    /// It is taken up again, after a pause or at once.
    TakeUp {
        has_pause: bool,
    },
}

impl Resuming {
    /// What the application is told before the next part.
    pub fn gap(&mut self) -> Option<Received> {
        self.gap.take().map(Received::Gap)
    }

    /// The reply has returned this. `Err`: the subscription is over.
    pub fn received(
        &mut self,
        part: Result<Option<Bytes>, Error>,
        server_stops: impl FnOnce() -> bool,
        endpoint: &Arc<str>,
        is_closed: impl FnOnce() -> bool,
        backoff: &Backoff,
    ) -> Result<Next, Error> {
        let error = match part {
            Ok(Some(part)) => {
                self.tries = Tries::default();
                return Ok(Next::Part(part));
            }
            Ok(None) if !server_stops() => {
                self.is_over = true;
                return Ok(Next::Over);
            }
            // The end of a subscription, since its server stops.
            Ok(None) => stopped(endpoint),
            Err(error) => error,
        };
        let lagged = error.reply().is_some_and(|reply| reply.code == ErrorReply::LAGGED);
        let is_lost = loss(&error) != Loss::None;
        if !is_lost && !lagged || is_closed() {
            self.is_over = true;
            return Err(error);
        }
        let error = Arc::new(error);
        self.gap = Some(error.clone());
        let counted = self.tries.count(error, backoff);
        self.is_over = counted.is_err();
        counted.map(|()| Next::TakeUp { has_pause: is_lost })
    }

    /// It could not be taken up. At the end of the given time it can be gone on with: then this is false.
    pub fn is_given_up(&mut self, is_late: bool, backoff: &Backoff) -> bool {
        self.is_over = !is_late || self.tries.failed >= backoff.tries;
        self.is_over
    }
}

fn stopped(endpoint: &Arc<str>) -> Error {
    let text = "it stops".to_owned();
    let reason = FramingError::Goodbye { code: GoodbyeCode::STOPPING, text };
    Error::closed(endpoint, CloseReason::Peer(reason), Progress::NoRequest)
}
