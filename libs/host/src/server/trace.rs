//! One span, one measurement and at most one log line per call. Only faults are errors: a caller told no is business as usual.

mod record;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use tonic::{Code, Status};
use tower::Service;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use record::{Meters, Record};

use super::body::CallBody;
use super::is_infrastructure;
use crate::propagate::{self, RequestId};
use crate::status;

/// Stands for every path that is no method, in metrics, spans and logs: those are the caller's own words, without bound in length
/// and number.
const UNKNOWN_METHOD: &str = "_OTHER";

#[derive(Clone)]
pub(super) struct Trace<S> {
    inner: S,
    meters: Arc<Meters>,
    knows: fn(&str) -> bool,
}

impl<S> Trace<S> {
    /// Instruments are made here: call it after telemetry is initialised, or they report nothing.
    pub(super) fn new(inner: S, knows: fn(&str) -> bool) -> Self {
        Self { inner, meters: Arc::new(Meters::new()), knows }
    }
}

impl<S, B, RB> Service<Request<B>> for Trace<S>
where
    S: Service<Request<B>, Response = Response<RB>, Error = Infallible>,
    S::Future: Unpin,
    RB: CallBody,
{
    type Response = Response<Traced<RB>>;
    type Error = Infallible;
    type Future = TraceFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let path = request.uri().path();
        let is_known = is_infrastructure(path) || (self.knows)(path);
        let method = if is_known { path.trim_start_matches('/') } else { UNKNOWN_METHOD }.to_owned();
        let span = span_of(&method, &request);
        let inner = span.in_scope(|| self.inner.call(request));
        TraceFuture { inner, record: Some(Record::start(span, method, Arc::clone(&self.meters))) }
    }
}

fn span_of<B>(method: &str, request: &Request<B>) -> tracing::Span {
    // A call is of its caller's trace or begins one, whatever the connection is served in.
    let span = tracing::info_span!(
        parent: None,
        "rpc",
        otel.name = method,
        otel.kind = "server",
        otel.status_code = tracing::field::Empty,
        rpc.system.name = "grpc",
        rpc.method = method,
        rpc.response.status_code = tracing::field::Empty,
        request_id = request.extensions().get::<RequestId>().map(RequestId::as_str),
    );
    if let Some(parent) = propagate::parent(request.headers()) {
        // Refused only when no OpenTelemetry layer is installed or the span is switched off.
        let _installed = span.set_parent(parent);
    }
    span
}

pub(super) struct TraceFuture<F> {
    inner: F,
    record: Option<Record>,
}

impl<F, RB> Future for TraceFuture<F>
where
    F: Future<Output = Result<Response<RB>, Infallible>> + Unpin,
{
    type Output = Result<Response<Traced<RB>>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let entered = this.record.as_ref().map(|record| record.span().enter());
        let Ok(response) = ready!(Pin::new(&mut this.inner).poll(cx));
        drop(entered);
        let mut record = this.record.take();
        if let Some(code) = status::code_of(response.headers())
            && let Some(record) = record.take()
        {
            record.finish(code);
        }
        Poll::Ready(Ok(response.map(|inner| Traced { inner, record })))
    }
}

/// A body whose end is the end of the call. Dropped before it, the caller went away: CANCELLED.
#[derive(Default)]
pub(super) struct Traced<B> {
    inner: B,
    record: Option<Record>,
}

impl<B> Traced<B> {
    fn finish(&mut self, code: Code) {
        if let Some(record) = self.record.take() {
            record.finish(code);
        }
    }
}

impl<B: CallBody> Body for Traced<B> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let entered = this.record.as_ref().map(|record| record.span().enter());
        let frame = ready!(Pin::new(&mut this.inner).poll_frame(cx));
        drop(entered);
        match &frame {
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_ref() {
                    this.finish(status::code_of(trailers).unwrap_or(Code::Unknown));
                }
            }
            Some(Err(error)) => this.finish(error.code()),
            None => this.finish(Code::Unknown),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
