//! A trace that goes from a client through a server, and through the server's own call to another one.
//!
//! ```sh
//! cargo run -p tracing-example
//! ```

use msgpipe::{Client, Server, Stopper};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use std::error::Error;
use std::thread::{self, JoinHandle};
use tracing_example::OpenTelemetry;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

type Serving = (Stopper, JoinHandle<Result<(), msgpipe::Error>>);

fn main() -> Result<(), Box<dyn Error>> {
    // An application has an exporter to its collector here, as that of the crate opentelemetry-otlp.
    let spans = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(spans.clone()).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("example"));
    tracing_subscriber::registry().with(layer).init();
    msgpipe::tracing::set_propagator(OpenTelemetry::default());

    let name = |what: &str| format!("msgpipe.example.tracing.{what}.{}", std::process::id());
    let (store, front) = (name("store"), name("front"));
    let storing = serve(&store, |request| Ok(request.into_body()))?;
    let to_store = Client::connect(store.as_str())?;
    let serving = serve(&front, move |request| to_store.call(request.into_body()))?;

    let client = Client::connect(front.as_str())?;
    tracing::info_span!("a click").in_scope(|| client.call("milk"))?;
    for (stopper, thread) in [serving, storing] {
        stopper.stop();
        thread.join().map_err(|_| "a server panicked")??;
    }
    print(&spans.get_finished_spans()?);
    Ok(())
}

fn serve(
    name: &str,
    mut handler: impl FnMut(msgpipe::Request) -> Result<msgpipe::bytes::Bytes, msgpipe::Error>
    + Send
    + 'static,
) -> Result<Serving, msgpipe::Error> {
    let server = Server::bind(name)?;
    let stopper = server.stopper();
    let thread = thread::spawn(move || {
        server.serve(move |request| handler(request).map_err(|error| error.to_string()))
    });
    Ok((stopper, thread))
}

/// The spans as a tree.
fn print(spans: &[SpanData]) {
    fn below(spans: &[SpanData], parent: opentelemetry::SpanId, depth: usize) {
        for span in spans.iter().filter(|span| span.parent_span_id == parent) {
            let time = span.end_time.duration_since(span.start_time).unwrap_or_default();
            println!("{}{} {time:?}", "  ".repeat(depth), span.name);
            below(spans, span.span_context.span_id(), depth + 1);
        }
    }
    below(spans, opentelemetry::SpanId::INVALID, 0);
}
