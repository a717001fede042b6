//! What a [`msgpipe::Server`] counts, and how long its requests take, for [Prometheus](https://prometheus.io).
//!
//! ```
//! use msgpipe::{Client, Limits, Server, memory};
//! use msgpipe_prometheus::ServerMetrics;
//! use prometheus_client::encoding::text::encode;
//! use prometheus_client::registry::Registry;
//!
//! let hub = memory::Hub::new();
//! let server = Server::over(hub.listen_for_calls("notes", Limits::default())?, Limits::default());
//!
//! let metrics = ServerMetrics::new(server.counters()).with_methods([(7, "add"), (8, "list")]);
//! let server = metrics.observe(server); // how long requests take
//! let mut registry = Registry::default();
//! registry.register_collector(Box::new(metrics));
//!
//! # let stopper = server.stopper();
//! let serving = std::thread::spawn(move || server.serve(|request| request.body()));
//! let client = Client::over(Box::new(hub.connect("notes")?), "notes", Limits::default());
//! client.with_method(7).call("milk")?;
//!
//! let mut text = String::new(); // for GET /metrics
//! encode(&mut text, &registry)?;
//! assert!(text.contains("msgpipe_requests_total{end=\"replied\"} 1"));
//! assert!(text.contains("msgpipe_request_seconds_count{method=\"add\"} 1"));
//! # stopper.stop();
//! # serving.join().unwrap()?;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! The numbers are read when Prometheus asks: a server that nobody asks pays for the times alone: two readings of the clock
//! for each request, and one addition.

use msgpipe::monitor::is_reserved;
use msgpipe::{CallCounts, Counters, MessageServer, Server, SlowCall};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Unit;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The upper ends of the ranges of times, in seconds: from 10 µs, which no call between processes is faster than, to a
/// minute, each some three times the one before.
const SECONDS: [f64; 14] =
    [1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0, 60.0];

/// The methods that have no name.
const OTHER: &str = "other";

/// The metrics of a server; a [`Collector`] for a registry.
///
/// | name | type | labels |
/// |---|---|---|
/// | `msgpipe_clients` | gauge | |
/// | `msgpipe_connections_total` | counter | |
/// | `msgpipe_requests_open`, `msgpipe_client_calls_open` | gauge | |
/// | `msgpipe_requests_total`, `msgpipe_client_calls_total` | counter | `end`: replied, failed, cancelled, late, closed |
/// | `msgpipe_requests_refused_total` | counter | |
/// | `msgpipe_requests_waiting` | gauge | |
/// | `msgpipe_request_seconds` | histogram | `method` |
/// | `msgpipe_notifications_total`, `msgpipe_messages_total`, `msgpipe_bytes_total` | counter | `direction`: received, sent |
/// | `msgpipe_messages_dropped_total` | counter | |
/// | `msgpipe_memory_bytes` | gauge | |
///
/// What each of them counts says [`msgpipe::ServerCounts`].
#[derive(Clone)]
pub struct ServerMetrics {
    counters: Counters,
    times: Arc<Times>,
}

/// How long requests took, for each method that has a name.
struct Times {
    named: BTreeMap<u32, Histogram>,
    /// The same, and that of all others.
    by_name: BTreeMap<String, Histogram>,
}

impl ServerMetrics {
    /// The metrics of the server with these counters.
    #[must_use]
    pub fn new(counters: Counters) -> ServerMetrics {
        let by_name = BTreeMap::from([(OTHER.to_owned(), Histogram::new(SECONDS))]);
        let times = Times { named: BTreeMap::new(), by_name };
        ServerMetrics { counters, times: Arc::new(times) }
    }

    /// Sets the names of methods, for the times of their requests. Those of all others are counted together: the numbers are
    /// the clients' choice, and each name costs memory for as long as the server lives. Call it before
    /// [`observe`](ServerMetrics::observe).
    #[must_use]
    pub fn with_methods(
        self,
        methods: impl IntoIterator<Item = (u32, impl Into<String>)>,
    ) -> ServerMetrics {
        let mut by_name = BTreeMap::from([(OTHER.to_owned(), Histogram::new(SECONDS))]);
        let mut named = BTreeMap::new();
        for (method, name) in methods {
            // Methods of one name are counted together.
            let name = name.into();
            let histogram = by_name.entry(name).or_insert_with(|| Histogram::new(SECONDS));
            named.insert(method, histogram.clone());
        }
        ServerMetrics { times: Arc::new(Times { named, by_name }), ..self }
    }

    /// Counts how long the requests of this server take. It sets [`Server::on_slow_call`]; for a server that has a hook
    /// of its own there, call [`count`](ServerMetrics::count) in it.
    #[must_use]
    pub fn observe<M: MessageServer>(&self, server: Server<M>) -> Server<M> {
        let metrics = self.clone();
        server.on_slow_call(Duration::ZERO, move |call| metrics.count(call))
    }

