//! Spans of the crate tracing.

use crate::counts::CallEnd;
use crate::exchange::Metadata;
use crate::message_server::ConnectionId;
use crate::tracing::{TRACEPARENT, TRACESTATE, TraceContext, propagator};
use std::fmt::Display;
use tracing::field::Empty;
use tracing::span::EnteredSpan;
use tracing::{Span, debug, info_span};

const TARGET: &str = "msgpipe";

/// A call of this side: from its beginning until its handle has the outcome, or is dropped.
#[derive(Clone, Debug)]
pub(crate) struct CallSpan(Span);

impl CallSpan {
    pub fn begin(endpoint: &str, method: u32) -> CallSpan {
        CallSpan(info_span!(
            target: TARGET,
            "msgpipe.call",
            otel.kind = "client",
            endpoint,
            method,
            end = Empty,
        ))
    }

    /// The metadata of the call's request: `nested`, or `own` if that is `None`; with the context of the trace, if there is
    /// one and room for it, and the application sends none itself.
    pub fn add_to(&self, own: &Metadata, nested: Option<Metadata>) -> Option<Metadata> {
        let context = match propagator() {
            Some(propagator) if !self.0.is_disabled() => propagator.inject(&self.0),
            _ => None,
        };
        let Some(context) = context.filter(|_| own.get(TRACEPARENT).is_none()) else {
            return nested;
        };
        let base = nested.as_ref().unwrap_or(own).clone();
        let Ok(with_parent) = base.with(TRACEPARENT, context.traceparent().as_bytes()) else {
            return nested;
        };
        let state = context.tracestate().filter(|state| !state.is_empty());
        // The parent alone is enough, as W3C Trace Context says (section 3.3.1.5).
        let with_state =
            state.and_then(|it| with_parent.clone().with(TRACESTATE, it.as_bytes()).ok());
        Some(with_state.unwrap_or(with_parent))
    }

    pub fn ends(&self, how: CallEnd) {
        self.0.record("end", name_of(how));
    }
}

impl Default for CallSpan {
    fn default() -> CallSpan {
        CallSpan(Span::none())
    }
}

/// A request of the other side: from its arrival until its call has ended.
#[derive(Clone, Debug)]
pub(crate) struct RequestSpan(Span);

/// While it lives, its thread handles the request.
#[derive(Debug)]
pub(crate) struct Entered {
    _span: EnteredSpan,
}

impl RequestSpan {
    /// `connection`: of a server; `None` for a client that is called.
    pub fn begin(
        endpoint: &str,
        connection: Option<ConnectionId>,
        method: u32,
        metadata: Option<&Metadata>,
    ) -> RequestSpan {
        // Not a child of what this thread does otherwise: the loop of a server serves all clients.
        let span = info_span!(
            target: TARGET,
            parent: None,
            "msgpipe.request",
            otel.kind = "server",
            endpoint,
            connection = connection.map(ConnectionId::number),
            method,
            end = Empty,
        );
        if let Some((propagator, metadata)) = propagator().zip(metadata) {
            if let Some(context) = TraceContext::of(metadata).filter(|_| !span.is_disabled()) {
                propagator.extract(&span, &context);
            }
        }
        RequestSpan(span)
    }

    pub fn enter(self) -> Entered {
        Entered { _span: self.0.entered() }
    }

    pub fn ends(&self, how: CallEnd) {
        self.0.record("end", name_of(how));
    }
}

impl Default for RequestSpan {
    fn default() -> RequestSpan {
        RequestSpan(Span::none())
    }
}

fn name_of(end: CallEnd) -> &'static str {
    match end {
        CallEnd::Replied => "replied",
        CallEnd::Failed => "failed",
        CallEnd::Cancelled => "cancelled",
        CallEnd::Late => "late",
        CallEnd::Closed => "closed",
    }
}

pub(crate) fn connected(endpoint: &str, connection: ConnectionId, peer: &dyn Display) {
    debug!(target: TARGET, endpoint, connection = connection.number(), %peer, "connected");
}

pub(crate) fn closed(endpoint: &str, connection: ConnectionId, reason: &dyn Display) {
    debug!(target: TARGET, endpoint, connection = connection.number(), %reason, "closed");
}
