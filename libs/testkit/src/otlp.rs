//! A collector of traces: what processes export over OTLP ends up here, to be looked at. Nothing is sampled or forwarded.

use crate::until;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span as Exported, span::SpanKind};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

/// Spans that are kept: many times what a test's mesh makes. What is beyond is dropped.
const SPANS_MAX: usize = 100_000;
/// How long a test waits for spans: a batch is sent within a second, on a busy machine later.
const DEADLINE: Duration = Duration::from_secs(30);

/// A span, in the words of tests. Ids are in hex.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// `service.name` of the process.
    pub service: String,
    /// What it is called.
    pub name: String,
    /// Its trace.
    pub trace_id: String,
    /// Its own id.
    pub span_id: String,
    /// The id of the span that begot it; empty for the root of a trace.
    pub parent_id: String,
    /// Traces that it is linked to.
    pub links: Vec<String>,
    /// True when it is the serving side of a call.
    pub is_server: bool,
    /// Its attributes, as text.
    pub attributes: BTreeMap<String, String>,
}

impl Span {
    /// An attribute, or nothing.
    #[must_use]
    pub fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }

    /// True when it is the serving side of a call of `method`: the last part of its name, `SendMessage`.
    #[must_use]
    pub fn serves(&self, method: &str) -> bool {
        self.is_server && self.attribute("rpc.method").rsplit('/').next() == Some(method)
    }
}

/// A running collector. Dropped, it stops.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    spans: Kept,
    _server: JoinSet<()>,
}

type Kept = Arc<Mutex<Vec<Span>>>;

impl Collector {
    /// Starts one on a port of its own.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let spans = Kept::default();
        let service = TraceServiceServer::new(Sink(Arc::clone(&spans)));
        let mut server = JoinSet::new();
        server.spawn(async move {
            let served = tonic::transport::Server::builder().add_service(service);
            served.serve_with_incoming(TcpListenerStream::new(listener)).await.expect("the collector serves");
        });
        Self { address, spans, _server: server }
    }

    /// The environment that makes a process export to it, soon.
    #[must_use]
    pub fn environment(&self) -> [(&'static str, String); 2] {
        let endpoint = format!("http://{}", self.address);
        [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint), ("OTEL_BSP_SCHEDULE_DELAY", "200".to_owned())]
    }

    /// Everything collected so far.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The spans of one trace.
    #[must_use]
    pub fn trace(&self, trace_id: &str) -> Vec<Span> {
        self.spans().into_iter().filter(|span| span.trace_id == trace_id).collect()
    }

    /// Waits for a span that is `wanted`.
    pub async fn wait_for(&self, what: &str, wanted: impl Fn(&Span) -> bool) -> Span {
        until(what, DEADLINE, || std::future::ready(self.spans().into_iter().find(&wanted))).await
    }
}

struct Sink(Kept);

#[tonic::async_trait]
impl TraceService for Sink {
    async fn export(&self, request: Request<ExportTraceServiceRequest>) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let spans = request.into_inner().resource_spans.into_iter().flat_map(spans_of);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = SPANS_MAX - kept.len();
        kept.extend(spans.take(room));
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn spans_of(of_process: ResourceSpans) -> impl Iterator<Item = Span> {
    let process = attributes(of_process.resource.map(|resource| resource.attributes).unwrap_or_default());
    let service = process.get("service.name").cloned().unwrap_or_default();
    let spans = of_process.scope_spans.into_iter().flat_map(|scope| scope.spans);
    spans.map(move |span| span_of(service.clone(), span))
}

fn span_of(service: String, span: Exported) -> Span {
    Span {
        service,
        is_server: span.kind() == SpanKind::Server,
        trace_id: hex(&span.trace_id),
        span_id: hex(&span.span_id),
        parent_id: hex(&span.parent_span_id),
        links: span.links.iter().map(|link| hex(&link.trace_id)).collect(),
        attributes: attributes(span.attributes),
        name: span.name,
    }
}

fn attributes(all: Vec<KeyValue>) -> BTreeMap<String, String> {
    all.into_iter().map(|attribute| (attribute.key, text(attribute.value.and_then(|value| value.value)))).collect()
}

fn text(value: Option<Value>) -> String {
    match value {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(truth)) => truth.to_string(),
        other => format!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
