//! How calls begin: all requests of a batch are sent, or none.

use super::Client;
use super::channel::Failure;
use super::failing::{self, progress_at};
use super::pending::{NotBegun, Terms, progress_of};
use crate::body::{Body, IntoBody};
use crate::error::{Error, Progress};
use crate::nesting;
use crate::trace::CallSpan;
use std::time::{Duration, Instant};

impl Client {
    /// Begins a call for each of these requests and sends them: all of them or none. Returns their ids.
    /// `has_parts`: the replies have any number of parts.
    pub(super) fn start_all<'a>(
        &self,
        requests: &[Body<'a>],
        began: Instant,
        has_parts: bool,
        span: &CallSpan,
    ) -> Result<Vec<u32>, Error> {
        let (inner, timeout) = (&self.inner, self.time(began));
        let deadline = began + timeout;
        if timeout < self.timeout && timeout.is_zero() {
            // The time of the request that this thread handles is over.
            return Err(Error::late(&inner.endpoint, timeout, began, Progress::NotBegun));
        }
        let failed = |why, at: usize| {
            let request = requests.get(at).cloned();
            self.not_begun(why, request.unwrap_or_else(|| ().into_body()), began)
        };
        inner.make_room(requests.len()).map_err(|why| failed(why, inner.pending.room()))?;
        inner.wait_for_calls(requests.len(), deadline).map_err(|why| failed(why, 0))?;
        for (at, request) in requests.iter().enumerate() {
            inner.wait_for_limit(request.len(), deadline).map_err(|why| failed(why, at))?;
        }
        // In a handler: who waits for this call goes with it.
        let nested = nesting::outgoing(&self.metadata, span);
        let nested = nested.map_err(|why| why.error(&inner.endpoint))?;
        let terms = Terms {
            began,
            deadline: Some(deadline).filter(|_| !has_parts),
            method: self.method,
            metadata: nested.as_ref().unwrap_or(&self.metadata),
            has_parts,
            is_kept: false,
        };
        let (mut refused, mut ids) = (0, Vec::new());
        let sent = inner.channel.send(Some(deadline), &inner.pending, |filler| {
            ids = inner.pending.begin(requests, terms, filler).map_err(|(at, why)| {
                refused = at;
                why
            })?;
            Ok(())
        });
        let error = match sent {
            Ok(()) => return Ok(ids),
            // They were begun: perhaps some of it was sent.
            Err(NotBegun::Unsent(Failure::Closed(reason))) if !ids.is_empty() => {
                let end = self.abandon_all(&ids);
                let reason = inner.close(reason);
                let progress = progress_at(&inner.channel.given, end, &reason);
                Error::closed(&inner.endpoint, reason.of_open_call(), progress)
            }
            Err(NotBegun::Unsent(failure)) if !ids.is_empty() => {
                // The rest of those that are not wholly queued is not sent any more.
                let progress = match failure.progress() {
                    Progress::Unknown => progress_of(self.abandon_all(&ids)),
                    progress => progress,
                };
                Error::late(&inner.endpoint, timeout, began, progress)
            }
            Err(why) => failed(why, refused),
        };
        Err(error)
    }

    /// Abandons these calls. Returns the first position at which one of their requests ends.
    fn abandon_all(&self, ids: &[u32]) -> u64 {
        ids.iter().map(|id| self.inner.abandon(*id)).min().unwrap_or(u64::MAX)
    }

    /// The span of a call that begins.
    pub(super) fn span(&self) -> CallSpan {
        CallSpan::begin(&self.inner.endpoint, self.method)
    }

    /// The time of a call that begins: in a handler at most what is left of its request's.
    pub(super) fn time(&self, began: Instant) -> Duration {
        nesting::time_left(self.timeout, began)
    }

    /// The error for a call that was not begun.
    pub(super) fn not_begun(&self, why: NotBegun, request: Body<'_>, began: Instant) -> Error {
        let endpoint = &self.inner.endpoint;
        failing::not_begun(endpoint, why, || request).unwrap_or_else(|failure| match failure {
            Failure::Closed(reason) => {
                let reason = self.inner.close(reason);
                Error::closed(endpoint, reason.of_open_call(), Progress::NotBegun)
            }
            _ => Error::late(endpoint, self.time(began), began, Progress::NotBegun),
        })
    }
}
