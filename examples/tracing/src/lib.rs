//! Joins the spans of two programs that use msgpipe in one trace, with OpenTelemetry.

use msgpipe::tracing::{Propagator, TraceContext};
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use std::collections::HashMap;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Set it in both programs, with [`msgpipe::tracing::set_propagator`], beside OpenTelemetry's layer for tracing.
#[derive(Debug, Default)]
pub struct OpenTelemetry(TraceContextPropagator);

impl Propagator for OpenTelemetry {
    fn inject(&self, call: &Span) -> Option<TraceContext> {
        let mut fields = HashMap::new();
        self.0.inject_context(&call.context(), &mut fields);
        TraceContext::parse(
            fields.get("traceparent")?,
            fields.get("tracestate").map(String::as_str),
        )
    }

    fn extract(&self, request: &Span, context: &TraceContext) {
        let mut fields = HashMap::new();
        fields.insert("traceparent".to_owned(), context.traceparent().to_owned());
        if let Some(state) = context.tracestate() {
            fields.insert("tracestate".to_owned(), state.to_owned());
        }
        // It fails only for a span that has begun already.
        let _ = request.set_parent(self.0.extract(&fields));
    }
}