    /// Counts how long a request took, in a hook that was set with [`Server::on_slow_call`] and a limit of zero.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// let server = msgpipe::Server::bind("com.example.notes")?;
    /// let metrics = msgpipe_prometheus::ServerMetrics::new(server.counters());
    /// let server = server.on_slow_call(Duration::ZERO, move |call| {
    ///     metrics.count(call);
    ///     if call.took > Duration::from_secs(1) {
    ///         eprintln!("method {} took {:?}", call.method, call.took);
    ///     }
    /// });
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    pub fn count(&self, call: &SlowCall) {
        if is_reserved(call.method) {
            return; // of tools, which the server has answered itself
        }
        let histogram = self.times.named.get(&call.method).or(self.times.by_name.get(OTHER));
        if let Some(histogram) = histogram {
            histogram.observe(call.took.as_secs_f64());
        }
    }
}

impl Collector for ServerMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let counts = self.counters.read();
        let mut encode = Encode(&mut encoder);
        encode.gauge("msgpipe_clients", "Clients that are connected", None, counts.clients())?;
        encode.counter("msgpipe_connections", "Clients that have connected", counts.connected)?;
        encode.calls(
            "msgpipe_requests",
            "Requests of clients that have ended",
            &counts.requests,
        )?;
        let open = counts.requests.open();
        encode.gauge(
            "msgpipe_requests_open",
            "Requests of clients that have not ended",
            None,
            open,
        )?;
        encode.counter(
            "msgpipe_requests_refused",
            "Requests that were not begun",
            counts.refused,
        )?;
        let waiting = counts.waiting as u64;
        encode.gauge(
            "msgpipe_requests_waiting",
            "Requests that wait for workers",
            None,
            waiting,
        )?;
        encode.calls("msgpipe_client_calls", "Calls to clients that have ended", &counts.calls)?;
        let open = counts.calls.open();
        encode.gauge(
            "msgpipe_client_calls_open",
            "Calls to clients that have not ended",
            None,
            open,
        )?;
        let (received, sent) = (counts.notifications_received, counts.notifications_sent);
        encode.both_ways("msgpipe_notifications", "Notifications", received, sent)?;
        let (received, sent) = (counts.received.messages, counts.sent.messages);
        encode.both_ways("msgpipe_messages", "Messages of the transport", received, sent)?;
        let (received, sent) = (counts.received.bytes, counts.sent.bytes);
        encode.both_ways("msgpipe_bytes", "Bytes of these messages", received, sent)?;
        let dropped = counts.dropped;
        encode.counter("msgpipe_messages_dropped", "Messages that topics have dropped", dropped)?;
        let (memory, unit) = (counts.memory as u64, Some(&Unit::Bytes));
        encode.gauge("msgpipe_memory", "Memory that is held for clients", unit, memory)?;
        encode.times(&self.times)
    }
}

/// Writes metrics.
struct Encode<'e, 'a>(&'e mut DescriptorEncoder<'a>);

impl Encode<'_, '_> {
    fn descriptor<'s>(
        &'s mut self,
        name: &'s str,
        help: &str,
        unit: Option<&'s Unit>,
        kind: MetricType,
    ) -> Result<MetricEncoder<'s>, fmt::Error> {
        self.0.encode_descriptor(name, help, unit, kind)
    }

    fn gauge(&mut self, name: &str, help: &str, unit: Option<&Unit>, value: u64) -> fmt::Result {
        let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
        gauge.encode(self.descriptor(name, help, unit, MetricType::Gauge)?)
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        ConstCounter::new(value).encode(self.descriptor(name, help, None, MetricType::Counter)?)
    }

    fn labelled(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: &[(&str, u64)],
    ) -> fmt::Result {
        let mut encoder = self.descriptor(name, help, None, MetricType::Counter)?;
        for (value, count) in values {
            let labels = [(label, *value)];
            ConstCounter::new(*count).encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn calls(&mut self, name: &str, help: &str, counts: &CallCounts) -> fmt::Result {
        let ends = [
            ("replied", counts.replied),
            ("failed", counts.failed),
            ("cancelled", counts.cancelled),
            ("late", counts.late),
            ("closed", counts.closed),
        ];
        self.labelled(name, help, "end", &ends)
    }

    fn both_ways(&mut self, name: &str, help: &str, received: u64, sent: u64) -> fmt::Result {
        self.labelled(name, help, "direction", &[("received", received), ("sent", sent)])
    }

    fn times(&mut self, times: &Times) -> fmt::Result {
        let help = "From the arrival of a request to the end of its call";
        let (name, unit) = ("msgpipe_request", Some(&Unit::Seconds));
        let mut encoder = self.descriptor(name, help, unit, MetricType::Histogram)?;
        for (name, histogram) in &times.by_name {
            let labels = [("method", name.as_str())];
            histogram.encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

impl fmt::Debug for ServerMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerMetrics").field("counters", &self.counters).finish_non_exhaustive()
    }
}
