//! The spans of callers and of those who are called join in one trace, with a real subscriber of OpenTelemetry.

use msgpipe::{Client, ErrorReply, Limits, Metadata, Server, memory};
use opentelemetry::trace::{SpanKind, TracerProvider as _};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use std::thread;
use std::time::Duration;
use tracing_example::OpenTelemetry;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

fn attribute(span: &SpanData, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|it| it.key.as_str() == key);
    found.map(|it| it.value.as_str().into_owned())
}

/// One test: the subscriber is that of the process.
#[test]
fn a_trace_goes_through_a_server_and_the_calls_that_it_makes() {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    tracing_subscriber::registry().with(layer).init();
    assert!(msgpipe::tracing::set_propagator(OpenTelemetry::default()));

    let (hub, limits) = (memory::Hub::new(), Limits::default());
    let server = |name: &str| {
        Server::over(hub.listen_for_calls(name, limits.clone()).unwrap(), limits.clone())
    };
    let connect =
        |name: &str| Client::over(Box::new(hub.connect(name).unwrap()), name, Limits::default());
    let (back, front) = (server("back"), server("front"));
    let stoppers = [front.stopper(), back.stopper()];
    let backing = thread::spawn(move || {
        back.serve(|request| match request.method() {
            9 => Err(ErrorReply::new(100, "no")),
            _ => Ok(request.into_body()),
        })
    });
    let to_back = connect("back");
    let fronting = thread::spawn(move || {
        // From another thread, later: the request's span goes on until it is answered.
        front.serve_workers_deferred(msgpipe::Workers::new(), move |request, responder| {
            let reply = to_back.with_method(request.method()).call(request.into_body());
            responder.reply(reply.map_err(|error| error.to_string()));
        })
    });
    let client = connect("front");
    tracing::info_span!("a click").in_scope(|| {
        client.with_method(7).call("milk").unwrap();
        client.with_method(9).call("milk").unwrap_err();
    });
    drop(client.start("cancelled").unwrap());
    // What a stranger sends is no context.
    let nonsense = Metadata::default().with(b"traceparent", b"00-nonsense").unwrap();
    client.with_metadata(nonsense).call("goes on").unwrap();
    client.with_timeout(Duration::from_secs(60)).call("done").unwrap();
    drop(client);
    stoppers.iter().for_each(|stopper| stopper.stop());
    fronting.join().unwrap().unwrap();
    backing.join().unwrap().unwrap();

    let spans = exporter.get_finished_spans().unwrap();
    let click = spans.iter().find(|span| span.name == "a click").unwrap();
    let below = |parent: &SpanData| -> Vec<&SpanData> {
        let id = parent.span_context.span_id();
        spans.iter().filter(|span| span.parent_span_id == id).collect()
    };
    let calls = below(click);
    assert_eq!(calls.len(), 2, "{spans:#?}");
    for (call, (method, end)) in calls.into_iter().zip([("7", "replied"), ("9", "failed")]) {
        // The call, its request, the call that the handler makes, and its request.
        let (mut span, mut path) = (call, Vec::new());
        loop {
            assert_eq!(span.span_context.trace_id(), click.span_context.trace_id());
            assert_eq!(attribute(span, "method").as_deref(), Some(method));
            assert_eq!(attribute(span, "end").as_deref(), Some(end), "{span:#?}");
            path.push((span.name.to_string(), span.span_kind.clone()));
            match below(span)[..] {
                [next] => span = next,
                ref ends => break assert!(ends.is_empty(), "{ends:#?}"),
            }
        }
        let expected = [
            ("msgpipe.call".to_owned(), SpanKind::Client),
            ("msgpipe.request".to_owned(), SpanKind::Server),
            ("msgpipe.call".to_owned(), SpanKind::Client),
            ("msgpipe.request".to_owned(), SpanKind::Server),
        ];
        assert_eq!(path, expected);
    }
    let cancelled = spans.iter().filter(|it| it.name == "msgpipe.call");
    let cancelled = cancelled.filter(|it| attribute(it, "end").as_deref() == Some("cancelled"));
    assert_eq!(cancelled.count(), 1, "{spans:#?}");
}
