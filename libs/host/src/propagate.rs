//! What travels with a call from hop to hop: the W3C trace context, the remaining time and the request id. Identity does not:
//! that is minted anew for each hop.

use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Request};
use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::TraceContextExt;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::deadline::{self, Deadline};

/// Header of the request id: echoed when the caller sent a usable one, made up otherwise.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const TRACEPARENT: &str = "traceparent";

/// The id under which logs of all hops show one request. The server puts it into the extensions of every request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(pub HeaderValue);

impl RequestId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

/// Copies what travels from the extensions of the call being served to those of a call it makes.
///
/// ```
/// # fn example(incoming: tonic::Request<()>) -> tonic::Request<()> {
/// let mut outgoing = tonic::Request::new(());
/// runmesh_host::propagate::extensions(incoming.extensions(), outgoing.extensions_mut());
/// # outgoing
/// # }
/// ```
pub fn extensions(incoming: &Extensions, outgoing: &mut Extensions) {
    if let Some(deadline) = incoming.get::<Deadline>() {
        outgoing.insert(*deadline);
    }
    if let Some(id) = incoming.get::<RequestId>() {
        outgoing.insert(id.clone());
    }
}

/// Writes what travels into the headers of an outgoing request: the current span as `traceparent`, the [`Deadline`] of its
/// extensions as `grpc-timeout`, the [`RequestId`] as `x-request-id`. What is absent leaves the headers as they are.
pub fn inject<B>(request: &mut Request<B>) {
    if let Some(deadline) = request.extensions().get::<Deadline>().copied() {
        request.headers_mut().insert(deadline::GRPC_TIMEOUT, deadline::to_header(deadline.remaining()));
    }
    if let Some(id) = request.extensions().get::<RequestId>().cloned() {
        request.headers_mut().insert(REQUEST_ID, id.0);
    }
    let context = tracing::Span::current().context();
    if context.span().span_context().is_valid() {
        TraceContextPropagator::new().inject_context(&context, &mut Headers(request.headers_mut()));
    }
}

/// The current span as a W3C traceparent, to be kept with what it starts; empty when there is no trace.
#[must_use]
pub fn traceparent() -> String {
    let mut headers = HeaderMap::new();
    TraceContextPropagator::new().inject_context(&tracing::Span::current().context(), &mut Headers(&mut headers));
    headers.get(TRACEPARENT).and_then(|value| value.to_str().ok()).map(str::to_owned).unwrap_or_default()
}

/// The caller's trace context, if it sent one.
pub(crate) fn parent(headers: &HeaderMap) -> Option<Context> {
    headers.contains_key(TRACEPARENT).then(|| TraceContextPropagator::new().extract(&ReadHeaders(headers)))
}

struct Headers<'a>(&'a mut HeaderMap);

impl Injector for Headers<'_> {
    fn set(&mut self, key: &str, value: String) {
        if value.is_empty() {
            return; // an empty `tracestate` says nothing
        }
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(key), HeaderValue::try_from(value)) {
            self.0.insert(name, value);
        }
    }
}

struct ReadHeaders<'a>(&'a HeaderMap);

impl Extractor for ReadHeaders<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}
