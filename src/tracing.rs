//! Spans of calls and requests, and traces that go through them. Feature `tracing`.
//!
//! With the feature, and a subscriber of the crate [`tracing`](https://docs.rs/tracing), a program has these spans, with the
//! target `msgpipe` and the level `INFO`:
//!
//! | span | of | fields |
//! |---|---|---|
//! | `msgpipe.call` | a call of this side, from its beginning to its outcome; a child of the present span | `endpoint`, `method`, `end` |
//! | `msgpipe.request` | a request to this side, from its arrival to its end; the handler runs in it | `endpoint`, `connection`, `method`, `end` |
//!
//! `end` is `replied`, `failed`, `cancelled`, `late` or `closed` ([`CallEnd`](crate::CallEnd)). Servers also say at the level
//! `DEBUG` who has connected, and why a connection was closed. A batch is one span for each of its calls.
//!
//! The spans of two programs join in one trace if both set a [`Propagator`]: the context goes in the metadata of requests,
//! under the keys `traceparent` and `tracestate`, as W3C Trace Context has them. `examples/tracing` does so with OpenTelemetry.
//! A call whose metadata have no room goes without it; one whose application sends a `traceparent` itself keeps that.
//!
//! ```
//! use msgpipe::tracing::{Propagator, TraceContext, set_propagator};
//!
//! /// Each request belongs to the same trace: of an application that has no tracer.
//! struct Fixed;
//!
//! impl Propagator for Fixed {
//!     fn inject(&self, _call: &tracing::Span) -> Option<TraceContext> {
//!         TraceContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", None)
//!     }
//!
//!     fn extract(&self, _request: &tracing::Span, context: &TraceContext) {
//!         println!("a request of the trace {}", context.traceparent());
//!     }
//! }
//!
//! assert!(set_propagator(Fixed));
//! assert!(!set_propagator(Fixed), "the first one counts");
//! ```
#![forbid(unsafe_code)]

use crate::exchange::Metadata;
use std::sync::OnceLock;
use tracing::Span;

/// The key of the context in metadata.
pub const TRACEPARENT: &[u8] = b"traceparent";

/// The key of what tracers add to it.
pub const TRACESTATE: &[u8] = b"tracestate";

/// The most bytes of a `tracestate` that is taken: what W3C Trace Context asks everyone to hand on (section 3.3.1.5).
pub const TRACESTATE_MAX: usize = 512;

/// Hands the context of a trace on: from a span to the metadata of a call, and from those of a request to its span.
///
/// Both run on the thread that calls or serves, and must not block.
pub trait Propagator: Send + Sync + 'static {
    /// The context of a call in this span. `None`: the call goes without one.
    fn inject(&self, call: &Span) -> Option<TraceContext>;

    /// Makes the span of a request a part of this context's trace. The context is what a client has sent: its form has been
    /// checked, and nothing else.
    fn extract(&self, request: &Span, context: &TraceContext);
}

static PROPAGATOR: OnceLock<Box<dyn Propagator>> = OnceLock::new();

/// Sets the propagator of this process, for all its clients and servers. `false`: there is one already, which counts.
pub fn set_propagator(propagator: impl Propagator) -> bool {
    PROPAGATOR.set(Box::new(propagator)).is_ok()
}

pub(crate) fn propagator() -> Option<&'static dyn Propagator> {
    PROPAGATOR.get().map(|propagator| &**propagator)
}

/// The context of a trace, as [W3C Trace Context](https://www.w3.org/TR/trace-context/) has it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TraceContext {
    traceparent: String,
    tracestate: Option<String>,
}

impl TraceContext {
    /// A context of these two. `None` if `traceparent` is not what version 00 of W3C Trace Context says: `00-`, 32, 16 and 2
    /// lower-case hexadecimal digits, neither of the first two all zeros. A later version with these fields at its beginning
    /// is read as one of version 00 (section 4.3). A `tracestate` that is over [`TRACESTATE_MAX`] or not of visible ASCII
    /// is left out.
    ///
    /// ```
    /// use msgpipe::tracing::TraceContext;
    /// let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    /// assert_eq!(TraceContext::parse(parent, None).unwrap().traceparent(), parent);
    /// assert_eq!(TraceContext::parse("00-4bf9-00f0-01", None), None);
    /// ```
    pub fn parse(traceparent: &str, tracestate: Option<&str>) -> Option<TraceContext> {
        let is_hex = |text: &str| text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let is_zero = |text: &str| text.bytes().all(|b| b == b'0');
        let mut fields = traceparent.split('-');
        let (version, trace, span, flags) =
            (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let lengths = [version, trace, span, flags].map(str::len);
        let all = [version, trace, span, flags];
        let is_well = lengths == [2, 32, 16, 2] && all.iter().all(|text| is_hex(text));
        if !is_well || is_zero(trace) || is_zero(span) || version == "ff" {
            return None;
        }
        if version == "00" && fields.next().is_some() {
            return None;
        }
        let is_visible = |text: &&str| text.bytes().all(|b| (0x20..0x7f).contains(&b));
        let tracestate = tracestate.filter(|text| text.len() <= TRACESTATE_MAX).filter(is_visible);
        let traceparent = format!("00-{trace}-{span}-{flags}");
        Some(TraceContext { traceparent, tracestate: tracestate.map(str::to_owned) })
    }

    /// Of a request with these metadata, if they have one. The first of several counts.
    pub fn of(metadata: &Metadata) -> Option<TraceContext> {
        let parent = metadata.get(TRACEPARENT)?;
        let state = metadata.get(TRACESTATE);
        let state = state.as_deref().and_then(|state| std::str::from_utf8(state).ok());
        TraceContext::parse(std::str::from_utf8(&parent).ok()?, state)
    }

    /// The `traceparent`, in version 00.
    pub fn traceparent(&self) -> &str {
        &self.traceparent
    }

    /// The `tracestate`, if there is one.
    pub fn tracestate(&self) -> Option<&str> {
        self.tracestate.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn only_what_the_standard_says_is_a_context() {
        for wrong in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e47366-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1\n",
            "é0-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceContext::parse(wrong, None), None, "{wrong}");
        }
        let later = "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more";
        assert_eq!(TraceContext::parse(later, None).unwrap().traceparent(), PARENT);
    }

    #[test]
    fn what_tracers_add_has_a_limit() {
        for (len, is_taken) in [(511, true), (512, true), (513, false)] {
            let state = "a".repeat(len);
            let context = TraceContext::parse(PARENT, Some(&state)).unwrap();
            assert_eq!(context.tracestate().is_some(), is_taken, "{len}");
        }
        assert_eq!(TraceContext::parse(PARENT, Some("a\nb")).unwrap().tracestate(), None);
    }

    #[test]
    fn it_is_read_of_metadata() {
        let metadata = Metadata::default().with(TRACEPARENT, PARENT.as_bytes()).unwrap();
        assert_eq!(TraceContext::of(&metadata).unwrap().traceparent(), PARENT);
        let metadata = metadata.with(TRACESTATE, b"a=b").unwrap();
        assert_eq!(TraceContext::of(&metadata).unwrap().tracestate(), Some("a=b"));
        let nonsense = Metadata::default().with(TRACEPARENT, b"\xff\xfe").unwrap();
        assert_eq!(TraceContext::of(&nonsense), None);
        assert_eq!(TraceContext::of(&Metadata::default()), None);
    }
}
